"""Trainings so small that a step of them takes milliseconds: examples, networks, and Lightning to train these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from models.attributes import AttributeConfig, AttributeEncoder
from models.training.batch import Batch, Example, collate
from models.training.framework import lightning
from models.training.module import make_module
from models.training.recipe import Recipe
from models.training.training_module import TrainingModule
from models.training.vq_loss import VQLossConfig
from models.unet import UNet, UNetConfig
from models.vq import VQ, VQConfig

Name = Literal["vq", "lmnet", "linet"]

NETWORKS: tuple[Name, ...] = ("vq", "lmnet", "linet")
SIDE, LIVER = 16, 5
VQ_SIZES = VQConfig(width=16, codes=64)
_WORDS = (("shape", ("round-like", "irregular")), ("lesion location", ("liver",)), ("CT value", ()))


def to_hu(unit: NDArray[np.float32]) -> NDArray[np.float32]:
    """A curve of its own, so that nothing can rest on that of the engine."""
    return (2000 * unit - 1000).astype(np.float32)


def example(seed: int, *, side: int = SIDE, words: int = 3) -> Example:
    """A bright ball in a noisy liver; `words` is the number of its attributes."""
    random = np.random.default_rng(seed)
    middle, radius = random.integers(side // 2 - 1, side // 2 + 1, 3), random.integers(2, side // 4 + 1)
    away = np.stack(np.indices((side,) * 3)) - middle[:, None, None, None]
    ball = (away**2).sum(axis=0) <= radius**2
    organs = np.zeros((side,) * 3, np.uint8)
    organs[1:-1, 1:-1, 1:-1] = LIVER
    image = 0.3 + 0.2 * (organs > 0) + 0.2 * ball + 0.02 * random.standard_normal(organs.shape)
    text = dict([("shape", "round-like,"), ("lesion location", "liver"), ("CT value", f"{40 + seed}.0 HU,")][:words])
    return Example(
        image=torch.from_numpy(image.astype(np.float32))[None],
        organs=torch.from_numpy(organs),
        label=torch.from_numpy(np.where(ball, 2, organs > 0).astype(np.uint8)),
        hosts=(LIVER,),
        mask_text=text,
        paint_text=text,
        asked_hu=None if seed % 2 else 40.0,
        seed=2**40 + seed,
    )


def batches(count: int, size: int = 2, *, side: int = SIDE) -> list[Batch]:
    numbers = np.arange(count * size).reshape(count, size)
    return [collate([example(int(n), side=side, words=2 + n % 2) for n in row]) for row in numbers]


def random_unet(network: Name, *, context_channels: int = 32) -> UNet:
    """Weights a little away from their start, at which a UNet says nothing."""
    channels = (4, 1) if network == "lmnet" else (5, 5)
    config = UNetConfig(in_channels=channels[0], out_channels=channels[1], width=16, res_blocks=1,
                        width_multipliers=(1, 1, 2), context_channels=context_channels)  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        unet = UNet(config)
        for parameter in unet.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return unet


def small_vq() -> VQ:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return VQ(VQ_SIZES)


def encoder() -> AttributeEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return AttributeEncoder(AttributeConfig(vocabulary=_WORDS, channels=32, width=16))


def recipe(network: Name, **changes: Any) -> Recipe:
    loss = VQLossConfig(perceptual=False, adversarial_from_step=0)
    small = Recipe(network=network, to_hu=to_hu, vq=VQ_SIZES, loss=loss, rate=1e-3, sampler_steps=2, ema_decay=0.9)
    return replace(small, **changes)


def module(network: Name, *, text: bool = True, **changes: Any) -> TrainingModule:
    if network == "vq":
        return make_module(recipe(network, **changes))
    return make_module(
        recipe(network, **changes),
        vq=small_vq() if network == "linet" else None,
        text=encoder() if text else None,
        start=random_unet(network),
    )


class Loader:
    """Batches, over and over or once. Lightning counts none of them, so none is skipped where it goes on."""

    def __init__(self, given: Sequence[Batch], *, endless: bool) -> None:
        self.given, self.endless = given, endless

    def __iter__(self) -> Iterator[Batch]:
        yield from self.given
        while self.endless:
            yield from self.given


def train(
    network: TrainingModule,
    given: Sequence[Batch],
    steps: int,
    *,
    validation: Sequence[Batch] | None = None,
    resume: str | None = None,
    **options: Any,
) -> Any:
    """The trainer, when it is done."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        **{"accelerator": "cpu", "devices": 1, "max_steps": steps, "max_epochs": -1, "enable_model_summary": False,
           "val_check_interval": steps, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0, **quiet, **options},
    )  # fmt: skip
    looked_at = None if validation is None else Loader(validation, endless=False)
    trainer.fit(network, Loader(given, endless=True), looked_at, ckpt_path=resume)
    return trainer
