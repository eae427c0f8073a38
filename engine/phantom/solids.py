"""Smooth bodies given by a signed distance (mm, negative inside), and what can be made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from engine.phantom.lattice import Bounds, Lattice
from engine.procedural.waves import Field, Waves

EVERYWHERE: Bounds = np.array([[-1e3] * 3, [1e3] * 3])


class Solid(Protocol):
    """Something with an inside."""

    @property
    def bounds(self) -> Bounds:
        """It lies between these corners."""

    def distance(self, at: Lattice) -> Field:
        """Signed distance of each point, mm, negative inside; it may be approximate away from the surface."""


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

    def distance(self, at: Lattice) -> Field:
        """k0 (k0 - 1) / k1, with k0 = |p / r| and k1 = |p / r^2|: exact on the surface, near it to first order."""
        k0_squared = k1_squared = np.zeros((), np.float32)
        for own_axis, radius in zip(self.turn.T, self.radii, strict=True):
            square = at.along(own_axis / radius, self.centre) ** 2
            k0_squared = k0_squared + square
            k1_squared = k1_squared + square * np.float32(1 / radius**2)
        k0 = np.sqrt(k0_squared)
        return np.asarray(k0 * (k0 - 1) / np.sqrt(k1_squared + np.float32(1e-12)), np.float32)


@dataclass(frozen=True, eq=False)
class Capsule:
    """A round stick from `start` to `stop`, its radius going evenly from one to the other.

    One that runs about level may be `tall` times as high as it is thick.
    """

    start: NDArray[np.float64]
    stop: NDArray[np.float64]
    radii: tuple[float, float]
    tall: float = 1.0

    @classmethod
    def of(cls, start: ArrayLike, stop: ArrayLike, radii: tuple[float, float]) -> Capsule:
        return cls(np.asarray(start, float), np.asarray(stop, float), radii)

    @property
    def bounds(self) -> Bounds:
        ends, reach = np.array([self.start, self.stop]), max(self.radii) * self.tall
        return np.array([ends.min(axis=0) - reach, ends.max(axis=0) + reach])

    def distance(self, at: Lattice) -> Field:
        way = self.stop - self.start
        length = max(float(np.linalg.norm(way)), 1e-6)
        ahead = way / length
        aside, across = _normals(ahead)
        along = at.along(ahead, self.start)
        inner = np.minimum(np.maximum(along, 0), np.float32(length))
        squared = at.along(aside, self.start) ** 2 + at.along(across / self.tall, self.start) ** 2
        squared = squared + (along - inner) ** 2
        taper = np.float32((self.radii[1] - self.radii[0]) / length)
        return np.asarray(np.sqrt(squared) - (np.float32(self.radii[0]) + taper * inner), np.float32)


@dataclass(frozen=True, eq=False)
class HalfSpace:
    """All that lies on one side of the plane through `point`: `outward` (unit vector) leads out of it."""

    point: NDArray[np.float64]
    outward: NDArray[np.float64]

    @classmethod
    def of(cls, point: ArrayLike, outward: ArrayLike) -> HalfSpace:
        way = np.asarray(outward, float)
        return cls(np.asarray(point, float), way / np.linalg.norm(way))

    @property
    def bounds(self) -> Bounds:
        return EVERYWHERE

    def distance(self, at: Lattice) -> Field:
        return at.along(self.outward, self.point)


@dataclass(frozen=True, eq=False)
class Bundle:
    """The union of many small parts, each computed only near itself: tubes, trees of vessels."""

    parts: Sequence[Solid]
    reach_mm: float = 8.0
    """Beyond this the distance is only known to be larger."""

    @cached_property
    def _each(self) -> NDArray[np.float64]:
        return np.array([p.bounds for p in self.parts])

    @property
    def bounds(self) -> Bounds:
        return np.array([self._each[:, 0].min(axis=0), self._each[:, 1].max(axis=0)])

    def distance(self, at: Lattice) -> Field:
        field = np.full(at.shape, 1e3, np.float32)
        near_each = at.windows(self._each + np.array([[-1.0], [1.0]]) * self.reach_mm)
        for part, near in zip(self.parts, near_each, strict=True):
            if near.voxels:
                view = field[near.slices]
                np.minimum(view, part.distance(at.crop(near)), out=view)
        return field

    def pieces(self, count: int) -> list[Bundle]:
        """Consecutive parts, `count` at a time: the boxes of a long thing's pieces are smaller than its own."""
        return [Bundle(self.parts[n : n + count], self.reach_mm) for n in range(0, len(self.parts), count)]


@dataclass(frozen=True, eq=False)
class Blend:
    """The union of a few parts that flow into each other over `mm` (polynomial smooth minimum)."""

    parts: Sequence[Solid]
    mm: float

    @property
    def bounds(self) -> Bounds:
        each = np.array([p.bounds for p in self.parts])
        return np.array([each[:, 0].min(axis=0) - self.mm / 2, each[:, 1].max(axis=0) + self.mm / 2])

    def distance(self, at: Lattice) -> Field:
        field = self.parts[0].distance(at)
        for part in self.parts[1:]:
            field = _smooth_min(field, part.distance(at), self.mm)
        return field


@dataclass(frozen=True, eq=False)
class Carved:
    """What of `solid` lies in all of `within` and in none of `without`; edges are rounded over `mm`."""

    solid: Solid
    within: Sequence[Solid] = ()
    without: Sequence[Solid] = ()
    mm: float = 3.0

    @property
    def bounds(self) -> Bounds:
        each = np.array([p.bounds for p in (self.solid, *self.within)])
        return np.array([each[:, 0].max(axis=0), np.maximum(each[:, 1].min(axis=0), each[:, 0].max(axis=0))])

    def distance(self, at: Lattice) -> Field:
        field = self.solid.distance(at)
        for part in self.within:
            field = -_smooth_min(-field, -part.distance(at), self.mm)
        for part in self.without:
            field = -_smooth_min(-field, part.distance(at), self.mm)
        return np.asarray(field, np.float32)


@dataclass(frozen=True, eq=False)
class Outside:
    """All that a solid is not."""

    solid: Solid

    @property
    def bounds(self) -> Bounds:
        return EVERYWHERE

    def distance(self, at: Lattice) -> Field:
        return -self.solid.distance(at)


@dataclass(frozen=True, eq=False)
class Grown:
    """A solid larger by `mm` all around, or smaller where that is negative."""

    solid: Solid
    mm: float

    @property
    def bounds(self) -> Bounds:
        return np.asarray(self.solid.bounds + np.array([[-1.0], [1.0]]) * max(self.mm, 0.0))

    def distance(self, at: Lattice) -> Field:
        return self.solid.distance(at) - np.float32(self.mm)


@dataclass(frozen=True, eq=False)
class Dented:
    """A solid whose surface is moved in and out by `waves` (mm)."""

    solid: Solid
    waves: Waves

    @property
    def bounds(self) -> Bounds:
        return np.asarray(self.solid.bounds + np.array([[-1.0], [1.0]]) * self.waves.highest)

    def distance(self, at: Lattice) -> Field:
        return np.asarray(self.solid.distance(at) + at.waves(self.waves), np.float32)


def _normals(way: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two unit vectors square to a third and to each other; unless `way` is steep, the first lies level."""
    x, y, z = way.tolist()
    if abs(z) < 0.7:
        flat = float(np.hypot(x, y))
        return np.array([-y / flat, x / flat, 0.0]), np.array([-x * z / flat, -y * z / flat, flat])
    flat = float(np.hypot(y, z))
    return np.array([0.0, -z / flat, y / flat]), np.array([flat, -x * y / flat, -x * z / flat])


def _smooth_min(a: Field, b: Field, mm: float) -> Field:
    """The smaller of two distances, rounded where they are within `mm` of each other."""
    if mm <= 0:
        return np.minimum(a, b)
    share = np.maximum(np.float32(mm) - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - share * share * np.float32(0.25 / mm), np.float32)
