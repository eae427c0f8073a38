"""What a sampler asks of the method that takes it from noise to data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from models.diffusion import Schedule
from models.noise import Noise

Step = Callable[[int, Tensor, Tensor], Tensor]
"""Index of the step, x_t and eps (b c z y x) float32 -> x of the next timestep. Indices come in order, once each."""


class Solver(Protocol):
    """Immutable. What a run remembers lies in its `Step`."""

    @property
    def schedule(self) -> Schedule:
        """Of the network's noise."""
        ...

    @property
    def timesteps(self) -> tuple[int, ...]:
        """Where the network is evaluated, falling."""
        ...

    def begin(self, noise: Noise) -> Step:
        """A fresh run."""
        ...
