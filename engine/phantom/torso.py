"""The outer body and the room inside: skin, fat, muscle wall, and the diaphragm between chest and belly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.phantom.canvas import Canvas, Mask
from engine.phantom.tissue import Tissues
from engine.procedural.waves import Field, OpenAxes

_HALF_WIDTH_MM, _HALF_DEPTH_MM = 163.0, 111.0
_POWER = 2.4
"""Of the superellipse that a cross-section is."""
_SKIN_MM = 2.5
_MUSCLE_MM = 13.0


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

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Self:
        fat = rng.uniform(0.7, 1.35)
        return cls(
            fat_side_mm=24.0 * fat,
            fat_front_mm=17.0 * fat,
            fat_back_mm=9.0 + 4.0 * fat,
            waist=float(rng.uniform(0.02, 0.07)),
            dome_mm=(float(rng.uniform(106, 116)), float(rng.uniform(96, 104))),
        )

    def half_axes(self, z: NDArray[np.floating], inset: str) -> tuple[Field, Field, Field]:
        """Half width, half depth and y of the middle at heights `z`; `inset`: skin | fat | muscle | cavity."""
        narrow = 1 - self.waist * np.exp(-(((z + 45) / 50) ** 2)) - 0.05 * np.clip((z - 120) / 100, 0, 1)
        side, front, back = {
            "skin": (0.0, 0.0, 0.0),
            "fat": (_SKIN_MM, _SKIN_MM, _SKIN_MM),
            "muscle": (self.fat_side_mm, self.fat_front_mm, self.fat_back_mm),
            "cavity": tuple(f + _MUSCLE_MM for f in (self.fat_side_mm, self.fat_front_mm, self.fat_back_mm)),
        }[inset]
        depth = _HALF_DEPTH_MM * (1 + 0.5 * (narrow - 1)) - (front + back) / 2
        middle = np.full_like(depth, (back - front) / 2)
        return (
            np.asarray(_HALF_WIDTH_MM * narrow - side, np.float32),
            np.asarray(depth, np.float32),
            np.asarray(middle, np.float32),
        )

    def on_wall(self, angle: float, z: float, depth_mm: float) -> tuple[float, float]:
        """(x, y) in the muscle wall, `depth_mm` below its outer side; `angle` 0 is the back, pi/2 the right side."""
        a, b, middle = (float(v) for v in self.half_axes(np.array(z), "muscle"))
        sine, cosine = np.sin(angle), np.cos(angle)
        x = np.sign(sine) * abs(sine) ** (2 / _POWER) * (a - depth_mm)
        y = middle - np.sign(cosine) * abs(cosine) ** (2 / _POWER) * (b - depth_mm)
        return float(x), float(y)


@dataclass(frozen=True, eq=False)
class Rooms:
    """Where organs may lie (whole canvas): the chest above the diaphragm, the belly below it."""

    body: Mask
    frame: Mask
    """All within the fat under the skin: muscle wall and what it holds."""
    chest: Mask
    belly: Mask


def paint_torso(canvas: Canvas, build: Build, tissues: Tissues) -> Rooms:
    """Skin, fat, muscle wall, inner fat and diaphragm, from the top of the view to its bottom."""
    axes = canvas.axes()
    box = canvas.whole
    body = _within(build, axes, "skin")
    canvas.fill(box, body, tissues.skin)
    canvas.fill(box, _within(build, axes, "fat"), tissues.fat)
    frame = _within(build, axes, "muscle")
    canvas.fill(box, frame, tissues.muscle)
    cavity = _within(build, axes, "cavity")
    canvas.fill(box, cavity, tissues.fat)
    top = diaphragm_mm(build, axes[0], axes[1])
    chest, belly = cavity & (axes[2] > top), cavity & (axes[2] < top - 3)
    canvas.fill(box, cavity & ~chest & ~belly, tissues.muscle)
    return Rooms(body, frame, chest, belly)


def diaphragm_mm(build: Build, x: Field, y: Field) -> Field:
    """Height of the diaphragm: two domes, the right one higher, falling to the ribs."""
    height: Field | None = None
    for side, top in zip((1, -1), build.dome_mm, strict=True):
        base = np.float32(8.0)
        square = ((x - np.float32(side * 60)) / 80) ** 2 + ((y - 5) / 94) ** 2
        dome = base + (np.float32(top) - base) * np.sqrt(np.clip(1 - square, 0, 1))
        height = dome if height is None else np.maximum(height, dome)
    return np.asarray(height, np.float32)


def _within(build: Build, axes: OpenAxes, inset: str) -> Mask:
    """|x / a|^n + |(y - m) / b|^n < 1, slice by slice; powers are taken on planes only."""
    x, y, z = axes
    a, b, middle = build.half_axes(z, inset)
    return np.asarray(np.abs(x / a) ** _POWER + np.abs((y - middle) / b) ** _POWER < 1)
