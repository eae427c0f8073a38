"""Planes through a body, as a radiologist holds them: anterior or superior up, the patient's right on the left.

They are laid in the world, not along the axes of a file, so two files of one body give the same picture however
their voxels are ordered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.core.geometry import Box, Grid
from engine.core.resample import Interpolation, resample

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")

_AXES: dict[Plane, tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]] = {
    # normal, down the picture, to the right of the picture; RAS
    "axial": ((0, 0, 1), (0, -1, 0), (-1, 0, 0)),
    "coronal": ((0, 1, 0), (0, 0, -1), (-1, 0, 0)),
    "sagittal": ((1, 0, 0), (0, 0, -1), (0, -1, 0)),
}


@dataclass(frozen=True)
class Letters:
    """What the four edges of a picture face: R, L, A, P, S or I."""

    left: str
    right: str
    top: str
    bottom: str


def letters_of(plane: Plane) -> Letters:
    """The letters at the edges of a plane's picture."""
    _, down, across = _AXES[plane]
    return Letters(
        left=_towards(across, -1), right=_towards(across, 1), top=_towards(down, -1), bottom=_towards(down, 1)
    )


def _towards(direction: tuple[int, int, int], sign: int) -> str:
    axis = next(i for i, step in enumerate(direction) if step)
    return ("RAS" if direction[axis] * sign > 0 else "LPI")[axis]


def plane_grid(plane: Plane, centre_mm: NDArray[np.float64], shape: tuple[int, int], pixel_mm: float) -> Grid:
    """A grid of shape (1, rows, columns) with its middle at `centre_mm` (world RAS)."""
    affine = np.eye(4)
    for column, direction in enumerate(_AXES[plane]):
        affine[:3, column] = np.asarray(direction, float) * pixel_mm
    down, across = (n - 1 for n in shape)
    affine[:3, 3] = centre_mm - affine[:3, 1] * down / 2 - affine[:3, 2] * across / 2
    return Grid((1, *shape), affine)


def read_plane(
    values: Callable[[Box], NDArray[Any]],
    grid: Grid,
    plane: Grid,
    *,
    fill: float,
    interpolation: Interpolation = "linear",
) -> NDArray[Any]:
    """A plane of a volume on `grid` as (rows, columns); `values` gives the box of it that is needed."""
    box = plane.cover(Box.whole(plane.shape), grid, margin=1)
    if not box.voxels:
        return np.full(plane.shape[1:], fill, np.float32)
    return np.asarray(resample(values(box), grid.crop(box), plane, interpolation=interpolation, fill=fill)[0])
