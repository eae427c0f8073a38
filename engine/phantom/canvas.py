"""What a phantom is painted on: HU and organ ids on one grid, in millimetres of the body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.anatomy import OrganMap
from engine.core.geometry import Box, Grid
from engine.phantom.solids import Bounds, Solid
from engine.procedural.waves import Field, OpenAxes

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Region:
    """Signed distance to a solid (mm, negative inside) on a box of the canvas."""

    box: Box
    distance_mm: Field

    @property
    def inside(self) -> Mask:
        return np.asarray(self.distance_mm < 0)


@dataclass(frozen=True, eq=False)
class Canvas:
    """`grid` is axis-aligned: right, anterior, superior, in body mm. `hu` float32 and `organs` uint8 are painted on."""

    grid: Grid
    hu: Field
    organs: OrganMap

    @classmethod
    def empty(cls, grid: Grid, hu: float) -> Self:
        return cls(grid, np.full(grid.shape, hu, np.float32), np.zeros(grid.shape, np.uint8))

    @property
    def whole(self) -> Box:
        return Box.whole(self.grid.shape)

    @cached_property
    def _lines(self) -> tuple[Field, Field, Field]:
        """Body mm of the voxel centres along each axis."""
        origin, step = self.grid.affine[:3, 3], np.diag(self.grid.affine)
        x, y, z = ((origin[a] + step[a] * np.arange(n)).astype(np.float32) for a, n in enumerate(self.grid.shape))
        return x, y, z

    def axes(self, box: Box | None = None) -> OpenAxes:
        """Body mm of a box's voxel centres, open."""
        x, y, z = (line[s] for line, s in zip(self._lines, (box or self.whole).slices, strict=True))
        return x[:, None, None], y[None, :, None], z[None, None, :]

    def window(self, bounds: Bounds) -> Box:
        """The voxels between two corners in body mm, as far as they are in view."""
        return Box.of_points(self.grid.to_index(bounds)) & self.whole

    def region(self, solid: Solid, reach_mm: float = 0.0) -> Region:
        """The distance field of a solid on its own box and `reach_mm` around; each part only where it counts."""
        margin = np.array([[-1.0], [1.0]]) * (reach_mm + solid.swell_mm)
        box = self.window(solid.bounds + np.array([[-1.0], [1.0]]) * reach_mm)
        field = np.full(box.shape, 1e3, np.float32)
        for part in solid.parts:
            near = self.window(part.bounds + margin) & box
            if near.voxels:
                view = field[near.relative_to(box).slices]
                np.minimum(view, part.distance(self.axes(near)), out=view)
        if solid.bumps is not None and box.voxels:
            field += solid.bumps.at(self.axes(box))
        return Region(box, field)

    def fill(self, box: Box, where: Mask, hu: float, organ_id: int | None = None) -> None:
        """Give `where` (on `box`) one tissue; `organ_id` None leaves the ids as they are."""
        self.hu[box.slices][where] = hu
        if organ_id is not None:
            self.organs[box.slices][where] = organ_id

    def organ(self, solid: Solid, organ_id: int, hu: float, *, within: Mask, gap: float, gap_hu: float) -> Region:
        """Paint an organ inside `within` (whole canvas), with a layer of fat `gap` mm wide against earlier organs."""
        region = self.region(solid, gap)
        allowed = within[region.box.slices]
        if gap:
            around = (region.distance_mm < gap) & allowed & (self.organs[region.box.slices] != 0)
            self.fill(region.box, around, gap_hu, 0)
        self.fill(region.box, region.inside & allowed, hu, organ_id)
        return region

    def hollow(self, region: Region, organ_id: int, wall_mm: float, content: Callable[[OpenAxes], Field]) -> None:
        """Fill what lies deeper than `wall_mm` in an organ already painted; `content` gives HU on open axes.

        Where a later organ has cut into this one, at least a voxel of wall is left there too.
        """
        box = region.box
        own = self.organs[box.slices] == organ_id
        rim = [2 * max(1, int(wall_mm / s)) + 1 for s in self.grid.spacing_mm]
        deep = ndimage.minimum_filter(own.view(np.uint8), rim, mode="nearest").view(np.bool_)
        deep &= region.distance_mm < -wall_mm
        self.hu[box.slices][deep] = np.broadcast_to(content(self.axes(box)), box.shape)[deep]
