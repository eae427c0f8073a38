"""The organs of the chest, and the great vessels through chest and belly."""

from __future__ import annotations

import numpy as np

from engine.core.anatomy import V1_IDS
from engine.phantom.canvas import Canvas, Mask
from engine.phantom.solids import Capsule, Part, Solid
from engine.phantom.surgeon import FAT_PLANE_MM, Surgeon
from engine.phantom.tissue import Tissues
from engine.phantom.torso import Rooms

_AORTA = (
    (6, 22, 166, 14), (14, 16, 188, 14), (-8, -8, 206, 14), (-24, -38, 190, 13), (-23, -40, 150, 12.5),
    (-14, -36, 90, 12), (-9, -29, 20, 11), (-8, -28, -88, 9),
)  # fmt: skip
_VENA_CAVA = ((15, -27, -92, 10), (17, -26, -20, 11.5), (20, -16, 60, 12), (17, 6, 114, 12))
_ESOPHAGUS = ((-2, -32, 260, 8), (-4, -32, 170, 8), (-14, -26, 120, 8), (-38, -16, 86, 9))
_ILIAC_ARTERY = ((8, -28, -86, 7), (30, -32, -128, 6), (60, -6, -180, 6), (80, 38, -236, 6))
_ILIAC_VEIN = ((14, -30, -90, 8), (34, -40, -132, 7), (58, -16, -180, 7), (74, 30, -236, 7))


def paint_chest(canvas: Canvas, rooms: Rooms, tissues: Tissues, rng: np.random.Generator) -> None:
    """Lungs with their vessels, then heart, great vessels, oesophagus and trachea between them."""
    at = Surgeon(canvas, rooms, tissues, rng)
    _lungs(at)
    at.place("heart_myocardium", Solid([at.lump((-22, 28, 142), (54, 46, 47), (0, 25, 20))], at.dents(1.2)),
             tissues.heart, within=rooms.chest, gap=FAT_PLANE_MM)  # fmt: skip
    inner = rooms.chest | rooms.belly
    at.place("esophagus", at.pipe(_ESOPHAGUS), tissues.wall, within=inner, gap=FAT_PLANE_MM)
    at.place("pulmonary_artery", at.pipe(((-14, 42, 168, 13), (-10, 20, 186, 13), (30, 2, 180, 9))), tissues.blood,
             within=rooms.chest)  # fmt: skip
    trachea = Solid([Capsule(np.array([3.0, -14, 196]), np.array([2.0, -22, 300]), (9.0, 9.0))])
    at.place("trachea", trachea, tissues.air, within=rooms.chest, gap=2.5)


def _lungs(at: Surgeon) -> None:
    """Each lung fills its half of the chest; fissures part it into lobes."""
    tissues = at.tissues
    for side, name in ((1, "right"), (-1, "left")):
        lung = Solid([at.lump((side * 72.0, -6, 100), (62, 88, 150), (0, 0, 0))], at.dents(1.5))
        region = at.canvas.region(lung)
        x, y, z = at.canvas.axes(region.box)
        free = at.canvas.organs[region.box.slices] == 0
        inside = region.inside & at.rooms.chest[region.box.slices] & free & (x * side > 14)
        oblique = 148 + at.rng.uniform(-6, 6) - 0.85 * y
        at.canvas.fill(region.box, inside, tissues.lung, V1_IDS[f"lung_upper_lobe_{name}"])
        if side > 0:
            middle = inside & (z < 142 + at.rng.uniform(-5, 5))
            at.canvas.fill(region.box, middle, tissues.lung, V1_IDS["lung_middle_lobe_right"])
        at.canvas.fill(region.box, inside & (z < oblique), tissues.lung, V1_IDS[f"lung_lower_lobe_{name}"])
        lumen: Mask = np.zeros(at.canvas.grid.shape, bool)
        lumen[region.box.slices] = inside
        _lung_vessels(at, side, lumen)


def _lung_vessels(at: Surgeon, side: int, within: Mask) -> None:
    """Vessels that branch from the hilum; they stay part of their lobe."""
    hilum = np.array([side * 30.0, -8, 165])
    twigs: list[Part] = []
    for _ in range(16):
        way = at.rng.standard_normal(3) * (0.7, 1, 1.1) + (side * 0.7, 0, -0.2)
        end = hilum + way / np.linalg.norm(way) * at.rng.uniform(50, 105)
        fork = hilum + (end - hilum) * at.rng.uniform(0.35, 0.55) + at.rng.uniform(-6, 6, 3)
        twigs.append(Capsule(hilum, fork, (4.5, 2.8)))
        twigs.append(Capsule(fork, end, (2.8, 1.2)))
        twigs.append(Capsule(fork, end + at.rng.uniform(-28, 28, 3), (2.4, 1.1)))
    region = at.canvas.region(Solid(twigs))
    at.canvas.fill(region.box, region.inside & within[region.box.slices], at.tissues.lung_vessel)


def paint_vessels(canvas: Canvas, rooms: Rooms, tissues: Tissues, rng: np.random.Generator) -> None:
    """Aorta, vena cava and iliac vessels, through chest and belly."""
    at = Surgeon(canvas, rooms, tissues, rng)
    inner = rooms.chest | rooms.belly
    for name, side in (("right", 1), ("left", -1)):
        at.place(f"iliac_vena_{name}", at.pipe(_ILIAC_VEIN, side=side), tissues.blood, within=inner)
        at.place(f"iliac_artery_{name}", at.pipe(_ILIAC_ARTERY, side=side), tissues.blood, within=inner)
    at.place("inferior_vena_cava", at.pipe(_VENA_CAVA), tissues.blood, within=inner)
    at.place("aorta", at.pipe(_AORTA), tissues.blood, within=inner)
