"""Planes through a lesion, as a radiologist holds them: anterior or superior up, the patient's right on the left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.core.geometry import Box, Grid
from engine.core.resample import Interpolation, resample

Plane = Literal["axial", "coronal", "sagittal"]

_AXES: dict[Plane, tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]] = {
    # normal, down the picture, to the right of the picture; RAS
    "axial": ((0, 0, 1), (0, -1, 0), (-1, 0, 0)),
    "coronal": ((0, 1, 0), (0, 0, -1), (-1, 0, 0)),
    "sagittal": ((1, 0, 0), (0, 0, -1), (0, -1, 0)),
}


def plane_grid(plane: Plane, centre_mm: NDArray[np.float64], width_mm: float, pixels: int) -> Grid:
    """A grid of shape (1, pixels, pixels) through `centre_mm` (world RAS)."""
    step = width_mm / pixels
    affine = np.eye(4)
    for column, direction in enumerate(_AXES[plane]):
        affine[:3, column] = np.asarray(direction, float) * step
    middle = (pixels - 1) / 2
    affine[:3, 3] = centre_mm - affine[:3, 1] * middle - affine[:3, 2] * middle
    return Grid((1, pixels, pixels), affine)


def read_plane(
    values: Callable[[Box], NDArray[Any]], grid: Grid, plane: Grid, *, interpolation: Interpolation, fill: float
) -> NDArray[Any]:
    """A plane of a volume on `grid` as (rows, columns); `values` gives the box of it that is needed."""
    box = plane.cover(Box.whole(plane.shape), grid, margin=1)
    if not box.voxels:
        return np.full(plane.shape[1:], fill)
    return np.asarray(resample(values(box), grid.crop(box), plane, interpolation=interpolation, fill=fill)[0])
