"""Crops about a lesion, as the networks were trained on them. Arrays and sizes are (z y x) on the model grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape3 = tuple[int, int, int]
Slices = tuple[slice, slice, slice]

_ROOM_VOX = 8


@dataclass(frozen=True)
class Crop:
    """`size` voxels from `start` on. It may reach beyond the end of a volume, and begins inside it."""

    start: Shape3
    size: Shape3

    @property
    def slices(self) -> Slices:
        z, y, x = (slice(start, start + size) for start, size in zip(self.start, self.size, strict=True))
        return z, y, x

    def of(self, volume: NDArray[Any], *, fill: float) -> NDArray[Any]:
        """The voxels of `volume` in the crop, `fill` beyond its end. A view where nothing is beyond it."""
        there = volume[self.slices]
        beyond = [(0, size - found) for size, found in zip(self.size, there.shape, strict=True)]
        return np.pad(there, beyond, constant_values=fill) if there.shape != self.size else there


def crop_about(mask: NDArray[Any], size: Shape3, *, within: Sequence[int] | None = None) -> Crop:
    """A crop about the middle of the mask's box, slid to lie in a volume of shape `within`, the mask's own otherwise.

    The middle of an even number of voxels is the lower of two. An axis shorter than the crop begins at zero. Raises
    ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("no crop can be laid about an empty mask")
    start = []
    for axis, (side, length) in enumerate(zip(size, within or mask.shape, strict=True)):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        middle = (int(hit[0]) + int(hit[-1])) // 2
        start.append(max(min(middle - side // 2, length - side), 0))
    z, y, x = start
    return Crop((z, y, x), size)


def with_room(shape: Sequence[int], size: Shape3) -> Shape3:
    """What a volume is extended to in training, at the end of its axes, where any axis is no longer than the crop.

    Then every axis gets eight voxels more than the crop, so that the crop still has some room to slide.
    """
    z, y, x = (int(length) for length in shape)
    if all(length > side for length, side in zip(shape, size, strict=True)):
        return z, y, x
    return max(z, size[0] + _ROOM_VOX), max(y, size[1] + _ROOM_VOX), max(x, size[2] + _ROOM_VOX)
