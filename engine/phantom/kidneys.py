"""Kidneys with cortex, pyramids, pelvis and sinus fat; the adrenal glands above them. Places in body mm, x right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from engine.core.anatomy import V1_IDS
from engine.phantom.lattice import mm
from engine.phantom.skeleton import SIDES
from engine.phantom.solids import Blend, Bundle, Capsule, Carved, Ellipsoid
from engine.phantom.surgeon import Surgeon

PLACES_MM = {"right": (61.0, -46.0, -26.0), "left": (-60.0, -46.0, -8.0)}
_RADII_MM = (29.0, 26.0, 53.0)
_CORTEX_MM = 6.0
_SINUS_IN_MM = 11.0
"""How far from the middle, towards the spine, the sinus lies."""
_PYRAMIDS = ((-34, (-60, 0, 60)), (-13, (-68, -24, 24, 68)), (10, (-68, -24, 24, 68)), (32, (-60, 0, 60)))
"""(height along the kidney mm, turns about its long axis deg): their bases look outwards."""


def paint_kidneys(at: Surgeon) -> None:
    for name, side in SIDES.items():
        bean = at.lump(PLACES_MM[name], _RADII_MM, (-8, side * 9, side * -24), move_mm=3)
        _kidney(at, name, side, bean)
        _adrenal(at, name, side)


def _kidney(at: Surgeon, name: str, side: int, bean: Ellipsoid) -> None:
    """All pieces are placed in the kidney's own axes: `inwards` to the spine, then front, then up."""
    tissues, canvas = at.tissues, at.canvas

    def place(inwards: float, front: float, up: float) -> NDArray[np.float64]:
        return np.asarray(bean.centre + bean.turn @ np.array([-side * inwards, front, up]))

    dent = Ellipsoid(place(33, 2, 0), np.array([17.0, 16, 20]), bean.turn)
    solid = at.dented(Carved(bean, without=[dent], mm=10), 0.7)
    region = at.place(f"kidney_{name}", solid, tissues.renal_cortex, room=at.rooms.cavity, gap_mm=3.0)
    own = canvas.own(region, V1_IDS[f"kidney_{name}"])
    cones = Bundle(_pyramids(at, bean, side))
    inner = region.deeper(_CORTEX_MM)
    pyramids = inner.cut(canvas.read(region.box, cones.distance, 1.5))
    canvas.fill(pyramids, tissues.renal_medulla, where=own)
    sinus = Blend([
        Ellipsoid(place(_SINUS_IN_MM, 0, 0), np.array([7.0, 6.5, 19]), bean.turn),
        Capsule.of(place(_SINUS_IN_MM, 1, 0), place(30, 3, -2), (8.5, 9.0)),
    ], 6)  # fmt: skip
    canvas.fill(canvas.region(sinus, grain_mm=1.5), tissues.fat, 0, where=None)
    pelvis = Bundle([
        Capsule.of(place(13, 0, 0), place(28, 2, -5), (3.5, 4.0)),
        Capsule.of(place(13, 0, 0), place(9, 0, 17), (3.0, 2.0)),
        Capsule.of(place(13, 0, 0), place(9, 0, -17), (3.0, 2.0)),
    ])  # fmt: skip
    canvas.fill(canvas.region(pelvis, grain_mm=None), tissues.renal_pelvis)


def _pyramids(at: Surgeon, bean: Ellipsoid, side: int) -> list[Capsule]:
    """Cones whose tips point at the sinus."""
    cones = []
    for height, turns in _PYRAMIDS:
        for turn in turns:
            angle = turn + float(at.rng.uniform(-7, 7))
            out = Rotation.from_euler("z", angle, degrees=True).apply([side * 1.0, 0, 0.012 * height])
            tip = np.array([-side * (_SINUS_IN_MM - 6), 0, 0.72 * height]) + 6 * out
            base = tip + out * 21
            cones.append(Capsule(bean.centre + bean.turn @ tip, bean.centre + bean.turn @ base, (3.5, 10.5)))
    return cones


def _adrenal(at: Surgeon, name: str, side: int) -> None:
    """Two thin limbs that meet in front."""
    centre = {"right": np.array([27.0, -32, 34]), "left": np.array([-33.0, -26, 34])}[name] + at.rng.uniform(-2, 2, 3)
    limbs = [
        Capsule.of(centre + mm(0, 4, top), centre + end + mm(0, 0, top), (3.4, 2.4))
        for end in ((side * 9, -16, -6), (-side * 3, -18, -6))
        for top in (8, 1, -6)
    ]
    at.place(f"adrenal_gland_{name}", Bundle(limbs, 4.0), at.tissues.adrenal)
