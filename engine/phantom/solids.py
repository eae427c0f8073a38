"""Smooth bodies given by a signed distance (mm, negative inside): ellipsoids, tapered capsules, and their unions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from engine.procedural.waves import Field, OpenAxes, Waves

Bounds = NDArray[np.float64]
"""Lowest and highest corner, (2, 3) in mm."""


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """`radii` along its own axes, which are the columns of `turn`."""

    centre: NDArray[np.float64]
    radii: NDArray[np.float64]
    turn: NDArray[np.float64]

    @classmethod
    def of(cls, centre: ArrayLike, radii: ArrayLike, euler_deg: ArrayLike = (0, 0, 0)) -> Ellipsoid:
        turn = Rotation.from_euler("xyz", np.asarray(euler_deg, float), degrees=True).as_matrix()
        return cls(np.asarray(centre, float), np.asarray(radii, float), turn)

    @property
    def bounds(self) -> Bounds:
        half = np.linalg.norm(self.turn * self.radii, axis=1)
        return np.array([self.centre - half, self.centre + half])

    def distance(self, axes: OpenAxes) -> Field:
        """Approximate signed distance: k0 (k0 - 1) / k1, with k0 = |p / r| and k1 = |p / r^2|."""
        offset = [a - np.float32(c) for a, c in zip(axes, self.centre, strict=True)]
        k0_squared = k1_squared = np.zeros((), np.float32)
        for own_axis, radius in zip(self.turn.T, self.radii, strict=True):
            along = sum((np.float32(t / radius) * o for t, o in zip(own_axis, offset, strict=True)), np.float32(0))
            square = along * along
            k0_squared = k0_squared + square
            k1_squared = k1_squared + square * np.float32(1 / radius**2)
        k0 = np.sqrt(k0_squared)
        return np.asarray(k0 * (k0 - 1) / np.sqrt(k1_squared + np.float32(1e-12)), np.float32)


@dataclass(frozen=True, eq=False)
class Capsule:
    """A round stick from `start` to `stop`, its radius going evenly from one to the other."""

    start: NDArray[np.float64]
    stop: NDArray[np.float64]
    radii: tuple[float, float]

    @property
    def bounds(self) -> Bounds:
        ends = np.array([self.start, self.stop])
        return np.array([ends.min(axis=0) - max(self.radii), ends.max(axis=0) + max(self.radii)])

    def distance(self, axes: OpenAxes) -> Field:
        way = self.stop - self.start
        length_squared = max(float(way @ way), 1e-9)
        offset = [a - np.float32(c) for a, c in zip(axes, self.start, strict=True)]
        share = sum((np.float32(w / length_squared) * o for w, o in zip(way, offset, strict=True)), np.float32(0))
        share = np.clip(share, 0, 1)
        squared = sum(((o - np.float32(w) * share) ** 2 for w, o in zip(way, offset, strict=True)), np.float32(0))
        radius = np.float32(self.radii[0]) + np.float32(self.radii[1] - self.radii[0]) * share
        return np.asarray(np.sqrt(squared) - radius, np.float32)


Part = Ellipsoid | Capsule


@dataclass(frozen=True, eq=False)
class Solid:
    """The union of parts, its surface moved in and out by `bumps` (mm)."""

    parts: Sequence[Part]
    bumps: Waves | None = None

    @property
    def swell_mm(self) -> float:
        return self.bumps.highest if self.bumps else 0.0

    @property
    def bounds(self) -> Bounds:
        each = np.array([p.bounds for p in self.parts])
        return np.array([each[:, 0].min(axis=0) - self.swell_mm, each[:, 1].max(axis=0) + self.swell_mm])


def tube(points: ArrayLike, radii: Sequence[float], *, step_mm: float = 8.0, haustra_mm: float = 0.0) -> list[Capsule]:
    """A smooth tube through `points` (n, 3) with `radii` (n,); `haustra_mm` pinches it every 30 mm."""
    knots = np.asarray(points, float)
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    path, width = CubicSpline(at, knots), CubicSpline(at, np.asarray(radii, float))
    steps = np.linspace(0, at[-1], max(2, int(np.ceil(at[-1] / step_mm)) + 1))
    line = path(steps)
    wide = np.maximum(width(steps) + haustra_mm * np.sin(2 * np.pi * steps / 30.0), 1.0)
    return [
        Capsule(a, b, (float(ra), float(rb)))
        for a, b, ra, rb in zip(line[:-1], line[1:], wide[:-1], wide[1:], strict=True)
    ]
