"""The backbone: vertebrae with cortex and spongy bone, discs between them, the canal behind. Places in body mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from engine.core.anatomy import V1_IDS
from engine.phantom.lattice import Bounds, Lattice, mm
from engine.phantom.solids import Bundle, Capsule, Carved, Grown, HalfSpace, Solid
from engine.phantom.surgeon import Surgeon
from engine.phantom.tubes import tube
from engine.procedural.waves import Field, Waves

LEVELS_MM = {
    "T1": 279.0, "T2": 260.0, "T3": 240.0, "T4": 219.0, "T5": 198.0, "T6": 176.0, "T7": 153.0, "T8": 129.0,
    "T9": 104.0, "T10": 78.0, "T11": 51.0, "T12": 23.0, "L1": -7.0, "L2": -39.0, "L3": -72.0, "L4": -105.0,
    "L5": -138.0,
}  # fmt: skip
"""z of each vertebral body's middle."""

_CURVE = ((-190, -75), (-160, -63), (-138, -57), (-90, -51), (-40, -51), (0, -55), (50, -60), (110, -64), (170, -66),
          (230, -63), (300, -52))  # fmt: skip
"""(z, y) of the bodies' middles: hollow in the loin, bent in the chest."""
_CORTEX_MM = 2.0


@dataclass(frozen=True, eq=False)
class Drum:
    """A vertebral body: an upright cylinder, waisted, hollow behind. `half`: half width, depth and height, mm."""

    centre: NDArray[np.float64]
    half: tuple[float, float, float]
    lean_rad: float

    @property
    def bounds(self) -> Bounds:
        reach = np.asarray(self.half) * (1, 1.1, 1.3) + 1
        return np.array([self.centre - reach, self.centre + reach])

    def distance(self, at: Lattice) -> Field:
        own = Rotation.from_rotvec([self.lean_rad, 0, 0]).as_matrix()
        x, y, z = (at.along(axis, self.centre) for axis in own.T)
        wide, deep, tall = (np.float32(h) for h in self.half)
        waist = 0.9 + 0.1 * np.minimum((z / tall) ** 2, 1.2)
        y = y - np.float32(0.16) * deep * (1 - (x / wide) ** 2) * (y < 0)
        level = np.sqrt(np.sqrt((x / wide) ** 4 + (y / deep) ** 4 + 1.4 * (x / wide) ** 2 * (y / deep) ** 2)) / waist
        # End plates are hollow by a millimetre, and edges rounded by a corner's distance.
        side, end = (level - 1) * deep, np.abs(z) - tall + np.float32(1.2) * np.exp(-(level**2) * 2)
        corner = np.sqrt(np.maximum(side + 2, 0) ** 2 + np.maximum(end + 2, 0) ** 2) - 2
        return np.asarray(np.minimum(corner, np.maximum(side, end)), np.float32)


def paint_spine(at: Surgeon) -> None:
    """Discs, then bodies and arches over them, then the cord in its canal."""
    tissues, canvas = at.tissues, at.canvas
    curve = CubicSpline(*np.array(_CURVE, float).T)
    sway_mm, grain = float(at.rng.uniform(-4, 4)), Waves.drawn(at.rng, 6, (5.0, 16.0), 16.0)
    heights = np.arange(-166, 301, 14.0)
    line = np.stack([_sway(sway_mm, heights), curve(heights), heights], axis=1)
    column = Bundle(tube(line, [_half_width(z) * 0.82 for z in heights]))
    discs = canvas.region(Carved(column, within=[HalfSpace.of((0, 0, -159), (0, 0.35, -1))]))
    canvas.fill(discs, tissues.disc, 0)
    for level, z in LEVELS_MM.items():
        centre = np.array([_sway(sway_mm, z), float(curve(z)), z])
        wide = _half_width(z)
        drum = Drum(centre, (wide, 0.76 * wide, 0.425 * _pitch(z)), -float(np.arctan(curve(z, 1))))
        body = canvas.region(drum, grain_mm=1.0)
        canvas.fill(body, tissues.dense_bone, V1_IDS[f"vertebrae_{level}"])
        spongy = canvas.read(body.box, lambda points: np.float32(tissues.spongy_bone) + points.waves(grain), 2.0)
        canvas.fill(body.deeper(_CORTEX_MM), spongy)
        arch = canvas.region(_arch(centre, wide), grain_mm=None)
        canvas.fill(arch, 0.75 * tissues.dense_bone, V1_IDS[f"vertebrae_{level}"])
        canvas.fill(arch.deeper(2.2), 1.3 * tissues.spongy_bone)
    behind = line + np.stack([0 * heights, [-0.76 * _half_width(z) - 6.5 for z in heights], 0 * heights], axis=1)
    canal = Bundle(tube(behind, [8.5] * len(heights)))
    canvas.fill(canvas.region(canal), tissues.fat, 0)
    canvas.fill(canvas.region(Grown(canal, -1.8)), tissues.cord)


def spine_y(z: float) -> float:
    """y of the middle of the vertebral bodies at a height."""
    return float(CubicSpline(*np.array(_CURVE, float).T)(z))


def _sway(sway_mm: float, z: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """A slight bend to one side."""
    return np.asarray(sway_mm * np.sin((np.asarray(z) + 158) / 458 * np.pi))


def _pitch(z: float) -> float:
    """Distance to the next vertebra, larger further down."""
    return float(np.interp(z, [-138, 279], [33.0, 19.0]))


def _half_width(z: float) -> float:
    return float(np.interp(z, [-138, -39, 23, 104, 279], [26.0, 23.0, 20.0, 16.0, 14.5]))


def _arch(body: NDArray[np.float64], wide: float) -> Solid:
    """Pedicles, joints, transverse processes, laminae and the spinous process; steeper in the chest."""
    deep, lumbar = 0.76 * wide, float(np.interp(body[2], [-10, 30], [1.0, 0.0]))
    back, drop = -deep - 15, -9 - 9 * (1 - lumbar)
    tip = body + mm(0, back - 17 - 3 * lumbar, drop - 8)
    beams = [
        Capsule.of(body + mm(0, back - 3, -3), tip, (3.4, 3.0)),
        Capsule.of(body + mm(0, back - 3, -10 * lumbar - 3), tip + mm(0, 0, -6 * lumbar), (3.0, 3.0)),
    ]
    for side in (1, -1):
        joint = body + mm(side * (0.62 * wide), back + 3, 2)
        out = (side * (wide * (0.9 + 0.75 * lumbar) + 8), back + 2 - 9 * (1 - lumbar), 4 - 3 * lumbar)
        beams += [
            Capsule.of(body + mm(side * 0.62 * wide, 2 - deep, 3), joint, (4.6, 4.6)),
            Capsule.of(joint, body + out, (4.4, 3.0)),
            Capsule.of(joint, body + mm(0, back - 4, -5), (3.6, 3.6)),
            Capsule.of(joint + mm(side * 2, -2, 5), joint + mm(side * 2, -3, -12), (5.2, 5.0)),
        ]
    return Bundle(beams, reach_mm=4.0)
