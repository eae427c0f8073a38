"""The heart with its four chambers, and the great vessels that leave it. Places in body mm, x right."""

from __future__ import annotations

import numpy as np

from engine.core.anatomy import V1_IDS
from engine.phantom.lattice import mm
from engine.phantom.solids import Blend, Capsule, Carved, Ellipsoid, Grown, Solid
from engine.phantom.surgeon import Surgeon

_ASCENDING = ((-4, 22, 152, 13), (8, 24, 172, 14.5), (12, 16, 192, 14), (-6, -10, 208, 13.5), (-22, -38, 194, 12.5))
_TRUNK = ((-20, 46, 154, 12), (-17, 40, 170, 13.5), (-16, 18, 186, 12.5), (-26, -4, 186, 10), (-46, -16, 180, 8))
_RIGHT_PULMONARY = ((-14, 18, 184, 11), (10, 2, 178, 10.5), (38, -6, 172, 9), (52, -10, 164, 7))
_SUPERIOR_CAVA = ((31, 16, 146, 10), (29, 8, 180, 9.5), (26, 8, 220, 9), (24, 10, 300, 9))
_PULMONARY_VEINS = (
    ((4, -8, 158, 10), (34, -12, 152, 6)), ((4, -6, 166, 9), (36, -4, 162, 5)),
    ((-24, -8, 162, 9), (-48, -16, 156, 6)), ((-22, -6, 168, 9), (-46, -8, 170, 5)),
)  # fmt: skip


def heart_sac(beat_mm: float = 0.0) -> Solid:
    """What the lungs leave free for the heart, `beat_mm` wider all around."""
    left = Capsule.of((-24, 12, 138), (-58, 42, 116), (37, 25))
    right = Ellipsoid.of((6, 34, 138), (46, 37, 42), (0, 18, 10))
    atria = Ellipsoid.of((6, 0, 156), (44, 30, 30))
    return Grown(Blend([left, right, atria], 14), beat_mm)


def paint_heart(at: Surgeon) -> None:
    """Chambers in pericardial fat; then aorta's arch, pulmonary artery and the cava above."""
    tissues, above = at.tissues, at.rooms.above
    move = at.rng.uniform(-3, 3, 3)
    thick_mm = float(at.rng.uniform(9.5, 12))
    base, tip = np.array([-20, 12, 142.0]) + move, np.array([-55, 43, 117.0]) + move
    wall = Capsule.of(base, tip, (34, 21))
    cavity = Capsule.of(base + (tip - base) * 0.02, base + (tip - base) * 0.82, (34 - thick_mm, 19 - 0.7 * thick_mm))
    right_atrium = at.lump((34, 20, 142), (23, 27, 31), move_mm=2)
    left_atrium = at.lump((0, -8, 162), (34, 19, 24), move_mm=2)
    right_ventricle = Blend([
        Capsule.of(np.array([14.0, 42, 136]) + move, np.array([-38.0, 60, 114]) + move, (26, 15)),
        Capsule.of(np.array([2.0, 46, 140]) + move, np.array([-18.0, 48, 158]) + move, (20, 13)),
    ], 12)  # fmt: skip
    for organ, solid, hu in (
        ("heart_atrium_left", left_atrium, tissues.left_heart),
        ("heart_atrium_right", right_atrium, tissues.right_heart),
        ("heart_ventricle_right", right_ventricle, tissues.right_heart),
    ):
        region = at.place(organ, at.dented(solid, 1.0), tissues.myocardium, room=above)
        at.canvas.fill(region.deeper(2.5), hu)
    at.place("heart_myocardium", at.dented(wall, 1.0), tissues.myocardium, room=above)
    blood = at.canvas.region(Carved(at.dented(cavity, 1.0), within=[above], mm=2))
    own = at.canvas.own(blood, V1_IDS["heart_myocardium"])
    at.canvas.fill(blood, tissues.left_heart, V1_IDS["heart_ventricle_left"], where=own)
    # The mitral valve: no muscle between the left chambers.
    valve = at.canvas.region(Ellipsoid.of(base + mm(10, -10, 12), (15, 15, 15)))
    own = at.canvas.own(valve, V1_IDS["heart_myocardium"])
    at.canvas.fill(valve, tissues.left_heart, V1_IDS["heart_ventricle_left"], where=own)
    _great_vessels(at)


def _great_vessels(at: Surgeon) -> None:
    tissues = at.tissues
    for knots in _PULMONARY_VEINS:
        vein = at.canvas.region(at.pipe(knots, move_mm=1))
        at.canvas.fill(vein, tissues.left_heart, V1_IDS["heart_atrium_left"])
    cava = at.canvas.region(at.pipe(_SUPERIOR_CAVA, move_mm=1.5))
    at.canvas.fill(cava, tissues.right_heart, 0)
    trunk = Blend([at.pipe(_TRUNK, move_mm=1.5), at.pipe(_RIGHT_PULMONARY, move_mm=1.5)], 6)
    at.place("pulmonary_artery", trunk, tissues.right_heart, gap_mm=1.2)
    at.place("aorta", at.pipe(_ASCENDING, move_mm=1.5), tissues.artery)
