"""A lesion's outline: a ball with smooth random bumps, fitted into a box.

After label-free tumour synthesis (SyntheticTumors, Hu et al. 2023: an ellipsoid deformed elastically), but with the
deformation fitted so that the shape fills its box, holds the ellipsoid's volume and keeps its centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
_MOST_BUMP = 0.4
_FITTING_STEPS, _FITTING_POINTS, _FITTING_REACH = 8, 35, 1.75
_BEND_GAIN, _MOST_BEND = 1.0, 0.42
"""A bend c moves the centre of mass by about -0.8 c in a ball."""
_POWER_GAIN, _POWERS = 1.4, (1.6, 5.0)
"""Near 2, a volume in a fixed box grows with the power p of the norm about as p^0.7."""
_SPIKES, _SPIKE_HEIGHT, _SPIKE_WIDTH = 18, 0.3, 0.02
"""Spicules, their height in half-sizes, and 1 - cos of the angle at which they have fallen to 1/e."""
_NEIGHBOURS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True, kw_only=True)
class Roughness:
    """How a surface differs from an ellipsoid: `bumps` rms as a share of the radius, and thin spikes or none."""

    bumps: float
    spiculated: bool = False


@dataclass(frozen=True, eq=False)
class Surface:
    """||p||_power = 1 + bumps(p) + spikes(p) in units of the box's half-sizes, moved to touch every side of the box.

    Along each axis a voxel at `x` in [-1, 1] (the box) reads the bumps at `shift + scale (x + bend (1 - x^2))`: shift
    and scale set where the shape ends, the bend puts its centre of mass in the middle and leaves the ends alone. The
    power (2: an ellipsoid) gives back the volume that the bumps take.
    """

    bumps: Waves
    spikes: NDArray[np.float64]
    """Unit vectors (n, 3), or none."""
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    bend: NDArray[np.float64]
    power: float = 2.0

    @classmethod
    def drawn(cls, seed: int, rough: Roughness) -> Surface:
        """It depends on the seed and the roughness, not on the box: a larger box holds the same shape, larger."""
        rng = rng_for(seed, "", SAMPLE_LEVEL, 0, "surface")
        bumps = Waves.drawn(rng, 8, _WAVELENGTHS, rough.bumps)
        spikes = rng.standard_normal((_SPIKES if rough.spiculated else 0, 3))
        spikes /= np.linalg.norm(spikes, axis=1, keepdims=True)
        surface = cls(bumps, spikes, np.zeros(3), np.ones(3), np.zeros(3))
        for _ in range(_FITTING_STEPS):
            surface = surface._fitted()
        return surface

    def distance(self, box: Box, frame: Box) -> Field:
        """Signed distance (voxels, to first order, negative inside) of a lesion that fills `box`, on `frame`."""
        half = np.asarray(box.shape, float) / 2
        steps = (np.arange(a, b) for a, b in zip(frame.start, frame.stop, strict=True))
        level = self._level([(s - c) / h for s, c, h in zip(steps, box.centre, half, strict=True)])
        slopes = np.gradient(level)
        slope = np.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2)
        return np.asarray(level / np.maximum(slope, np.float32(0.25 / half.max())), np.float32)

    def _level(self, unit: Sequence[NDArray[np.floating]]) -> Field:
        """Below 0 inside."""
        x, y, z = (
            (k * _bent(u, c) + s).astype(np.float32)
            for u, s, k, c in zip(unit, self.shift, self.scale, self.bend, strict=True)
        )
        points = x[:, None, None], y[None, :, None], z[None, None, :]
        most = np.float32(_MOST_BUMP)
        level = _norm(points, self.power) - 1 - most * np.tanh(self.bumps.at(points) / most)
        if len(self.spikes):
            level -= self._spicules(points)
        return np.asarray(level, np.float32)

    def _spicules(self, points: OpenAxes) -> Field:
        """Height of the spikes in the direction of each point; none at the centre, where there is no direction."""
        radius = np.sqrt(points[0] ** 2 + points[1] ** 2 + points[2] ** 2)
        nearest = np.full(radius.shape, -1, np.float32)
        for spike in self.spikes:
            along = sum((np.float32(s) * p for s, p in zip(spike, points, strict=True)), np.float32(0))
            np.maximum(nearest, along / np.maximum(radius, np.float32(1e-3)), out=nearest)
        sharp = np.exp((nearest - 1) / np.float32(_SPIKE_WIDTH))
        return np.asarray(np.float32(_SPIKE_HEIGHT) * sharp * np.minimum(radius, 1), np.float32)

    def _fitted(self) -> Surface:
        """One step towards touching all sides, with the ellipsoid's volume and the centre of mass in the middle."""
        line = np.linspace(-_FITTING_REACH, _FITTING_REACH, _FITTING_POINTS)
        step = line[1] - line[0]
        inside = largest_piece(np.clip(np.float32(BOUNDARY) - self._level([line] * 3) / np.float32(step), 0, 1))
        shift, scale, bend, own_box = self.shift.copy(), self.scale.copy(), self.bend.copy(), 1.0
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            ends = _ends(inside.max(axis=others), line)
            own_box *= (ends[1] - ends[0]) / 2
            low, high = _bent(ends, bend[axis])
            shift[axis] += scale[axis] * (low + high) / 2
            scale[axis] *= (high - low) / 2
            profile = inside.sum(axis=others, dtype=np.float64)
            middle = float((profile * line).sum() / profile.sum())
            bend[axis] = np.clip(bend[axis] + _BEND_GAIN * middle, -_MOST_BEND, _MOST_BEND)
        # of the box that it fills, not of the one asked for: that is for `scale`, and corrected twice it never settles
        share = float(inside.sum(dtype=np.float64)) * step**3 / (4 / 3 * np.pi) / own_box
        power = float(np.clip(self.power * share**-_POWER_GAIN, *_POWERS))
        return replace(self, shift=shift, scale=scale, bend=bend, power=power)


def soft_mask(distance_vox: Field) -> Field:
    """A ramp one voxel wide about the surface, 0.5 on it."""
    return np.asarray(np.clip(np.float32(BOUNDARY) - distance_vox, 0, 1), np.float32)


def _norm(points: OpenAxes, power: float) -> Field:
    """(|x|^p + |y|^p + |z|^p)^(1/p); powers are taken on lines, and once on the sum."""
    x, y, z = (np.abs(p) ** np.float32(power) for p in points)
    return np.asarray((x + y + z) ** np.float32(1 / power), np.float32)


def _bent(unit: NDArray[np.floating], bend: float) -> NDArray[np.floating]:
    """x + bend (1 - x^2) within [-1, 1], straight on beyond: one-to-one for any bend below 0.5."""
    near = np.clip(unit, -1, 1)
    return np.asarray(unit + bend * (1 - near * near) - 2 * bend * near * (unit - near))


def _ends(profile: Field, line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a profile (the highest mask value at each coordinate) crosses the boundary, linearly interpolated."""
    step = line[1] - line[0]
    closed = np.pad(profile, 1)  # a spike may reach the last point
    inside = np.flatnonzero(closed >= BOUNDARY)
    ends = []
    for inner, way in ((inside[0], -1), (inside[-1], 1)):
        share = (closed[inner] - BOUNDARY) / (closed[inner] - closed[inner + way])
        ends.append(float(line[0] + (inner - 1 + way * share) * step))
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
