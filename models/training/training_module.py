"""What the trainings of the three networks have in common, as Lightning wants it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.layers import slab_values_on
from models.training.batch import Batch
from models.training.framework import LightningModule
from models.training.measures import Means
from models.training.optimiser import trained
from models.training.ranks import over_ranks, ranks
from models.training.recipe import Recipe
from models.unet import UNet
from models.vq import VQ

Best = Literal["min", "max"]


class TrainingModule(LightningModule):
    """Learns from `Batch`es. What it logs is "train/..." at each step and "val/..." after each validation.

    Nothing is drawn from a global generator. Validation adds up over all ranks, so that its means are those of the
    examples, however these are shared out.
    """

    monitored: ClassVar[tuple[str, Best]]
    """What the best weights are best at."""
    measured: ClassVar[tuple[str, ...]]
    """Names of what validation tells, "val/" before each."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.means = Means(self.measured)

    @abstractmethod
    def published_state(self) -> dict[str, Tensor]:
        """State dict in the published layout. Views of the weights: to be written before training goes on."""

    @abstractmethod
    def pictures(self, batch: Batch) -> dict[str, NDArray[np.uint8]]:
        """By the number of the example, (h w): the crop, what the network makes of it, and the lesion's mask."""

    @abstractmethod
    def measures(self, batch: Batch) -> Mapping[str, Sequence[float]]:
        """Of `measured`, a number for each example; NaN where there is none."""

    def on_fit_start(self) -> None:
        """By slabs on a processor alone, when the networks sample."""
        for module in self.modules():
            if isinstance(module, UNet | VQ):
                module.slab_values = slab_values_on(self.device)

    def validation_step(self, batch: Batch, _index: int) -> None:
        if len(batch):
            self.means.add(self.measures(batch))

    def on_validation_epoch_start(self) -> None:
        self.means = Means(self.measured)

    def on_validation_epoch_end(self) -> None:
        means = self.means.over(self.summed)
        self.log_dict({f"val/{name}": mean for name, mean in means.items()}, sync_dist=True)

    def summed(self, numbers: Tensor) -> Tensor:
        """Over all ranks. Every rank has to call it."""
        return over_ranks(numbers.to(self.device)).cpu() if ranks() > 1 else numbers

    def told(self, terms: Mapping[str, Tensor | float], batch: Batch) -> None:
        """Of this rank; a logger is told that of the first."""
        self.log_dict({f"train/{name}": term for name, term in terms.items()}, batch_size=max(1, len(batch)))


def nothing_of(parameters: Iterable[nn.Parameter]) -> Tensor:
    """A loss of zero, of all parameters that are trained.

    A rank that has no example for a step, or no use for some of its parameters, gives zero gradients to DDP's mean,
    which waits for every one.
    """
    none = torch.zeros(())
    return sum((parameter.reshape(-1)[:0].sum().float() for parameter in trained(parameters)), none)
