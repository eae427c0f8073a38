"""How an organ of one body comes to its place: a little moved, scaled, turned and dented in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.core.anatomy import V1_IDS
from engine.core.geometry import Grid
from engine.phantom.canvas import Canvas, Mask, Region
from engine.phantom.lattice import Lattice
from engine.phantom.solids import Bundle, Capsule, Carved, Dented, Ellipsoid, Solid
from engine.phantom.tissue import Tissues
from engine.phantom.torso import Rooms
from engine.phantom.tubes import tube
from engine.procedural.waves import Waves

FAT_PLANE_MM = 1.6
"""Fat between neighbouring organs."""

_SPOT_MM = 6.0

Knots = Sequence[tuple[float, float, float, float]]
"""A centre line: (x right, y anterior, z superior, radius), body mm."""


@dataclass(frozen=True, eq=False)
class Surgeon:
    """Puts organs of one body in place: each a little moved, scaled, turned and dented in its own way."""

    canvas: Canvas
    rooms: Rooms
    tissues: Tissues
    rng: np.random.Generator

    def pipe(
        self, knots: Knots, *, side: int = 1, move_mm: float = 3.0, step_mm: float = 8.0, haustra_mm: float = 0.0
    ) -> Bundle:
        table = np.asarray(knots, float)
        moved = table[:, :3] * (side, 1, 1) + self.rng.uniform(-move_mm, move_mm, 3)
        radii = table[:, 3] * self.rng.uniform(0.95, 1.08)
        return Bundle(tube(moved, list(radii), step_mm=step_mm, haustra_mm=haustra_mm))

    def lump(
        self, centre: ArrayLike, radii: ArrayLike, tilt_deg: ArrayLike = (0, 0, 0), *, move_mm: float = 4.0
    ) -> Ellipsoid:
        at = np.asarray(centre, float) + self.rng.uniform(-move_mm, move_mm, 3)
        size = np.asarray(radii, float) * self.rng.uniform(0.94, 1.06, 3)
        return Ellipsoid.of(at, size, np.asarray(tilt_deg, float) + self.rng.uniform(-5, 5, 3))

    def dented(self, solid: Solid, rms_mm: float, lengths_mm: tuple[float, float] = (35.0, 110.0)) -> Dented:
        return Dented(solid, Waves.drawn(self.rng, 5, lengths_mm, rms_mm))

    def place(self, organ: str, solid: Solid, hu: float, *, room: Solid | None = None, gap_mm: float = 0.0) -> Region:
        """Paint an organ, kept to a room where it would reach out of it, displacing what is there."""
        inside = solid if room is None else Carved(solid, within=[room], mm=2)
        return self.canvas.organ(inside, V1_IDS[organ], hu, gap_mm=gap_mm, gap_hu=self.tissues.fat)

    def vessels(self, twigs: Sequence[Capsule], hu: float, organ: str | None = None, *, only: Region | None = None,
                where: Mask | None = None) -> None:  # fmt: skip
        """Thin branches, voxel by voxel, on the whole canvas or `only` on a region's box, kept to `where` there."""
        solid = Bundle(list(twigs), reach_mm=float(self.canvas.scan.spacing_mm.max()))
        organ_id = None if organ is None else V1_IDS[organ]
        if only is None:
            for piece in solid.pieces(8):
                self.canvas.fill(self.canvas.region(piece, grain_mm=None), hu, organ_id)
            return
        distance = self.canvas.read(only.box, solid.distance, None)
        self.canvas.fill(Region(only.box, distance), hu, organ_id, where=where)

    def spots(self, solid: Solid, count: int, *, depth_mm: float = 2.0) -> NDArray[np.float64]:
        """`count` points spread over a solid, `depth_mm` below its surface (n, 3): the same whatever grid reads it."""
        low, high = solid.bounds
        a, b, c = (int(n) for n in np.ceil((high - low) / _SPOT_MM) + 1)
        affine = np.diag([_SPOT_MM, _SPOT_MM, _SPOT_MM, 1.0])
        affine[:3, 3] = low
        at = Lattice.of(Grid((a, b, c), affine))
        # Each point draws its turn, inside or not: what a rounding adds or takes at the surface moves no other point.
        turn, shift = self.rng.random(at.shape), self.rng.uniform(-2, 2, (count, 3))
        turn[np.broadcast_to(solid.distance(at), at.shape) > -depth_mm] = 2
        first = np.argsort(turn, axis=None, kind="stable")[:count]
        first = first[turn.flat[first] < 1]
        return np.asarray(at.grid.to_world(np.stack(np.unravel_index(first, at.shape), axis=1)) + shift[: len(first)])
