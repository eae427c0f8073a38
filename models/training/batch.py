"""Examples as a training step receives them, and whatever is random in it.

All of that is named by the example's seed and by what it is for: an example has the same noise in any batch, on any
worker, and after any restart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.noise import SeededNoise


class Example(NamedTuple):
    """A crop about one lesion on the 1 mm model grid, (z y x) = (S A L). Other lesions of the case are not labelled."""

    image: Tensor  # (1 z y x) float32 on [0, 1]
    organs: Tensor  # (z y x) uint8, TotalSegmentator v1 ids, 0 beyond the volume
    label: Tensor  # (z y x) uint8: 0, 1 the host organ, 2 the lesion
    hosts: tuple[int, ...]  # v1 ids of the organ it lies in
    mask_text: dict[str, str]  # what LMNet is told
    paint_text: dict[str, str]  # what LINet is told
    asked_hu: float | None  # mean HU that the report asks for
    seed: int  # of its noise, timestep, dropped text and plane; 0 to 2**64 - 1


class _For(IntEnum):
    """What a draw is for; `SeededNoise` numbers the noise itself 0."""

    TIMESTEP = 1
    TEXT = 2
    PLANE = 3


@dataclass(frozen=True)
class Batch:
    """Examples of one shape; none where all of them were skipped."""

    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def to(self, _device: torch.device | str) -> Batch:
        """Asked by Lightning. It stays where it was read: a network takes to its device what it needs of it."""
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z y x). Raises ValueError for a batch of none."""
        if not self.examples:
            raise ValueError("a batch of no examples has no shape")
        z, y, x = self.examples[0].label.shape
        return z, y, x

    @property
    def seeds(self) -> list[int]:
        return [example.seed for example in self.examples]

    def images(self, device: torch.device | str = "cpu") -> Tensor:
        """(b 1 z y x) float32 on [0, 1]."""
        return torch.stack([example.image for example in self.examples]).to(device)

    def noise(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """(b *shape) float32, standard normal."""
        return SeededNoise(self.seeds, tuple(shape)).draw(0).to(device)

    def timesteps(self, steps: int, device: torch.device | str = "cpu") -> Tensor:
        """(b) int64, each of 0 to steps - 1 as likely."""
        return self._drawn(_For.TIMESTEP, lambda random: int(random.integers(steps))).to(device)

    def planes(self) -> Tensor:
        """(b) int64: a plane along z for each example."""
        return self._drawn(_For.PLANE, lambda random: int(random.integers(self.shape[0])))

    def untold(self, share: float) -> list[bool]:
        """Which examples are told nothing, so many of all on average."""
        return [bool(told) for told in self._drawn(_For.TEXT, lambda random: int(random.random() < share))]

    def _drawn(self, purpose: _For, draw: Callable[[np.random.Generator], int]) -> Tensor:
        keys = (np.array([seed, purpose], np.uint64) for seed in self.seeds)
        return torch.tensor([draw(np.random.Generator(np.random.Philox(key=key))) for key in keys], dtype=torch.int64)


def collate(examples: Sequence[Example]) -> Batch:
    """Raises ValueError where shapes differ."""
    shapes = {
        (tuple(example.label.shape), tuple(example.image.shape), tuple(example.organs.shape)) for example in examples
    }
    if len(shapes) > 1 or any(image != (1, *label) or organs != label for label, image, organs in shapes):
        told = ", ".join(sorted({str(shape) for crop in shapes for shape in crop}))
        raise ValueError(f"examples of one batch have shapes {told}; one crop size is wanted")
    return Batch(tuple(examples))
