"""Optimisers with a linear warm-up of the rate."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

ADVERSARIAL_BETAS = (0.5, 0.9)
"""Of both optimisers of the VQ-GAN, as published; the first as in Radford et al. 2016, section 4."""


def trained(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]


def adamw(parameters: Iterable[nn.Parameter], rate: float, weight_decay: float) -> AdamW:
    """Loshchilov & Hutter 2019, of all parameters that are trained, biases too, as published."""
    return AdamW(trained(parameters), lr=rate, weight_decay=weight_decay)


def adversarial_adam(parameters: Iterable[nn.Parameter], rate: float) -> Adam:
    return Adam(trained(parameters), lr=rate, betas=ADVERSARIAL_BETAS)


def warm_up(optimiser: Optimizer, steps: int) -> LambdaLR:
    """The rate of step n, from 0 on, is (n + 1) / steps of the whole one, which it reaches at step `steps` - 1."""
    return LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / max(1, steps)))
