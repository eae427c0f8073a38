"""How an organ of one body comes to its place: a little moved, scaled, turned and dented in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import V1_IDS
from engine.phantom.canvas import Canvas, Mask, Region
from engine.phantom.solids import Ellipsoid, Solid, tube
from engine.phantom.tissue import Tissues
from engine.phantom.torso import Rooms
from engine.procedural.waves import Waves

FAT_PLANE_MM = 1.6
"""Fat between neighbouring organs."""

Knots = Sequence[tuple[float, float, float, float]]
"""A centre line: (x right, y anterior, z superior, radius), body mm."""


@dataclass(frozen=True, eq=False)
class Surgeon:
    """Puts organs of one body in place: each a little moved, scaled, turned and dented in its own way."""

    canvas: Canvas
    rooms: Rooms
    tissues: Tissues
    rng: np.random.Generator

    def pipe(self, knots: Knots, *, side: int = 1, dents_mm: float = 0.0, haustra_mm: float = 0.0) -> Solid:
        table = np.asarray(knots, float)
        moved = table[:, :3] * (side, 1, 1) + self.rng.uniform(-3, 3, 3)
        radii = table[:, 3] * self.rng.uniform(0.95, 1.08)
        return Solid(tube(moved, list(radii), haustra_mm=haustra_mm), self.dents(dents_mm))

    def lump(
        self, centre: tuple[float, float, float], radii: tuple[float, float, float], tilt: tuple[float, float, float]
    ) -> Ellipsoid:
        at = np.asarray(centre) + self.rng.uniform(-4, 4, 3)
        size = np.asarray(radii) * self.rng.uniform(0.95, 1.08, 3)
        return Ellipsoid.of(at, size, np.asarray(tilt) + self.rng.uniform(-5, 5, 3))

    def dents(self, rms_mm: float) -> Waves | None:
        return Waves.drawn(self.rng, 5, (35.0, 110.0), rms_mm) if rms_mm else None

    def place(self, organ: str, solid: Solid, hu: float, *, within: Mask | None = None, gap: float = 0.0) -> Region:
        room = self.rooms.belly if within is None else within
        return self.canvas.organ(solid, V1_IDS[organ], hu, within=room, gap=gap, gap_hu=self.tissues.fat)
