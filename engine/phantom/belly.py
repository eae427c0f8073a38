"""The organs of the belly. Tables of places and sizes in body mm (x right, y anterior, z superior)."""

from __future__ import annotations

import numpy as np

from engine.core.anatomy import V1_IDS
from engine.phantom.canvas import Canvas, Region
from engine.phantom.solids import Capsule, Ellipsoid, Solid, tube
from engine.phantom.surgeon import FAT_PLANE_MM, Surgeon
from engine.phantom.tissue import Tissues
from engine.phantom.torso import Rooms
from engine.procedural.waves import Field, OpenAxes, Waves

_COLON = (
    (78, 20, -138, 25), (94, 6, -100, 25), (97, 0, -62, 23), (84, 16, -40, 22), (58, 46, -50, 21), (18, 56, -66, 20),
    (-30, 56, -60, 20), (-74, 40, -30, 20), (-97, 10, -4, 20), (-102, -14, -36, 18), (-102, -16, -84, 17),
    (-92, 0, -122, 17), (-62, 8, -156, 18), (-26, 16, -150, 18), (0, -6, -164, 18), (4, -38, -192, 18),
    (0, -44, -240, 19),
)  # fmt: skip
"""Centre line (x, y, z) and radius, from the caecum to the rectum."""
_STOMACH = ((-60, -6, 74, 31), (-66, 22, 46, 30), (-46, 48, 12, 26), (-8, 52, -6, 20), (22, 38, 0, 14))
_PANCREAS = ((40, 6, -20, 18), (20, 16, -8, 15), (-10, 14, 8, 14.5), (-42, -2, 22, 14), (-70, -14, 34, 12))
_DUODENUM = (
    (26, 32, 2, 12), (52, 22, -6, 12), (60, 10, -34, 12), (40, 0, -52, 11), (0, -5, -54, 10), (-28, 6, -42, 11),
)  # fmt: skip


def paint_belly(canvas: Canvas, rooms: Rooms, tissues: Tissues, rng: np.random.Generator) -> None:
    """Organs of the belly; a later one displaces an earlier one, with a plane of fat between."""
    at = Surgeon(canvas, rooms, tissues, rng)
    _small_bowel(at)
    at.place("duodenum", at.pipe(_DUODENUM, dents_mm=0.6), tissues.wall, gap=FAT_PLANE_MM)
    colon = at.place("colon", at.pipe(_COLON, dents_mm=0.8, haustra_mm=2.2), tissues.wall, gap=FAT_PLANE_MM)
    stomach = at.place("stomach", at.pipe(_STOMACH, dents_mm=1.0), tissues.wall, gap=FAT_PLANE_MM)
    _liver(at)
    at.place("spleen", Solid([at.lump((-97, -38, 52), (25, 37, 48), (15, 10, -25))], at.dents(1.0)), tissues.spleen,
             gap=FAT_PLANE_MM)  # fmt: skip
    at.place("pancreas", at.pipe(_PANCREAS, dents_mm=0.9), tissues.pancreas, gap=FAT_PLANE_MM)
    _kidneys(at)
    at.place("gallbladder", Solid([at.lump((46, 48, -2), (15, 16, 27), (25, 15, 0))]), tissues.bile, gap=FAT_PLANE_MM)
    bladder = at.place("urinary_bladder", Solid([at.lump((0, 30, -194), (45, 33, 31), (0, 0, 0))], at.dents(0.8)),
                       tissues.wall, gap=FAT_PLANE_MM)  # fmt: skip
    _fill_hollow_organs(at, stomach, colon, bladder)


def _small_bowel(at: Surgeon) -> None:
    """Loops that fill the middle of the belly, each with its own wall."""
    rng, tissues = at.rng, at.tissues
    turns = np.linspace(0, 1, 110)
    x = 66 * np.sin(2 * np.pi * (9 * turns + rng.random()))
    y = 24 + 36 * np.sin(2 * np.pi * (6.4 * turns + rng.random()))
    z = np.linspace(-60, -160, 110) + 9 * np.sin(2 * np.pi * (7 * turns + rng.random()))
    loops = Solid(tube(np.stack([x, y, z], axis=1), [12.5] * 110, step_mm=14), at.dents(0.7))
    region = at.canvas.region(loops)
    inside = region.inside & at.rooms.belly[region.box.slices] & (at.canvas.organs[region.box.slices] == 0)
    at.canvas.fill(region.box, inside, tissues.wall, V1_IDS["small_bowel"])
    at.canvas.fill(region.box, inside & (region.distance_mm < -3.5), tissues.chyme)


def _liver(at: Surgeon) -> None:
    """Two lobes under the diaphragm; a slanted plane is the side towards the gut."""
    right = at.lump((68, -2, 46), (66, 74, 84), (0, 0, 0))
    left = Capsule(np.array([30.0, 36, 66]), np.array([-44.0, 46, 82]), (37.0, 17.0))
    x, y, z = at.canvas.axes()
    above = z > 44 + at.rng.uniform(-5, 5) - 0.62 * np.maximum(x, 8) + 0.12 * y
    at.place("liver", Solid([right, left], at.dents(1.6)), at.tissues.liver, within=at.rooms.belly & above,
             gap=FAT_PLANE_MM)  # fmt: skip


def _kidneys(at: Surgeon) -> None:
    """Bean shapes: an ellipsoid whose hilum, on the side of the spine, holds fat."""
    tissues = at.tissues
    for name, side, z in (("right", 1, -22.0), ("left", -1, -4.0)):
        bean = at.lump((side * 62.0, -46, z), (29, 26, 53), (0, side * 10, side * -20))
        at.place(f"kidney_{name}", Solid([bean], at.dents(0.8)), tissues.kidney, gap=3.0)
        medial = bean.centre - (side * 21.0, -10, 0)
        hilum = at.canvas.region(Solid([Ellipsoid.of(medial, (15, 9, 17), (0, 0, side * -25))]))
        own = hilum.inside & (at.canvas.organs[hilum.box.slices] == V1_IDS[f"kidney_{name}"])
        at.canvas.fill(hilum.box, own, tissues.fat, 0)


def _fill_hollow_organs(at: Surgeon, stomach: Region, colon: Region, bladder: Region) -> None:
    """Gas rises to the front (the patient lies on the back); stool is mottled; urine is plain."""
    tissues, rng = at.tissues, at.rng
    level_mm = float(rng.uniform(40, 58))
    gas, crumbs = Waves.drawn(rng, 5, (50.0, 140.0)), Waves.drawn(rng, 8, (9.0, 22.0))

    def meal(axes: OpenAxes) -> Field:
        return np.where(axes[1] > level_mm, np.float32(tissues.air), np.float32(tissues.chyme))

    def stool(axes: OpenAxes) -> Field:
        mottled = np.float32(tissues.stool) + 22 * crumbs.at(axes)
        return np.where(gas.at(axes) > 0.55, np.float32(tissues.air), mottled)

    def urine(axes: OpenAxes) -> Field:
        return np.asarray(axes[1] * 0 + np.float32(tissues.urine))

    at.canvas.hollow(stomach, V1_IDS["stomach"], 4.0, meal)
    at.canvas.hollow(colon, V1_IDS["colon"], 3.2, stool)
    at.canvas.hollow(bladder, V1_IDS["urinary_bladder"], 3.5, urine)
