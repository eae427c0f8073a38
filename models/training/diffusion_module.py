"""What the trainings of LMNet and LINet have in common: a UNet, its average, and what it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.context import Attributes, ContextEncoder
from models.diffusion import PUBLISHED, Noising
from models.ema import COUNTERS, Ema, key_of
from models.layout import diffusion_state
from models.samplers import Sampler, make_sampler
from models.text import TextEncoder
from models.training.batch import Batch
from models.training.framework import OptimizerLRScheduler
from models.training.lora import is_low_rank, merged, train_low_rank
from models.training.optimiser import adamw, scheduled
from models.training.recipe import Recipe
from models.training.training_module import TrainingModule
from models.unet import UNet

_AVERAGE = "ema"


@dataclass(frozen=True)
class _OnDevice:
    """A text encoder whose tokens are wanted where the UNet is; that of frozen weights may stay where it was loaded."""

    text: ContextEncoder
    device: torch.device

    @property
    def channels(self) -> int:
        return self.text.channels

    def encode(self, batch: Sequence[Attributes]) -> Tensor:
        return self.text.encode(batch).to(self.device)


class DiffusionModule(TrainingModule):
    """AdamW over the UNet, and over the text encoder where that is trained along.

    The UNet's average is part of the checkpoint. Of a text encoder there is none: the last stays beside the average.
    Raises ValueError where the text encoder, or none, does not fit the UNet.
    """

    def __init__(self, recipe: Recipe, unet: UNet, text: ContextEncoder | None) -> None:
        super().__init__(recipe)
        _check_fit(unet, text)
        self.names = list(unet.state_dict())
        self.unet, self.text = unet.requires_grad_(True).train(), text
        unet.recompute = recipe.checkpointing
        if recipe.lora_rank is not None:
            train_low_rank(unet, recipe.lora_rank)
        if text is None:
            unet.context_linear_projection.requires_grad_(False)  # nothing goes through it
        if recipe.compile:
            unet.compile()
        self.ema = Ema(unet, recipe.ema_decay)
        # DDP would send all buffers at every step, and averages of equal parameters are equal
        self._ddp_params_and_buffers_to_ignore = [f"{_AVERAGE}.{name}" for name in self.ema.state_dict()]
        self._noising: Noising | None = None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimiser = adamw(self.parameters(), self.recipe.rate, self.recipe.weight_decay)
        falls_until = self.recipe.steps if self.recipe.rate_falls else None
        rate = scheduled(optimiser, warm_up=self.recipe.warm_up_steps, falls_until=falls_until)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def optimizer_step(self, *args: Any, **named: Any) -> None:
        """Called once for all batches that are accumulated."""
        super().optimizer_step(*args, **named)
        self.ema.update(self.unet)

    def output(self, seen: Tensor, t: Tensor, texts: Sequence[Attributes]) -> Tensor:
        """The UNet's, (b c z y x), float32 or autocast.

        Only descriptions with the same number of attributes go through together, as when sampling: others would be
        filled up, so that an example's loss depended on its batch.
        """
        if self.text is None:
            whole: Tensor = self.unet(seen, t)
            return whole
        alike: dict[int, list[int]] = {}
        for number, attributes in enumerate(texts):
            alike.setdefault(max(1, len(attributes)), []).append(number)
        made = [
            self.unet(seen[numbers], t[numbers], self.text.encode([texts[n] for n in numbers]).to(seen.device))
            for numbers in alike.values()
        ]
        order = torch.tensor([number for numbers in alike.values() for number in numbers]).argsort()
        return torch.cat(made)[order.to(seen.device)]

    def heard(self, texts: Sequence[Attributes], batch: Batch) -> list[Attributes]:
        """`texts`, but for those that this step drops."""
        untold = batch.untold(self.recipe.drop_text)
        return [{} if dropped else attributes for attributes, dropped in zip(texts, untold, strict=True)]

    def noising(self) -> Noising:
        if self._noising is None or self._noising.signal.device != self.device:
            self._noising = Noising.of(PUBLISHED, self.device)
        return self._noising

    def to_tell(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the UNet is to say of x_t: eps, or its velocity."""
        return eps if self.unet.config.predicts == "noise" else self.noising().velocity(x0, eps, t)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the UNet has its averaged weights, as it has them when it is used."""
        with self.ema.averaged(self.unet):
            yield

    def sampler(self) -> Sampler:
        return make_sampler(self.recipe.sampler, self.recipe.sampler_steps)

    def text_here(self) -> ContextEncoder | None:
        return None if self.text is None else _OnDevice(self.text, self.device)

    def published(self, vq: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        unet = merged(self.unet, self.names)
        return diffusion_state(PUBLISHED.buffers(), unet, self._averages(), vq=vq, text=_text_state(self.text))

    def _averages(self) -> dict[str, Tensor]:
        """Of low-rank changes, what the averages of both factors make of the weights."""
        averages: dict[str, Tensor] = self.ema.state_dict()
        if not is_low_rank(self.unet):
            return averages
        with self.averaged():
            whole = {key_of(name): tensor.clone() for name, tensor in merged(self.unet, self.names).items()}
        return {counter: averages[counter] for counter in COUNTERS} | whole


def _check_fit(unet: UNet, text: ContextEncoder | None) -> None:
    config = unet.config
    if text is None and not config.runs_without_context:
        deepest = config.width * config.width_multipliers[-1]
        raise ValueError(
            f"without text the context's width {config.context_channels} has to be that of the deepest level, {deepest}"
        )
    if text is not None and text.channels != config.context_channels:
        raise ValueError(
            f"the text's tokens are {text.channels} wide, and the UNet's context {config.context_channels}"
        )


def _text_state(text: ContextEncoder | None) -> dict[str, Tensor] | None:
    if isinstance(text, TextEncoder):
        return dict(text.tower.state_dict())
    return dict(text.state_dict()) if isinstance(text, nn.Module) else None
