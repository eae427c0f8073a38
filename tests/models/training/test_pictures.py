"""Slices side by side."""

from __future__ import annotations

import numpy as np

from models.training.pictures import most_of, side_by_side


def test_the_plane_that_shows_most() -> None:
    mask = np.zeros((5, 4, 4), bool)
    assert most_of(mask) == 2
    mask[1, 0, 0] = mask[3, :2, 0] = True
    assert most_of(mask) == 3


def test_panels_in_order_and_upright() -> None:
    volume = np.zeros((3, 4, 6), np.float32)
    volume[1, 3, 0] = 2.0  # anterior, on the patient's right
    picture = side_by_side([volume, np.ones((3, 4, 6), bool), np.full((3, 4, 6), np.nan)], 1)
    assert picture.shape == (4, 3 * 6 + 2 * 2)
    assert picture.dtype == np.uint8
    assert picture[0, 0] == 255
    assert not picture[1:, :6].any()
    assert (picture[:, 6:16] == 255).all()  # a white gap, the mask, a white gap
    assert not picture[:, 16:].any()
