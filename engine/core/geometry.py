"""Grids and boxes: the only place where voxel indices are computed.

World coordinates are RAS+ millimetres. A voxel index names the voxel's centre, so voxel `i` covers
[i - 0.5, i + 0.5). Boxes are half-open, slid to fit and never shrunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.core.errors import PlacementError, VolumeError

Shape3 = tuple[int, int, int]
Affine = NDArray[np.float64]
Points = NDArray[np.float64]

MODEL_AXES = ("S", "A", "L")
"""Axis directions of the model grid: index 0 grows towards superior, 1 anterior, 2 left."""

MODEL_SPACING_MM = 1.0
_SHEAR_TOLERANCE = 5e-5  # SimpleITK refuses a NIfTI from 1e-4 on


def _three(values: Sequence[int] | NDArray[np.integer]) -> Shape3:
    a, b, c = (int(v) for v in values)
    return a, b, c


@dataclass(frozen=True, order=True)
class Box:
    """Half-open box of voxels: `start <= index < stop` on each of three axes."""

    start: Shape3
    stop: Shape3

    def __post_init__(self) -> None:
        if any(a > b for a, b in zip(self.start, self.stop, strict=True)):
            raise ValueError(f"box runs backwards: {self.start} to {self.stop}")

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Box:
        """The box of a whole array."""
        return cls((0, 0, 0), _three(shape))

    @classmethod
    def around(cls, centre: ArrayLike, size: Sequence[int], *, within: Sequence[int]) -> Box:
        """A box of exactly `size` voxels about `centre` (continuous index), slid to lie in an array of shape `within`.

        Its middle is the nearest there is to `centre`, the lower of two that are equally near.

        Raises `PlacementError` where `size` exceeds `within`: a box is never shrunk.
        """
        if any(s > n for s, n in zip(size, within, strict=True)):
            raise PlacementError(f"box of {_x(size)} voxels exceeds the volume of {_x(within)} voxels")
        start = [
            min(max(math.ceil(c - s / 2 - 1e-9), 0), n - s)
            for c, s, n in zip(np.asarray(centre, float), size, within, strict=True)
        ]
        return cls(_three(start), _three([a + s for a, s in zip(start, size, strict=True)]))

    @classmethod
    def window(cls, centre: ArrayLike, size: Sequence[int], *, within: Sequence[int]) -> Box:
        """As `around`, but an axis longer than the array is laid evenly about it: for crops that are padded."""
        fits = cls.around(centre, [min(s, n) for s, n in zip(size, within, strict=True)], within=within)
        low = [a - max(0, s - n) // 2 for a, s, n in zip(fits.start, size, within, strict=True)]
        return cls(_three(low), _three([a + s for a, s in zip(low, size, strict=True)]))

    def planes(self, most: int) -> list[Box]:
        """Planes across the first axis, evenly spread: `most` of them, or all there are."""
        depth = self.shape[0]
        offsets = sorted({int((n + 0.5) * depth / most) for n in range(most)} if depth > most else range(depth))
        (_, j, k), (_, jj, kk) = self.start, self.stop
        return [Box((self.start[0] + at, j, k), (self.start[0] + at + 1, jj, kk)) for at in offsets]

    @classmethod
    def of_mask(cls, mask: NDArray[np.generic]) -> Box | None:
        """The smallest box that holds every non-zero voxel, or None where there is none."""
        start, stop = [], []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            hit = np.flatnonzero(np.any(mask, axis=others))
            if hit.size == 0:
                return None
            start.append(int(hit[0]))
            stop.append(int(hit[-1]) + 1)
        return cls(_three(start), _three(stop))

    @classmethod
    def of_points(cls, points: Points) -> Box:
        """The smallest box whose voxel centres enclose continuous indices `points` (n, 3)."""
        low = np.floor(points.min(axis=0)).astype(int)
        high = np.ceil(points.max(axis=0)).astype(int) + 1
        return cls(_three(low), _three(high))

    @classmethod
    def from_flat(cls, six: Sequence[int]) -> Box:
        """From `[i0, j0, k0, i1, j1, k1]`, the form kept in tables."""
        return cls(_three(six[:3]), _three(six[3:]))

    @property
    def flat(self) -> list[int]:
        return [*self.start, *self.stop]

    @property
    def shape(self) -> Shape3:
        return _three([b - a for a, b in zip(self.start, self.stop, strict=True)])

    @property
    def voxels(self) -> int:
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """For indexing an array that the box lies in."""
        if min(self.start) < 0:
            raise ValueError(f"{self} starts outside its array")
        a, b, c = (slice(i, j) for i, j in zip(self.start, self.stop, strict=True))
        return a, b, c

    @property
    def centre(self) -> NDArray[np.float64]:
        """Continuous index of the middle (a box of one voxel has its centre on that voxel)."""
        return np.asarray((np.asarray(self.start, float) + np.asarray(self.stop, float) - 1) / 2)

    def within(self, shape: Sequence[int]) -> bool:
        return min(self.start) >= 0 and all(b <= n for b, n in zip(self.stop, shape, strict=True))

    def holds(self, index: ArrayLike) -> bool:
        """Does a continuous index lie in one of the box's voxels?"""
        at = np.asarray(index, float) + 0.5
        return bool((at >= self.start).all() and (at < self.stop).all())

    def contains(self, other: Box) -> bool:
        return self & other == other

    def __and__(self, other: Box) -> Box:
        """Intersection; empty (zero voxels) where they do not meet."""
        start = [max(a, b) for a, b in zip(self.start, other.start, strict=True)]
        stop = [max(s, min(a, b)) for s, a, b in zip(start, self.stop, other.stop, strict=True)]
        return Box(_three(start), _three(stop))

    def __or__(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            _three([min(a, b) for a, b in zip(self.start, other.start, strict=True)]),
            _three([max(a, b) for a, b in zip(self.stop, other.stop, strict=True)]),
        )

    def overlaps(self, other: Box) -> bool:
        return (self & other).voxels > 0

    def grown(self, by: int | Sequence[int]) -> Box:
        """Wider by `by` voxels on every side; it may leave its array, so follow with `&`."""
        step = (by, by, by) if isinstance(by, int) else by
        return Box(
            _three([a - s for a, s in zip(self.start, step, strict=True)]),
            _three([b + s for b, s in zip(self.stop, step, strict=True)]),
        )

    def relative_to(self, frame: Box) -> Box:
        """The same voxels, counted from the start of `frame`."""
        return self.shifted([-a for a in frame.start])

    def shifted(self, by: Sequence[int]) -> Box:
        return Box(
            _three([a + s for a, s in zip(self.start, by, strict=True)]),
            _three([b + s for b, s in zip(self.stop, by, strict=True)]),
        )

    def corners(self) -> Points:
        """The eight outermost voxel centres (8, 3)."""
        low, high = np.asarray(self.start, float), np.asarray(self.stop, float) - 1
        return np.array([np.where([i & 1, i & 2, i & 4], high, low) for i in range(8)])


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel grid in the world: `shape` and the affine from voxel index to RAS millimetres."""

    shape: Shape3
    affine: Affine

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise VolumeError("affine is not a finite 4x4 matrix")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if spacing.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
            raise VolumeError("affine is singular: two voxel axes point the same way, or one has no length")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", _three(self.shape))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def voxel_mm3(self) -> float:
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def directions(self) -> NDArray[np.float64]:
        """Unit vectors of the voxel axes, as columns (3, 3)."""
        return np.asarray(self.affine[:3, :3] / self.spacing_mm)

    @property
    def orientation(self) -> str:
        """Nearest anatomical axes, such as `"RAS"`: where each index grows towards."""
        return "".join(str(c) for c in nib.aff2axcodes(self.affine))

    @property
    def is_orthogonal(self) -> bool:
        """False for a sheared grid (gantry tilt)."""
        d = self.directions
        return bool(np.abs(d.T @ d - np.eye(3)).max() < _SHEAR_TOLERANCE)

    @cached_property
    def world_to_index(self) -> Affine:
        return np.asarray(np.linalg.inv(self.affine))

    def to_world(self, index: ArrayLike) -> Points:
        """Continuous indices (..., 3) -> RAS mm (..., 3)."""
        return np.asarray(np.asarray(index, float) @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_index(self, world_mm: ArrayLike) -> Points:
        """RAS mm (..., 3) -> continuous indices (..., 3)."""
        inverse = self.world_to_index
        return np.asarray(np.asarray(world_mm, float) @ inverse[:3, :3].T + inverse[:3, 3])

    def index_map(self, source: Grid) -> Affine:
        """4x4 map from this grid's indices to `source`'s indices."""
        return np.asarray(source.world_to_index @ self.affine)

    def crop(self, box: Box) -> Grid:
        """The grid of `array[box.slices]`; the box may also reach outside."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(box.start)
        return Grid(box.shape, affine)

    def every(self, step: Sequence[int]) -> Grid:
        """The grid of `array[:: step[0], :: step[1], :: step[2]]`."""
        affine = self.affine.copy()
        affine[:3, :3] *= np.asarray(step, float)
        return Grid(_three([-(-n // s) for n, s in zip(self.shape, step, strict=True)]), affine)

    def extent_mm(self, box: Box) -> NDArray[np.float64]:
        """Edge to edge lengths of a box of this grid, along the axes of its model grid: (S, A, L)."""
        partner = np.abs(self.model_grid().directions.T @ self.directions).argmax(axis=1)
        return np.asarray((np.asarray(box.shape) * self.spacing_mm)[partner])

    def cover(self, box: Box, other: Grid, *, margin: int = 0) -> Box:
        """The part of `other` that a box of this grid touches, widened by `margin` voxels and cut to `other`."""
        # Voxel edges, not centres: a box of one voxel still has two ends.
        ends = np.array([np.asarray(box.start, float) - 0.5, np.asarray(box.stop, float) - 0.5])
        points = other.to_index(self.to_world(Box.whole((2, 2, 2)).corners() * (ends[1] - ends[0]) + ends[0]))
        return Box.of_points(points).grown(margin) & Box.whole(other.shape)

    def same_space(self, other: Grid, *, tolerance_mm: float = 0.1) -> bool:
        """Equal shape, and corners that coincide within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = Box.whole(self.shape).corners()
        return bool(np.abs(self.to_world(corners) - other.to_world(corners)).max() <= tolerance_mm)

    def orthogonalised(self) -> Grid:
        """The nearest unsheared grid that covers this one, with the same spacing.

        Directions come from the polar decomposition (the rotation nearest in the Frobenius norm).
        """
        u, _, vt = np.linalg.svd(self.directions)
        return self._covering(u @ vt, self.spacing_mm)

    def model_grid(self) -> Grid:
        """The 1 mm isotropic (S, A, L) grid over the same volume.

        Its axes are this grid's own, reordered and flipped to the nearest anatomical ones, so an oblique volume
        keeps its tilt and resampling stays separable. A sheared grid gets the nearest rotation.
        """
        ornt = nib.orientations.ornt_transform(
            nib.io_orientation(self.affine), nib.orientations.axcodes2ornt(MODEL_AXES)
        )
        columns = np.empty((3, 3))
        for axis, (target, flip) in enumerate(ornt):
            columns[:, int(target)] = self.directions[:, axis] * flip
        u, _, vt = np.linalg.svd(columns)
        return self._covering(u @ vt, np.full(3, MODEL_SPACING_MM))

    def _covering(self, rotation: NDArray[np.float64], spacing_mm: NDArray[np.float64]) -> Grid:
        """The smallest grid with these axes whose voxels cover this grid's voxel centres, first centre on the edge."""
        along = self.to_world(Box.whole(self.shape).corners()) @ rotation
        low = along.min(axis=0)
        extent = along.max(axis=0) - low
        affine = np.eye(4)
        affine[:3, :3] = rotation * spacing_mm
        affine[:3, 3] = rotation @ low
        return Grid(_three(np.ceil(extent / spacing_mm - 1e-6).astype(int) + 1), affine)


def _x(sizes: Sequence[int]) -> str:
    return "x".join(str(int(s)) for s in sizes)


def iter_blocks(shape: Sequence[int], depth: int) -> Iterator[Box]:
    """Slabs of `depth` along the last axis that together cover an array, for work that must not hold it all."""
    for k in range(0, shape[2], depth):
        yield Box((0, 0, k), (int(shape[0]), int(shape[1]), min(k + depth, int(shape[2]))))
