"""Ribs and their cartilage, breastbone, pelvis and hips. Places in body mm."""

from __future__ import annotations

import numpy as np

from engine.core.anatomy import V1_IDS
from engine.phantom.solids import Blend, Bundle, Carved, Ellipsoid, Grown, HalfSpace, Solid
from engine.phantom.spine import LEVELS_MM, paint_spine, spine_y
from engine.phantom.surgeon import Surgeon
from engine.phantom.torso import Build
from engine.phantom.tubes import tube

SIDES = {"right": 1, "left": -1}
_OUTSIDE_MM = 5.5
"""How far beyond the cavity the middle of a rib lies."""
_RIB_REACH_MM = 3.0
_BONY_DEG = {8: 118.0, 9: 112.0, 10: 102.0, 11: 84.0, 12: 58.0}
"""Where the bone of the lower ribs ends, from the back; above them at 125."""
BOWL = Ellipsoid.of((0, 4, -166), (113, 80, 102))
"""The iliac wings lie on this."""


def paint_skeleton(at: Surgeon, build: Build) -> None:
    """Ribs, sternum, pelvis, then the spine over all."""
    for name, side in SIDES.items():
        for number in range(1, 13):
            _rib(at, build, number, side, V1_IDS[f"rib_{name}_{number}"])
    _, y = build.on_wall(np.pi, 160.0, _OUTSIDE_MM)
    blade, handle = Ellipsoid.of((0, y + 1, 150), (15, 6, 44)), Ellipsoid.of((0, y + 1, 212), (22, 6.5, 40), (8, 0, 0))
    plate = Blend([blade, handle], 12)
    _bone(at, Carved(plate, within=[at.rooms.body]), None, 1.6)
    _pelvis(at)
    paint_spine(at)


def _bone(at: Surgeon, solid: Solid, organ_id: int | None, cortex_mm: float, *, grain_mm: float = 2.0) -> None:
    region = at.canvas.region(solid, grain_mm=grain_mm)
    at.canvas.fill(region, at.tissues.dense_bone, organ_id)
    at.canvas.fill(region.deeper(cortex_mm), 0.85 * at.tissues.spongy_bone)


def _rib(at: Surgeon, build: Build, number: int, side: int, organ_id: int) -> None:
    """From its vertebra around the chest wall, forwards and down; then cartilage, up to the breastbone."""
    top = LEVELS_MM[f"T{number}"] + 5
    bony = _BONY_DEG.get(number, 125.0)

    def on_wall(angle_deg: float, z: float) -> tuple[float, float, float]:
        x, y = build.on_wall(float(np.deg2rad(angle_deg)), z, _OUTSIDE_MM)
        return side * x, y, z

    angles = np.linspace(24, bony, 8)
    falls = 66 * (1 - np.cos(np.deg2rad(angles))) / 2 + 7 * np.sin(np.deg2rad(angles))
    head = [(side * 19.0, spine_y(top) - 9, top), (side * 36.0, spine_y(top) - 24, top - 1)]
    path = [*head, *(on_wall(a, top - fall) for a, fall in zip(angles, falls, strict=True))]
    blade = Bundle(tube(path, [3.6] * len(path), step_mm=16, tall=1.8), _RIB_REACH_MM)
    pieces = [at.canvas.region(piece, grain_mm=None) for piece in blade.pieces(4)]
    for piece in pieces:
        at.canvas.fill(piece, at.tissues.dense_bone, organ_id)
    for piece in pieces:
        at.canvas.fill(piece.deeper(1.5), at.tissues.spongy_bone)
    if number > 10:
        return
    end = top - float(falls[-1])
    rise = {8: 22.0, 9: 26.0, 10: 28.0}.get(number, max(0.0, 118 - end))
    last = 168.0 if number < 8 else bony + 34
    turns = np.linspace(bony, last, 5)
    shares = np.linspace(0, 1, 5)
    bend = [on_wall(a, end - 5 * np.sin(np.pi * s) + rise * s**1.5) for a, s in zip(turns, shares, strict=True)]
    at.vessels(tube(bend, [4.0] * len(bend), step_mm=16, tall=1.5), at.tissues.cartilage)


def _pelvis(at: Surgeon) -> None:
    """Iliac wings as a bowl, the sacrum between them behind, the heads of the thigh bones below."""
    crest = Ellipsoid.of((0, -46, -196), (150, 92, 86))
    for name, side in SIDES.items():
        outer = HalfSpace.of((side * 42.0, 0, 0), (-side, 0, 0))
        shell = Carved(Grown(BOWL, 4.5), within=[crest, outer, at.rooms.frame], without=[Grown(BOWL, -4.5)], mm=6)
        _bone(at, shell, V1_IDS[f"hip_{name}"], 2.0)
        socket = at.lump((side * 88, 6, -240), (34, 32, 34), move_mm=1)
        _bone(at, Carved(socket, within=[at.rooms.frame]), V1_IDS[f"hip_{name}"], 2.5)
        _bone(at, Ellipsoid.of(socket.centre, (24, 24, 24)), V1_IDS[f"femur_{name}"], 2.0)
    sacrum = Blend([
        Ellipsoid.of((0, -68, -176), (52, 17, 26), (-20, 0, 0)),
        Ellipsoid.of((0, -80, -212), (34, 12, 36), (-6, 0, 0)),
    ], 16)  # fmt: skip
    _bone(at, Carved(sacrum, within=[at.rooms.frame]), V1_IDS["sacrum"], 2.0)
