"""The outer body and the rooms inside it: skin, fat, muscle wall, and the diaphragm between chest and belly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.phantom.canvas import GRAIN_MM, Canvas
from engine.phantom.lattice import Bounds, Lattice
from engine.phantom.solids import Blend, Carved, Ellipsoid, Grown, HalfSpace, Outside, Solid
from engine.phantom.tissue import Tissues
from engine.procedural.waves import Field, Waves

_HALF_WIDTH_MM, _HALF_DEPTH_MM = 163.0, 111.0
Depth = float | NDArray[np.floating]

_POWER = 2.4
"""Of the superellipse that a cross-section is."""
_SKIN_MM = 2.2
_MUSCLE_MM = 12.0
_SHEET_MM = 2.8
"""Of the diaphragm."""
_GRAIN_MM = 6.0
"""The outline is smooth enough for points so far apart."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """How one body is built, mm. Coordinates: x right, y anterior, z superior, from the first lumbar level."""

    fat_side_mm: float
    fat_front_mm: float
    fat_back_mm: float
    waist: float
    """Share by which the body narrows at the waist."""
    dome_mm: tuple[float, float]
    """Top of the diaphragm, (right, left)."""
    shape: Waves
    """What makes the outline no superellipse, mm."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Self:
        fat = rng.uniform(0.6, 1.4)
        return cls(
            fat_side_mm=22.0 * fat,
            fat_front_mm=17.0 * fat,
            fat_back_mm=9.0 + 4.0 * fat,
            waist=float(rng.uniform(0.02, 0.07)),
            dome_mm=(float(rng.uniform(106, 116)), float(rng.uniform(94, 104))),
            shape=Waves.drawn(rng, 4, (130.0, 320.0), 2.2),
        )

    def half_axes(self, z: NDArray[np.floating], inset: str) -> tuple[Field, Field, Field]:
        """Half width, half depth and y of the middle at heights `z`; `inset`: skin | fat | muscle | cavity."""
        narrow = 1 - self.waist * np.exp(-(((z + 45) / 50) ** 2)) - 0.05 * np.clip((z - 120) / 100, 0, 1)
        side, front, back = self._insets(z, inset)
        depth = _HALF_DEPTH_MM * (1 + 0.5 * (narrow - 1)) - (front + back) / 2
        wide, middle = _HALF_WIDTH_MM * narrow - side, (back - front) / 2 + 0 * depth
        return np.asarray(wide, np.float32), np.asarray(depth, np.float32), np.asarray(middle, np.float32)

    def _insets(self, z: NDArray[np.floating], inset: str) -> tuple[Depth, Depth, Depth]:
        """How far a layer lies below the skin: at the sides, in front, behind."""
        if inset == "skin":
            return 0.0, 0.0, 0.0
        if inset == "fat":
            return _SKIN_MM, _SKIN_MM, _SKIN_MM
        # Shoulder girdle and buttocks: the wall is thick, the fat in front thin.
        high, low = np.clip((z - 120) / 110, 0, 1), np.clip((-z - 130) / 80, 0, 1)
        side, front, back = self.fat_side_mm * (1 - 0.4 * high), self.fat_front_mm * (1 - 0.5 * high), self.fat_back_mm
        if inset == "muscle":
            return side, front, back
        return side + _MUSCLE_MM + 14 * high + 10 * low, front + _MUSCLE_MM + 10 * high, back + _MUSCLE_MM + 2 * low

    def on_wall(self, angle: float, z: float, outside_mm: float) -> tuple[float, float]:
        """(x, y) in the wall, `outside_mm` beyond the cavity; `angle` 0 is the back, pi/2 the right side."""
        a, b, middle = (float(v) for v in self.half_axes(np.array(z), "cavity"))
        sine, cosine = np.sin(angle), np.cos(angle)
        x = np.sign(sine) * abs(sine) ** (2 / _POWER) * (a + outside_mm)
        y = middle - np.sign(cosine) * abs(cosine) ** (2 / _POWER) * (b + outside_mm)
        return float(x), float(y)


@dataclass(frozen=True, eq=False)
class Trunk:
    """All within one layer of the body, endless above and below."""

    build: Build
    inset: str

    @property
    def bounds(self) -> Bounds:
        wide, deep = _HALF_WIDTH_MM + 8, _HALF_DEPTH_MM + 8
        return np.array([[-wide, -deep, -1e3], [wide, deep, 1e3]])

    def distance(self, at: Lattice) -> Field:
        """|x / a|^n + |(y - m) / b|^n = 1 on the surface; elsewhere the distance along the radius."""
        x, y, z = (at.along(axis) for axis in np.eye(3))
        a, b, middle = self.build.half_axes(z, self.inset)
        y = y - middle
        level = (np.abs(x / a) ** _POWER + np.abs(y / b) ** _POWER) ** np.float32(1 / _POWER)
        level = np.maximum(level, np.float32(1e-3))
        distance = (level - 1) * np.sqrt(x * x + y * y) / level
        # The furrow of the spine, in the outer layers only.
        furrow = {"skin": 5.0, "fat": 5.0, "muscle": 3.0}.get(self.inset, 0.0)
        distance += np.float32(furrow) * np.exp(-((x / 16) ** 2)) * (y < 0)
        return np.asarray(distance + at.waves(self.build.shape), np.float32)


@dataclass(frozen=True, eq=False)
class Rooms:
    """Where organs may lie."""

    body: Solid
    frame: Solid
    """All within the fat under the skin: muscle wall and what it holds."""
    cavity: Solid
    chest: Solid
    above: Solid
    """All above the diaphragm, without regard to the walls."""
    belly: Solid


def paint_torso(canvas: Canvas, build: Build, tissues: Tissues) -> Rooms:
    """Skin, fat, muscle wall, inner fat and diaphragm, from the top of the view to its bottom."""
    body, under_skin, frame, cavity = (
        canvas.sampled(Trunk(build, inset), _GRAIN_MM) for inset in ("skin", "fat", "muscle", "cavity")
    )
    layers = ((body, tissues.skin), (under_skin, tissues.fat), (frame, tissues.muscle), (cavity, tissues.fat))
    for layer, hu in layers:
        canvas.fill(canvas.region(layer, grain_mm=None), hu)
    _seams(canvas, frame, cavity, tissues)
    below = canvas.sampled(_below_diaphragm(build), GRAIN_MM)
    lower = canvas.sampled(Grown(below, -_SHEET_MM), GRAIN_MM)
    canvas.fill(canvas.region(Carved(cavity, within=[below], without=[lower], mm=0)), tissues.muscle)
    top = Ellipsoid.of((0, -6, 84), (150, 108, 178))
    chest = Carved(cavity, within=[top], without=[below], mm=6)
    belly = Carved(cavity, within=[lower], mm=4)
    return Rooms(body, frame, cavity, chest, Outside(below), belly)


def _below_diaphragm(build: Build) -> Solid:
    """Under two domes, the right one higher, that fall to the ribs."""
    domes = [
        Ellipsoid.of((side * 62, 4, 2), (84, 98, top - 2)) for side, top in zip((1, -1), build.dome_mm, strict=True)
    ]
    # The heart rests on the middle.
    domes.append(Ellipsoid.of((-6, 16, 2), (84, 88, 86)))
    return Blend([HalfSpace.of((0, 0, 6), (0, 0, 1)), *domes], 22)


def _seams(canvas: Canvas, outer: Solid, inner: Solid, tissues: Tissues) -> None:
    """Fat that parts the muscles of the belly's wall: beside the straight ones in front, and between the flat ones."""
    below_ribs = HalfSpace.of((0, 0, 30), (0, 0, 1))
    wall = canvas.region(Carved(outer, within=[below_ribs], without=[inner], mm=0), grain_mm=_GRAIN_MM)
    across = canvas.read(wall.box, lambda at: outer.distance(at) + inner.distance(at), _GRAIN_MM)
    at = canvas.voxels.crop(wall.box)
    x, y = np.abs(at.along((1, 0, 0))), at.along((0, 1, 0))
    np.abs(np.abs(across, out=across) - 4, out=across)
    across *= 0.5
    across -= 0.5
    flat = np.maximum(across, 68 - x, out=across)
    straight = np.maximum(np.minimum(np.abs(x - 63) - 1.5, x - 2), 9 - y)
    canvas.fill(wall.deeper(0.8).cut(np.minimum(flat, straight, out=flat)), tissues.fat)
