"""Regular points in body mm, read one linear form at a time: a turned body costs little more than a straight one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.core.geometry import Box, Grid, Shape3
from engine.procedural.waves import Field, Waves

Bounds = NDArray[np.float64]
"""Lowest and highest corner, (2, 3) in mm."""

_OPEN = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
_PARALLEL = 1e-7
_LEVEL = 1e-12
"""A step so small is none: what rounding leaves of a right angle."""


def mm(x: float, y: float, z: float) -> NDArray[np.float64]:
    """A place in the body, or a way through it: right, anterior, superior."""
    return np.array([x, y, z], float)


@dataclass(frozen=True, eq=False)
class Lattice:
    """The points of `grid`, whose "world" is the body (x right, y anterior, z superior, in mm), that lie in `box`."""

    grid: Grid
    box: Box

    @classmethod
    def of(cls, grid: Grid) -> Self:
        return cls(grid, Box.whole(grid.shape))

    @property
    def shape(self) -> Shape3:
        return self.box.shape

    def crop(self, box: Box) -> Lattice:
        """Those in a box that is counted from this lattice's own start."""
        return Lattice(self.grid, box.shifted(self.box.start))

    def window(self, bounds: Bounds) -> Box:
        """The points between two corners in body mm, as far as there are any, counted from this lattice's start."""
        return self.windows(bounds[None])[0]

    def windows(self, bounds: NDArray[np.float64]) -> list[Box]:
        """The window of each of many pairs of corners (n, 2, 3), all at once: there are thousands of small parts."""
        to_index = self.grid.world_to_index
        middle = bounds.mean(axis=1) @ to_index[:3, :3].T + to_index[:3, 3]
        half = (bounds[:, 1] - bounds[:, 0]) @ np.abs(to_index[:3, :3]).T / 2
        first, end = np.asarray(self.box.start), np.asarray(self.box.stop)
        low = np.clip(np.floor(middle - half), first, end).astype(int) - first
        high = np.clip(np.ceil(middle + half) + 1, first, end).astype(int) - first
        corners = zip(low.tolist(), high.tolist(), strict=True)
        return [Box((a, b, c), (max(a, i), max(b, j), max(c, k))) for (a, b, c), (i, j, k) in corners]

    def along(self, direction: ArrayLike, origin: ArrayLike = (0, 0, 0)) -> Field:
        """`direction . (p - origin)` for each point p, float32; an axis that does not matter has length 1."""
        way, affine = np.asarray(direction, float), self.grid.affine
        start = float(way @ (affine[:3, 3] - np.asarray(origin, float)))
        out: Field | None = None
        for axis, step in enumerate((way @ affine[:3, :3]).tolist()):
            if abs(step) < _LEVEL:
                continue
            line = step * np.arange(self.box.start[axis], self.box.stop[axis]) + (start if out is None else 0.0)
            line = line.astype(np.float32).reshape(_OPEN[axis])
            out = line if out is None else out + line
        return np.full((1, 1, 1), start, np.float32) if out is None else out

    def steps(self, other: Grid) -> tuple[NDArray[np.float64], ...] | None:
        """Fractional indices of these points along each axis of another grid, or None where it is not parallel."""
        to_other = other.world_to_index @ self.grid.affine
        scale = np.diag(to_other)[:3]
        if np.abs(to_other[:3, :3] - np.diag(scale)).max() > _PARALLEL * np.abs(scale).min():
            return None
        return tuple(
            scale[axis] * np.arange(self.box.start[axis], self.box.stop[axis]) + to_other[axis, 3] for axis in range(3)
        )

    def waves(self, waves: Waves) -> Field:
        """A random field of the body on these points."""
        steps = waves.vectors @ self.grid.affine[:3, :3]
        starts = waves.phases + waves.vectors @ self.grid.affine[:3, 3]
        i, j, k = (
            np.arange(a, b, dtype=np.float32).reshape(shape)
            for a, b, shape in zip(self.box.start, self.box.stop, _OPEN, strict=True)
        )
        return Waves(steps, starts, waves.amplitudes).at((i, j, k))


@dataclass(frozen=True, eq=False)
class Samples:
    """Values on a lattice (i j k), float32, and linearly between its points."""

    lattice: Lattice
    values: Field

    @classmethod
    def of(cls, lattice: Lattice, function: Callable[[Lattice], Field]) -> Self:
        return cls(lattice, np.broadcast_to(function(lattice), lattice.shape))

    def at(self, points: Lattice) -> Field | None:
        """The values on a parallel lattice, or None where it is turned or reaches further than a step beyond."""
        steps = points.steps(self.lattice.grid)
        first, end = self.lattice.box.start, self.lattice.box.stop
        if steps is None or any(s[0] < a - 1 or s[-1] > b for s, a, b in zip(steps, first, end, strict=True) if len(s)):
            return None
        out = self.values
        for axis in (2, 1, 0):
            out = _between(out, steps[axis] - self.lattice.box.start[axis], axis)
        return out


def _between(values: Field, at: NDArray[np.float64], axis: int) -> Field:
    """Linear interpolation along one axis at fractional indices `at` (n,), 0 being the first value."""
    low = np.clip(np.floor(at + 1e-6).astype(int), 0, values.shape[axis] - 2)
    share = (at - low).astype(np.float32).reshape(_OPEN[axis])
    left = np.take(values, low, axis=axis)
    out = np.take(values, low + 1, axis=axis)
    out -= left
    out *= share
    out += left
    return np.asarray(out, np.float32)
