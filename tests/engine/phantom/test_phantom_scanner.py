"""The noise a scanner adds, judged on plain water."""

from __future__ import annotations

import numpy as np
import pytest

from engine.phantom.scanner import scanned

SPACING_MM = np.array([1.0, 1.0, 2.5])


def water(seed: int = 0, shape: tuple[int, int, int] = (127, 96, 40), share: float = 1.0) -> np.ndarray:
    noise_share = np.full(shape, share, np.float32)
    return scanned(np.zeros(shape, np.float32), SPACING_MM, noise_share, np.random.default_rng(seed))


def test_the_power_of_the_noise_rises_to_a_peak_and_falls():
    hu = water().astype(float)
    hu -= hu.mean(axis=(0, 1))
    power = (np.abs(np.fft.fft2(hu, axes=(0, 1))) ** 2).mean(axis=2)
    f = np.hypot(np.fft.fftfreq(127, 1.0)[:, None], np.fft.fftfreq(96, 1.0)[None])
    low, peak, high = (power[(f > a) & (f < b)].mean() for a, b in ((0.01, 0.03), (0.09, 0.17), (0.4, 0.5)))
    assert peak > 1.8 * low
    assert peak > 5 * high


def test_noise_is_as_strong_as_asked_for_and_alike_in_every_direction_of_a_plane():
    hu = water().astype(float)
    assert 7 < hu.std() < 16
    assert abs(hu.mean()) < 0.5
    along, across = (
        np.corrcoef(hu.swapaxes(0, axis)[1:].ravel(), hu.swapaxes(0, axis)[:-1].ravel())[0, 1] for axis in (0, 1)
    )
    assert along > 0.5
    assert along == pytest.approx(across, abs=0.05)
    assert 0.1 < np.corrcoef(hu[..., 1:].ravel(), hu[..., :-1].ravel())[0, 1] < 0.6
    assert water(share=0.5).std() == pytest.approx(hu.std() / 2, rel=0.05)


def test_noise_is_the_seed_s_own():
    assert water(1).tobytes() == water(1).tobytes()
    assert (water(1) != water(2)).mean() > 0.8


def test_an_edge_is_softened_within_a_voxel_or_two():
    ideal = np.zeros((40, 32, 16), np.float32)
    ideal[20:] = 1000
    profile = scanned(ideal, SPACING_MM, np.zeros_like(ideal), np.random.default_rng(0))[:, 16, 8]
    assert (profile[:18] == 0).all()
    assert (profile[22:] == 1000).all()
    assert 0 < profile[19] < 500 < profile[20] < 1000
