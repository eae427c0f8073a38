"""What a phantom is painted on: HU and organ ids on one grid, read in millimetres of the body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.anatomy import OrganMap
from engine.core.geometry import Affine, Box, Grid
from engine.phantom.lattice import Bounds, Lattice, Samples
from engine.phantom.solids import Solid
from engine.procedural.waves import Field

Mask = NDArray[np.bool_]

GRAIN_MM = 3.0
"""Smooth surfaces are computed on points so far apart and interpolated: 0.1 mm off at a radius of 12 mm."""
_CONTENT_GRAIN_MM = 2.0
_SLAB = 8


@dataclass(frozen=True, eq=False)
class Region:
    """Signed distance to a solid (mm, negative inside) on a box of the canvas."""

    box: Box
    distance_mm: Field

    @property
    def inside(self) -> Mask:
        return np.asarray(self.distance_mm < 0)

    def cut(self, distance_mm: Field) -> Region:
        """What of it lies where another distance on the same box is negative."""
        return Region(self.box, np.maximum(self.distance_mm, distance_mm))

    def deeper(self, by_mm: float) -> Region:
        """What lies more than `by_mm` below the surface."""
        return Region(self.box, self.distance_mm + np.float32(by_mm))


@dataclass(frozen=True, eq=False)
class Sampled:
    """A solid whose distances are read from coarse samples wherever these can be."""

    solid: Solid
    samples: Samples

    @property
    def bounds(self) -> Bounds:
        return self.solid.bounds

    def distance(self, at: Lattice) -> Field:
        found = self.samples.at(at)
        return self.solid.distance(at) if found is None else found


@dataclass(frozen=True, eq=False)
class Canvas:
    """`scan` is the grid in the world; `body_from_world` (4, 4) leads to body mm. `hu` and `organs` are painted on."""

    scan: Grid
    body_from_world: Affine
    hu: Field
    organs: OrganMap

    @classmethod
    def empty(cls, scan: Grid, body_from_world: Affine, hu: float) -> Self:
        return cls(scan, body_from_world, np.full(scan.shape, hu, np.float32), np.zeros(scan.shape, np.uint8))

    @property
    def whole(self) -> Box:
        return Box.whole(self.scan.shape)

    @cached_property
    def voxels(self) -> Lattice:
        """The voxel centres."""
        return Lattice.of(Grid(self.scan.shape, self.body_from_world @ self.scan.affine))

    @property
    def up(self) -> NDArray[np.float64]:
        """Away from the table, as a direction of the body: the patient may lie askew, gas still rises."""
        way = self.body_from_world[:3, 1]
        return np.asarray(way / np.linalg.norm(way))

    def read(self, box: Box, values: Callable[[Lattice], Field], grain_mm: float | None = GRAIN_MM) -> Field:
        """Values of a function of the body on a box: at its voxels, or on points `grain_mm` apart and between them.

        The coarse points are fixed in the world, so another view or spacing reads the same body.
        """
        points = self.voxels.crop(box)
        if grain_mm is None or not box.voxels:
            return np.broadcast_to(values(points), box.shape)
        out = Samples.of(self._coarse(box, grain_mm), values).at(points)
        assert out is not None  # noqa: S101 - both follow the axes of the scan
        return out

    def sampled(self, solid: Solid, grain_mm: float) -> Sampled:
        """A solid that many others are measured against, computed once for this view."""
        return Sampled(solid, Samples.of(self._coarse(self.whole, grain_mm), solid.distance))

    def _coarse(self, box: Box, grain_mm: float) -> Lattice:
        """Points that enclose a box, at whole multiples of `grain_mm` along the scan's axes."""
        spacing = self.scan.spacing_mm
        origin_mm = self.scan.directions.T @ self.scan.affine[:3, 3]
        first, last = (np.floor((origin_mm + np.asarray(end) * spacing) / grain_mm + 1e-6).astype(int)
                       for end in (box.start, np.asarray(box.stop) - 1))  # fmt: skip
        to_voxel = np.diag([*(grain_mm / spacing), 1.0])
        to_voxel[:3, 3] = (first * grain_mm - origin_mm) / spacing
        a, b, c = (int(n) for n in last - first + 2)
        return Lattice.of(Grid((a, b, c), self.body_from_world @ self.scan.affine @ to_voxel))

    def region(self, solid: Solid, *, reach_mm: float = 0.0, grain_mm: float | None = GRAIN_MM) -> Region:
        """The distance field of a solid on its own box and `reach_mm` around."""
        margin_mm = reach_mm + float(self.scan.spacing_mm.max())
        box = self.voxels.window(solid.bounds + np.array([[-1.0], [1.0]]) * margin_mm)
        return Region(box, self.read(box, solid.distance, grain_mm))

    def fill(
        self, region: Region, hu: float | Field, organ_id: int | None = None, *, where: Mask | None = None
    ) -> None:
        """Give a region one tissue (or HU voxel by voxel); a voxel on its edge gets its share.

        `organ_id` None leaves the ids as they are; `where` (on the box) keeps the brush off the rest.
        """
        sharpness = np.float32(-1 / self.scan.spacing_mm.mean())
        view = self.hu[region.box.slices]
        # Slab by slab, so that what is computed stays in the processor's cache.
        for start in range(0, len(view), _SLAB):
            part = slice(start, start + _SLAB)
            share = region.distance_mm[part] * sharpness
            share += np.float32(0.5)
            np.clip(share, 0, 1, out=share)
            if where is not None:
                share *= where[part]
            share *= (hu[part] if isinstance(hu, np.ndarray) else np.float32(hu)) - view[part]
            view[part] += share
        if organ_id is not None:
            inside = region.inside if where is None else region.inside & where
            self.organs[region.box.slices][inside] = organ_id

    def organ(self, solid: Solid, organ_id: int, hu: float, *, gap_mm: float, gap_hu: float) -> Region:
        """Paint an organ, with a layer of fat `gap_mm` wide against organs that are already there."""
        region = self.region(solid, reach_mm=gap_mm)
        if gap_mm:
            taken = self.organs[region.box.slices] != 0
            self.fill(region.deeper(-gap_mm), gap_hu, 0, where=taken)
        self.fill(region, hu, organ_id)
        return region

    def own(self, region: Region, organ_id: int) -> Mask:
        """Where, on the region's box, an organ is (still) to be seen."""
        return np.asarray(self.organs[region.box.slices] == organ_id)

    def hollow(self, region: Region, organ_id: int, wall_mm: float, content: Callable[[Lattice], Field]) -> None:
        """Fill what lies deeper than `wall_mm` in an organ already painted; `content` gives HU.

        Where a later organ has cut into this one, at least a voxel of wall is left there too.
        """
        rim = [2 * max(1, int(wall_mm / s) - 1) + 1 for s in self.scan.spacing_mm]
        own = self.own(region, organ_id).view(np.uint8)
        deep = ndimage.minimum_filter(own, rim, mode="nearest").view(np.bool_)
        self.fill(region.deeper(wall_mm), self.read(region.box, content, _CONTENT_GRAIN_MM), where=deep)
