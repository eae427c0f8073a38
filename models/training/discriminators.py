"""Discriminators that judge patches, in two and in three dimensions. Isola et al. 2017, section 3.2.2."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from models.training.batch_norm import BatchNorm

_WIDTHS = (1, 64, 128, 256, 512, 1)
_STRIDES = (2, 2, 2, 1, 1)


class PatchDiscriminator(nn.Module):
    """A judgement for every patch: above zero it looks real. Batch statistics are those of all ranks.

    model0..model4 are a convolution each; all but the first and last are normalised, and all but the last activated.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        conv = nn.Conv2d if dimensions == 2 else nn.Conv3d
        last = len(_STRIDES) - 1
        for number, (widths, stride) in enumerate(zip(pairwise(_WIDTHS), _STRIDES, strict=True)):
            layers: list[nn.Module] = [conv(*widths, 4, stride=stride, padding=2)]
            if 0 < number < last:
                layers.append(BatchNorm(widths[1]))
            self.add_module(f"model{number}", nn.Sequential(*layers))
        self.apply(_start)

    def forward(self, x: Tensor) -> Tensor:
        """(b 1 y x) or (b 1 z y x) -> (b 1 ...), an eighth of the size and 2 or 3 more."""
        *hidden, last = self.children()
        for layers in hidden:
            x = F.leaky_relu(layers(x), 0.2)
        logits: Tensor = last(x)
        return logits


def _start(module: nn.Module) -> None:
    """Radford et al. 2016, section 4."""
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, BatchNorm):
        nn.init.normal_(module.weight, 1.0, 0.02)


def judge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator. Lim & Ye 2017, eq. 3; halved."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
