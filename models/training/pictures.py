"""Slices of a training's examples, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(h w), grey."""

_BETWEEN = 2  # pixels, white


def most_of(mask: NDArray[np.bool_]) -> int:
    """The index along z of the plane that shows most of a mask (z y x); the middle one where there is nothing."""
    planes = mask.sum(axis=(1, 2))
    return int(planes.argmax()) if planes.any() else len(planes) // 2


def side_by_side(volumes: Sequence[NDArray[Any]], plane: int) -> Picture:
    """That plane of each volume (z y x) = (S A L) on [0, 1], what lies beyond clamped.

    As radiologists look at it: anterior is up, the patient's right is on the left.
    """
    panels: list[NDArray[Any]] = []
    for volume in volumes:
        shown = np.flipud(np.clip(np.nan_to_num(volume[plane].astype(np.float32)), 0.0, 1.0))
        panels += [shown, np.ones((len(shown), _BETWEEN), np.float32)]
    whole: NDArray[Any] = np.rint(255 * np.hstack(panels[:-1]))
    return whole.astype(np.uint8)
