"""Optimisers, and how their rate rises and falls."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

ADVERSARIAL_BETAS, STEADY_BETAS = (0.5, 0.9), (0.9, 0.99)
"""Of both optimisers of the VQ-GAN, as published, the first as in Radford et al. 2016, section 4; and of one alone,
whose aim does not move: longer means, steadier steps."""


def trained(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]


def adamw(parameters: Iterable[nn.Parameter], rate: float, weight_decay: float) -> AdamW:
    """Loshchilov & Hutter 2019, of all parameters that are trained, biases too, as published."""
    return AdamW(trained(parameters), lr=rate, weight_decay=weight_decay, fused=True)


def adam(parameters: Iterable[nn.Parameter], rate: float, *, adversarial: bool) -> Adam:
    """Kingma & Ba 2015; `adversarial` where discriminators take part."""
    return Adam(trained(parameters), lr=rate, betas=ADVERSARIAL_BETAS if adversarial else STEADY_BETAS)


def scheduled(optimiser: Optimizer, *, warm_up: int, falls_until: int | None = None) -> LambdaLR:
    """The rate of step n, from 0 on, is (n + 1) / warm_up of the whole one, which it reaches at step `warm_up` - 1.

    It falls besides, where it is told until when: times (1 + cos(pi n / falls_until)) / 2. Loshchilov & Hutter 2017,
    eq. 5, without restarts.
    """

    def share(step: int) -> float:
        risen = min(1.0, (step + 1) / max(1, warm_up))
        return risen if falls_until is None else risen * (1 + math.cos(math.pi * min(1.0, step / falls_until))) / 2

    return LambdaLR(optimiser, share)
