"""Muscles along the spine, in the loin and around the hips, with fat between them. Places in body mm."""

from __future__ import annotations

import numpy as np

from engine.core.anatomy import V1_IDS
from engine.phantom.skeleton import BOWL, SIDES
from engine.phantom.solids import Bundle, Capsule, Carved, Ellipsoid, Grown, HalfSpace, Solid
from engine.phantom.surgeon import Surgeon
from engine.phantom.tubes import tube
from engine.procedural.waves import Waves

_PSOAS = ((27, -48, 2, 8), (38, -44, -60, 15), (48, -36, -110, 20), (62, -12, -170, 18), (80, 18, -240, 17))
_ILIACUS = ((92, 8, -140, 10), (88, 0, -175, 13), (84, 12, -225, 14))


def paint_muscles(at: Surgeon) -> None:
    """Erector spinae (autochthon), psoas with iliacus, the square muscle of the loin, the glutei."""
    marbling = Waves.drawn(at.rng, 8, (7.0, 26.0))
    for name, side in SIDES.items():
        _erector(at, name, side, marbling)
        _gluteals(at, name, side)
        _muscle(at, Bundle(tube([(side * x, y, z) for x, y, z, _ in _ILIACUS], [r for *_, r in _ILIACUS])),
                f"iliopsoas_{name}")  # fmt: skip
        _muscle(at, at.pipe(_PSOAS, side=side, move_mm=2), f"iliopsoas_{name}")
        _muscle(at, Capsule.of((side * 58, -62, 0), (side * 74, -58, -124), (8, 15)), None)


def _muscle(at: Surgeon, solid: Solid, organ: str | None) -> None:
    inside = Carved(solid, within=[Grown(at.rooms.frame, -0.5)], mm=3)
    organ_id = 0 if organ is None else V1_IDS[organ]
    region = at.canvas.region(inside, reach_mm=2)
    at.canvas.fill(region.deeper(-1.6), at.tissues.fat, 0)
    at.canvas.fill(region, at.tissues.muscle, organ_id)


def erector(side: int) -> Capsule:
    return Capsule.of((side * 34, -80, -250), (side * 26, -88, 300), (26, 19))


def _erector(at: Surgeon, name: str, side: int, marbling: Waves) -> None:
    """The long muscle beside the spine, with streaks of fat."""
    region = at.canvas.region(Carved(erector(side), within=[Grown(at.rooms.frame, -1.0)], mm=5), reach_mm=2)
    at.canvas.fill(region.deeper(-1.4), at.tissues.fat)
    tissue = at.canvas.read(
        region.box, lambda p: np.float32(at.tissues.muscle) - 26 * np.maximum(p.waves(marbling) - 1.1, 0), 2.0
    )
    at.canvas.fill(region, tissue, V1_IDS[f"autochthon_{name}"])


def _gluteals(at: Surgeon, name: str, side: int) -> None:
    """Three layers outside the wing of the pelvis; the outermost behind."""
    half = HalfSpace.of((side * 8.0, 0, 0), (-side, 0, 0))
    under, frame = Grown(BOWL, 5.0), Grown(at.rooms.frame, -1.0)
    maximus = Ellipsoid.of((side * 62, -70, -225), (66, 52, 78), (0, 0, side * 12))
    medius = Ellipsoid.of((side * 118, -22, -196), (52, 64, 68), (0, 0, side * -20))
    minimus = Grown(BOWL, 17.0)
    lower = Ellipsoid.of((side * 108, -12, -214), (46, 52, 58))
    layers: tuple[tuple[str, Solid, list[Solid]], ...] = (
        ("gluteus_maximus", maximus, [half, frame]),
        ("gluteus_medius", medius, [half, frame]),
        ("gluteus_minimus", lower, [half, frame, minimus]),
    )
    for organ, solid, within in layers:
        _muscle(at, Carved(solid, within=within, without=[under], mm=6), f"{organ}_{name}")
