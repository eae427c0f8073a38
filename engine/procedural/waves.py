"""A smooth random field as a sum of plane waves: cheap on any grid, and the same in space whatever grid reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
OpenAxes = tuple[Field, Field, Field]
"""Coordinates along three axes, shaped (n, 1, 1), (1, m, 1) and (1, 1, l)."""


@dataclass(frozen=True, eq=False)
class Waves:
    """`sum_i amplitude_i cos(k_i . p + phase_i)`; `vectors` (n, 3) in radians per unit of length."""

    vectors: NDArray[np.float64]
    phases: NDArray[np.float64]
    amplitudes: NDArray[np.float64]

    @classmethod
    def drawn(cls, rng: np.random.Generator, count: int, lengths: tuple[float, float], rms: float = 1.0) -> Self:
        """`count` waves of random direction, wavelengths spread evenly over `lengths`, of root mean square `rms`."""
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        long = np.linspace(*lengths, count) * rng.uniform(0.9, 1.1, count)
        phases = rng.uniform(0, 2 * np.pi, count)
        # Long waves are stronger, as on smooth natural surfaces.
        amplitudes = long * (rms * np.sqrt(2) / np.linalg.norm(long))
        return cls(directions * (2 * np.pi / long)[:, None], phases, amplitudes)

    @property
    def highest(self) -> float:
        """No value exceeds this."""
        return float(np.abs(self.amplitudes).sum())

    def at(self, axes: OpenAxes) -> Field:
        """The field on an open grid, float32."""
        out = np.zeros(np.broadcast_shapes(*(a.shape for a in axes)), np.float32)
        for vector, phase, amplitude in zip(self.vectors, self.phases, self.amplitudes, strict=True):
            x, y, z = (np.float32(k) * axis for k, axis in zip(vector, axes, strict=True))
            # cos(a + b) = cos a cos b - sin a sin b: trigonometry on planes and lines only.
            plane = x + y + np.float32(phase)
            out += (np.float32(amplitude) * np.cos(plane)) * np.cos(z)
            out -= (np.float32(amplitude) * np.sin(plane)) * np.sin(z)
        return out
