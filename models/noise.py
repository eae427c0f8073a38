"""Where a sampler's randomness comes from: of every lesion, its own seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Noise(Protocol):
    """Standard normal noise for a batch. The same number always gives the same draw."""

    def draw(self, number: int) -> Tensor:
        """(b c z y x) float32: 0 is x_T, n what the n-th step may add."""
        ...


@dataclass(frozen=True)
class SeededNoise:
    """A lesion's n-th draw depends on its seed and n alone: not on its batch, its device, nor on other draws.

    Drawn on the processor by Philox (Salmon et al. 2011), keyed by both, then moved. torch's generator would not do:
    of a seed it reads the low 32 bits, so of a million lesions a hundred pairs would share their noise.
    """

    seeds: Sequence[int]
    shape: tuple[int, ...]
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if any(not 0 <= seed < 2**64 for seed in self.seeds):
            raise ValueError(f"seeds {list(self.seeds)} must be from 0 to 2**64 - 1")

    def draw(self, number: int) -> Tensor:
        """(b *shape) float32."""
        drawn = np.empty((len(self.seeds), *self.shape), np.float32)
        for lesion, seed in zip(drawn, self.seeds, strict=True):
            key = np.array([seed, number], np.uint64)
            np.random.Generator(np.random.Philox(key=key)).standard_normal(out=lesion, dtype=np.float32)
        return torch.from_numpy(drawn).to(self.device)
