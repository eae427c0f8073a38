"""What a CT scanner adds to an ideal body: its point spread and the texture of its noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from engine.core.geometry import iter_blocks
from engine.procedural.waves import Field

_SPREAD_VOX = 0.42
"""Sigma of the point spread, in voxels."""
_PEAK_PER_MM = (0.11, 0.16)
"""Where the noise power of a body kernel is highest, cycles per mm."""
_SIGMA_HU = (9.0, 15.0)
_BETWEEN_SLICES = 0.25
"""How much of a slice's noise is shared with each neighbour: slices overlap a little."""
_SLAB = 16


def scanned(ideal: Field, spacing_mm: NDArray[np.float64], share: Field, rng: np.random.Generator) -> NDArray[np.int16]:
    """HU as measured, int16: blurred, and with noise whose sigma is `share` (broadcast to `ideal`) of the scan's own.

    The axial planes are those of the first two axes.
    """
    hu = ndimage.gaussian_filter(ideal, _SPREAD_VOX, truncate=2.0)
    sigma_hu, peak = np.float32(rng.uniform(*_SIGMA_HU)), float(rng.uniform(*_PEAK_PER_MM))
    plane = ideal.shape[0], ideal.shape[1]
    gain = _noise_gain(plane, spacing_mm, peak)
    out = np.empty(ideal.shape, np.int16)
    last = _noise_slices(rng, gain, plane, 2)
    for box in iter_blocks(ideal.shape, _SLAB):
        noise = np.concatenate([last, _noise_slices(rng, gain, plane, box.shape[2])])
        last = noise[-2:]
        mixed = noise[1:-1] + np.float32(_BETWEEN_SLICES) * (noise[:-2] + noise[2:])
        mixed *= sigma_hu / np.float32(np.sqrt(1 + 2 * _BETWEEN_SLICES**2))
        slab = hu[box.slices] + np.moveaxis(mixed, 0, 2) * np.broadcast_to(share, ideal.shape)[box.slices]
        out[box.slices] = np.clip(np.rint(slab), -1024, 3071)
    return out


def _noise_gain(plane: tuple[int, int], spacing_mm: NDArray[np.float64], peak_per_mm: float) -> Field:
    """Amplitude by frequency (n, m // 2 + 1): a ramp, as filtered back projection has, times a soft kernel's fall.

    Power (f + floor) exp(-f^2 / 2 f0^2) is highest near f0: the ramp of Riederer et al. 1978, the fall as measured for
    body kernels by Solomon et al. 2012. Scaled for planes of unit variance; n and m are `plane` or a little more.
    """
    n, m = fft.next_fast_len(plane[0]), 2 * fft.next_fast_len(-(-plane[1] // 2))
    f = np.hypot(fft.fftfreq(n, spacing_mm[0])[:, None], fft.rfftfreq(m, spacing_mm[1])[None, :])
    # The floor stands for what reconstruction does not filter: scatter and electronics.
    power = (f + 0.15 * peak_per_mm) * np.exp(-((f / peak_per_mm) ** 2) / 2)
    # Inner columns stand for their mirror image too, and both of their parts count.
    power[:, 1:-1] /= 2
    weight = np.full(m // 2 + 1, 4.0)
    weight[[0, -1]] = 1.0
    return np.asarray(np.sqrt(power / (power * weight).sum()) * n * m, np.float32)


def _noise_slices(rng: np.random.Generator, gain: Field, plane: tuple[int, int], count: int) -> Field:
    """`count` axial planes of unit variance (count, n, m)."""
    parts = rng.standard_normal((count, *gain.shape, 2), dtype=np.float32)
    spectrum = parts.view(np.complex64)[..., 0] * gain
    size = gain.shape[0], 2 * (gain.shape[1] - 1)
    planes = fft.irfft2(spectrum, s=size, overwrite_x=True)
    return np.asarray(planes[:, : plane[0], : plane[1]], np.float32)
