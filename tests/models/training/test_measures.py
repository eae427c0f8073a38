"""Measures of trained networks, by what they must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from models.training.measures import (
    Means,
    dice,
    hu_errors,
    lesion_hu_error,
    margin_step_hu,
    psnr_db,
    ssim,
    volume_error,
)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def cube(side: int, low: int, high: int) -> np.ndarray:
    mask = np.zeros((side,) * 3, bool)
    mask[(slice(low, high),) * 3] = True
    return mask


def test_psnr() -> None:
    image = random(0, 4, 5, 6)
    assert psnr_db(image, image + 0.1) == pytest.approx(20, abs=1e-4)
    assert psnr_db(image, image) == math.inf


def test_ssim_as_scikit_image_has_it() -> None:
    true, made = random(0, 14, 16, 13), random(1, 14, 16, 13) * 0.3 + random(0, 14, 16, 13) * 0.7
    theirs = structural_similarity(
        true.double().numpy(), made.double().numpy(), data_range=1.0, gaussian_weights=True, use_sample_covariance=False
    )
    assert ssim(true, made) == pytest.approx(theirs, abs=1e-6)
    assert ssim(true, true) == pytest.approx(1)


def test_ssim_of_a_volume_thinner_than_its_window() -> None:
    thin = random(0, 4, 16, 5)
    assert ssim(thin, thin) == pytest.approx(1)
    assert ssim(thin, random(1, 4, 16, 5)) < 0.5


def test_hu_errors_by_what_is_truly_there() -> None:
    true = np.array([-1000.0, -900, -700, -500, -100, 0, 199, 200, 900], np.float32)
    errors = hu_errors(true, true + np.array([1, 2, 4, 8, 16, 32, 64, 128, 256], np.float32))
    assert errors["air"] == 1
    assert errors["lung"] == 3
    assert errors["fat"] == 16
    assert errors["soft"] == 48
    assert errors["bone"] == 192
    assert errors["all"] == pytest.approx(511 / 9)
    assert math.isnan(hu_errors(true[:1], true[:1])["bone"])


def test_dice_and_volume() -> None:
    true, half = cube(8, 2, 6), cube(8, 2, 6)
    half[4:] = False
    assert dice(true, true) == 1
    assert dice(true, ~true) == 0
    assert dice(true, half) == pytest.approx(2 / 3)
    assert dice(~cube(8, 0, 8), ~cube(8, 0, 8)) == 1
    assert volume_error(true, half) == 0.5
    assert volume_error(half, true) == 1
    assert math.isnan(volume_error(~cube(8, 0, 8), true))


def test_hu_in_the_lesion_and_across_its_margin() -> None:
    lesion = cube(8, 2, 6)
    hu = np.where(lesion, 60.0, 100.0)
    assert lesion_hu_error(hu, lesion, 50.0) == 10
    assert margin_step_hu(hu, lesion) == 40
    hu[0, 0, 0] = 5000  # away from the margin
    hu[3, 3, 3] = 5000
    assert margin_step_hu(hu, lesion) == 40
    assert math.isnan(margin_step_hu(hu, cube(8, 0, 8)))


def test_means_are_those_of_all_examples_however_they_come() -> None:
    whole, first, second = (Means(("a", "b", "c")) for _ in range(3))
    whole.add({"a": [1.0, 2.0, 6.0], "b": [4.0, math.nan, math.nan]})
    first.add({"a": [1.0], "b": [4.0]})
    second.add({"a": [2.0, 6.0], "b": [math.nan, math.nan]})
    sums: list[torch.Tensor] = []
    second.over(lambda mine: sums.append(mine) or mine)
    together = first.over(lambda mine: mine + sums[0])
    assert together["a"] == whole.over(lambda mine: mine)["a"] == 3
    assert together["b"] == 4
    assert math.isnan(together["c"])
    with pytest.raises(ValueError, match="'d' is not among what is measured: a, b, c"):
        whole.add({"d": [1.0]})
