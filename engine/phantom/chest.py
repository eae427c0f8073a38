"""Lungs with their vessels and airways, and what passes between them."""

from __future__ import annotations

import numpy as np

from engine.core.anatomy import V1_IDS
from engine.phantom.heart import heart_sac, paint_heart
from engine.phantom.lattice import Lattice, mm
from engine.phantom.muscles import erector
from engine.phantom.solids import Blend, Capsule, Carved, Grown, HalfSpace, Solid
from engine.phantom.surgeon import FAT_PLANE_MM, Surgeon
from engine.phantom.tubes import tree
from engine.procedural.waves import Field, Waves

_ESOPHAGUS = ((-2, -36, 260, 8), (-4, -38, 190, 8), (-8, -38, 150, 8.5), (-16, -28, 116, 8.5), (-38, -14, 86, 9))
_HILUM = np.array([33.0, -8.0, 164.0])
_TWIGS = 210
"""Ends of vessels in one lung."""
_AIRWAY_HU = -960.0
_GRAIN_MM = 4.0


def paint_chest(at: Surgeon) -> None:
    """Lungs, then heart, great vessels, oesophagus and trachea between them."""
    for side, name in ((1, "right"), (-1, "left")):
        _lung(at, side, name)
    paint_heart(at)
    gullet = at.place("esophagus", at.pipe(_ESOPHAGUS), at.tissues.wall, gap_mm=FAT_PLANE_MM)
    at.canvas.fill(gullet.deeper(5.0), -300.0)  # a little swallowed air
    _airways(at)


def _mediastinum() -> Solid:
    """Heart and great vessels, and the strip along the spine."""
    high = Capsule.of((2, 4, 184), (3, 0, 300), (30, 32))
    front = Capsule.of((0, 66, 300), (-4, 74, 100), (12, 9))
    spine = Capsule.of((-2, -60, 60), (0, -52, 300), (27, 26))
    gullet = Capsule.of((-16, -34, 80), (-10, -34, 190), (17, 20))
    return Blend([heart_sac(4.0), high, front, spine, gullet], 10)


def _lung(at: Surgeon, side: int, name: str) -> None:
    """All of its half of the chest that the mediastinum leaves; fissures part it into lobes."""
    canvas, rng = at.canvas, at.rng
    half = HalfSpace.of((side * 2.0, 0, 0), (-side, 0, 0))
    lung = Carved(at.rooms.chest, within=[half], without=[_mediastinum(), Grown(erector(side), 4)], mm=8)
    region = canvas.region(lung, grain_mm=_GRAIN_MM)
    blotches = Waves.drawn(rng, 6, (14.0, 60.0), 7.0)

    def aerated(points: Lattice) -> Field:
        # Denser towards the back, on which the patient lies.
        return np.float32(at.tissues.lung) - 0.3 * points.along(canvas.up) + points.waves(blotches)

    canvas.fill(region, canvas.read(region.box, aerated, _GRAIN_MM), V1_IDS[f"lung_upper_lobe_{name}"])
    points, organs = canvas.voxels.crop(region.box), canvas.organs[region.box.slices]
    oblique = points.along((0, 0.85, 1), (0, 0, 148 + rng.uniform(-6, 6))) < 0
    horizontal = points.along((0, 0, 1), (0, 0, 142 + rng.uniform(-5, 5))) < 0
    if side > 0:
        organs[region.inside & horizontal] = V1_IDS["lung_middle_lobe_right"]
    organs[region.inside & oblique] = V1_IDS[f"lung_lower_lobe_{name}"]
    hilum, ends = _HILUM * (side, 1, 1), at.spots(lung, _TWIGS, depth_mm=4)
    at.vessels(tree(hilum, ends, 0.95), at.tissues.lung_vessel, only=region, where=region.inside)
    at.vessels(tree(hilum + mm(0, -3, 4), ends[::9], 1.1), _AIRWAY_HU, only=region, where=region.inside)


def _airways(at: Surgeon) -> None:
    """Trachea and main bronchi."""
    fork = np.array([2.0, -18, 196]) + at.rng.uniform(-2, 2, 3)
    trachea = at.canvas.region(Capsule.of(fork, fork + mm(1, 4, 110), (9, 9)), reach_mm=3)
    at.canvas.fill(trachea.deeper(-2), at.tissues.wall, 0)
    for end in ((34, -12, 170), (-40, -16, 172)):
        bronchus = at.canvas.region(Capsule.of(fork, end, (7.5, 5.0)), reach_mm=3)
        at.canvas.fill(bronchus.deeper(-1.5), at.tissues.wall, 0)
        at.canvas.fill(bronchus, at.tissues.air)
    at.canvas.fill(trachea, at.tissues.air, V1_IDS["trachea"])
