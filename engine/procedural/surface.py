"""A lesion's outline: a ball with smooth random bumps, fitted into a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.geometry import Box
from engine.core.seeds import SAMPLE_LEVEL, rng_for
from engine.procedural.waves import Field, OpenAxes, Waves

BOUNDARY = 0.5
"""Level of a soft mask that is the lesion's surface."""

_WAVELENGTHS = (0.8, 2.2)
"""Of the surface, in half-sizes of the box."""
_MOST_BUMP = 0.35
_FITTING_STEPS, _FITTING_POINTS, _FITTING_REACH = 6, 25, 1.4
_BEND_GAIN, _MOST_BEND = 1.0, 0.42
"""A bend c moves the centre of mass by about -0.8 c in a ball."""
_NEIGHBOURS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True, eq=False)
class Surface:
    """|p| = 1 + bumps(p) in units of the box's half-sizes, moved so that it touches every side of the box.

    Along each axis a voxel at `x` in [-1, 1] (the box) reads the bumps at `shift + scale (x + bend (1 - x^2))`: shift
    and scale set where the shape ends, the bend puts its centre of mass in the middle and leaves the ends alone.
    """

    bumps: Waves
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    bend: NDArray[np.float64]

    @classmethod
    def drawn(cls, seed: int, roughness: float) -> Surface:
        """It depends on the seed and the roughness, not on the box: a larger box holds the same shape, larger."""
        bumps = Waves.drawn(rng_for(seed, "", SAMPLE_LEVEL, 0, "surface"), 8, _WAVELENGTHS, roughness)
        surface = cls(bumps, np.zeros(3), np.ones(3), np.zeros(3))
        for _ in range(_FITTING_STEPS):
            surface = surface._fitted()
        return surface

    def fill(self, box: Box, frame: Box) -> Field:
        """The soft mask of a lesion in `box`, on the voxels of `frame`: a ramp one voxel wide about the surface."""
        half = (np.asarray(box.shape, float) / 2).astype(np.float32)
        steps = (np.arange(a, b) for a, b in zip(frame.start, frame.stop, strict=True))
        unit = [((s - c) / h).astype(np.float32) for s, c, h in zip(steps, box.centre, half, strict=True)]
        level, points = self._level(unit)
        # First-order distance in voxels: the level over the length of its gradient, the bumps' own left out.
        squares = [p * p for p in points]
        radius = np.sqrt(squares[0] + squares[1] + squares[2])
        weights = [s / (h / np.float32(k)) ** 2 for s, h, k in zip(squares, half, self.scale, strict=True)]
        slope = np.sqrt(weights[0] + weights[1] + weights[2]) / np.maximum(radius, np.float32(1e-6))
        distance_vox = level / np.maximum(slope, np.float32(1 / half.max()) / 4)
        soft: Field = np.clip(np.float32(BOUNDARY) - distance_vox, 0, 1).astype(np.float32)
        return soft

    def _level(self, unit: Sequence[NDArray[np.floating]]) -> tuple[Field, OpenAxes]:
        """Below 0 inside, and the points it was read at."""
        x, y, z = (
            (k * _bent(u, c) + s).astype(np.float32)
            for u, s, k, c in zip(unit, self.shift, self.scale, self.bend, strict=True)
        )
        points = x[:, None, None], y[None, :, None], z[None, None, :]
        most = np.float32(_MOST_BUMP)
        bumps = most * np.tanh(self.bumps.at(points) / most)
        level = np.sqrt(points[0] ** 2 + points[1] ** 2 + points[2] ** 2) - 1 - bumps
        return np.asarray(level, np.float32), points

    def _fitted(self) -> Surface:
        """One step towards touching all sides with the centre of mass in the middle."""
        line = np.linspace(-_FITTING_REACH, _FITTING_REACH, _FITTING_POINTS)
        level, _ = self._level([line, line, line])
        ramp = np.float32(1 / (line[1] - line[0]))
        inside = largest_piece(np.clip(np.float32(BOUNDARY) - level * ramp, 0, 1))
        shift, scale, bend = self.shift.copy(), self.scale.copy(), self.bend.copy()
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            low, high = _bent(_ends(inside.max(axis=others), line), bend[axis])
            shift[axis] += scale[axis] * (low + high) / 2
            scale[axis] *= (high - low) / 2
            profile = inside.sum(axis=others, dtype=np.float64)
            middle = float((profile * line).sum() / profile.sum())
            bend[axis] = np.clip(bend[axis] + _BEND_GAIN * middle, -_MOST_BEND, _MOST_BEND)
        return Surface(self.bumps, shift, scale, bend)


def _bent(unit: NDArray[np.floating], bend: float) -> NDArray[np.floating]:
    """x + bend (1 - x^2) within [-1, 1], straight on beyond: one-to-one for any bend below 0.5."""
    near = np.clip(unit, -1, 1)
    return np.asarray(unit + bend * (1 - near * near) - 2 * bend * near * (unit - near))


def _ends(profile: Field, line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a profile (the highest mask value at each coordinate) crosses the boundary, linearly interpolated."""
    inside = np.flatnonzero(profile >= BOUNDARY)
    ends = []
    for inner, outer in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        share = (profile[inner] - BOUNDARY) / (profile[inner] - profile[outer])
        ends.append(float(line[inner] + share * (line[outer] - line[inner])))
    return np.array(ends)


def largest_piece(soft: Field) -> Field:
    """One connected lesion: smaller pieces and what belongs to them are put to 0."""
    pieces, count = ndimage.label(soft >= BOUNDARY)
    if count <= 1:
        return soft
    sizes = np.bincount(pieces.ravel())[1:]
    near = ndimage.binary_dilation(pieces == 1 + int(sizes.argmax()), _NEIGHBOURS)
    others = (pieces != 0) & (pieces != 1 + int(sizes.argmax()))
    return np.where(near & ~others, soft, np.float32(0))
