"""What a network is trained by, beside its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.ema import DECAY
from models.samplers import SAMPLERS
from models.training.vq_loss import VQLossConfig
from models.unet import UNetConfig
from models.vq import VQConfig

ToHu = Callable[[NDArray[np.float32]], NDArray[np.floating[Any]]]
"""Intensities on [0, 1] of any shape -> HU. The curve is the caller's: no network knows of HU."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Of one training. Sizes say what is built from nothing; a network to start from brings its own.

    `to_hu` has to be a function that is at hand in the training process: a recipe is made there.
    """

    network: Literal["vq", "lmnet", "linet"]
    to_hu: ToHu
    seed: int = 0
    """Of the weights at the start."""
    unet: UNetConfig | None = None
    vq: VQConfig | None = None
    loss: VQLossConfig = VQLossConfig()
    """Of the VQ-GAN."""
    steps: int = 100_000
    rate: float = 2e-5
    weight_decay: float = 0.01
    """Of LMNet and LINet."""
    warm_up_steps: int = 0
    """Steps in which the rate rises evenly to `rate`."""
    rate_falls: bool = False
    """From its height to nothing at `steps`, along a cosine."""
    restart_codes_every: int = 0
    """Steps after which codes of the VQ-GAN that nothing has chosen are put where latents lie; 0 never."""
    unit_latents: bool = False
    """The VQ-GAN's published weights have latents of mean 0 and variance 1 where validation looked."""
    accumulate: int = 1
    """Batches that make one step. The VQ-GAN counts them by itself; for the others the trainer has to be told, too."""
    ema_decay: float = DECAY
    drop_text: float = 0.0
    """Share of examples that are told nothing (Ho & Salimans 2022)."""
    checkpointing: bool = False
    """Recompute activations backward (Chen et al. 2016)."""
    compile: bool = False
    lora_rank: int | None = None
    """Train low-rank changes of the weights instead of these (Hu et al. 2022)."""
    sampler: str = "unipc"
    sampler_steps: int = 15
    """Of the samples that validation and pictures look at."""
    clip: bool = False
    """Keep each step of these where clean data are."""

    def __post_init__(self) -> None:
        if self.network == "vq" and self.lora_rank is not None:
            raise ValueError("low-rank changes are for lmnet and linet")
        if min(self.steps, self.accumulate, self.sampler_steps) < 1 or self.warm_up_steps < 0:
            raise ValueError("steps, accumulate and sampler_steps must be 1 or more, warm_up_steps 0 or more")
        if self.sampler not in SAMPLERS:
            raise ValueError(f"no sampler '{self.sampler}', there is {', '.join(SAMPLERS)}")
