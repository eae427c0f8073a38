"""LINet's training: to paint a lesion in the latents of a frozen VQ-GAN."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.context import ContextEncoder
from models.diffusion import PUBLISHED
from models.linet import LINet, PaintRequest, latent_mask
from models.training.batch import Batch, Example
from models.training.diffusion_module import DiffusionModule
from models.training.examples import LESION
from models.training.measures import Field, lesion_hu_error, margin_step_hu
from models.training.objectives import (
    LINetTerms,
    box_of,
    dice_loss,
    linet_input,
    linet_losses,
    linet_terms,
)
from models.training.pictures import Picture, most_of, side_by_side
from models.training.ranks import over_ranks
from models.training.recipe import Recipe
from models.training.training_module import Best, nothing_of
from models.unet import UNet
from models.vq import VQ


class _Step(NamedTuple):
    """Of a batch: noise or velocity (b 4 z y x), the UNet's output (b 5 z y x), the lesions on the latent's grid
    (b 1 z y x)."""

    true: Tensor
    output: Tensor
    mask: Tensor


class LINetModule(DiffusionModule):
    """Best is the one that tells noise best: always the same noise, for the samples' HU vary more from seed to seed."""

    monitored: ClassVar[tuple[str, Best]] = ("val/loss", "min")
    measured = ("loss", "hu_error", "margin_hu")

    def __init__(self, recipe: Recipe, unet: UNet, vq: VQ, text: ContextEncoder | None) -> None:
        super().__init__(recipe, unet, text)
        if (latent := vq.config.latent_channels) != unet.config.out_channels - 1:
            raise ValueError(
                f"the VQ-GAN has {latent} latent channels, and the UNet paints {unet.config.out_channels - 1}"
            )
        self.vq = vq.requires_grad_(False).eval()

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        terms = self._terms(batch)
        self.told({"loss": terms.total.detach(), "noise": terms.noise.detach(), "mask": terms.mask.detach()}, batch)
        return terms.total

    def _terms(self, batch: Batch) -> LINetTerms:
        """The mask's Dice is that of all ranks, so one without examples still adds its nothing to it."""
        if len(batch):
            return linet_terms(*self._step(batch, dropping=True))
        nothing = nothing_of(self.parameters())
        return LINetTerms(nothing, dice_loss(over_ranks(nothing.expand(3))))

    def _step(self, batch: Batch, *, dropping: bool) -> _Step:
        with torch.no_grad():
            z0 = torch.cat([self.vq.encode(image[None]).float() for image in batch.images(self.device)])
        mask = torch.stack([latent_mask(example.label == LESION) for example in batch.examples])[:, None]
        mask = mask.to(device=self.device, dtype=torch.float32)
        eps, t = batch.noise(z0.shape[1:], self.device), batch.timesteps(PUBLISHED.steps, self.device)
        texts = [example.paint_text for example in batch.examples]
        seen = linet_input(z0, mask, eps, t, self.noising())
        output = self.output(seen, t, self.heard(texts, batch) if dropping else texts)
        return _Step(self.to_tell(z0, eps, t), output, mask)

    def measures(self, batch: Batch) -> dict[str, list[float]]:
        """The loss is that of the noise alone. HU are compared to what was asked for, or else to the true lesion's."""
        with self.averaged():
            true, output, mask = self._step(batch, dropping=False)
            painted = [self._in_hu(crop) for crop in self._painted(batch)]
        there = [self._in_hu(example.image[0]) for example in batch.examples]
        lesions = [_lesion(example) for example in batch.examples]
        asked = [
            float(hu[lesion].mean()) if example.asked_hu is None else example.asked_hu
            for example, hu, lesion in zip(batch.examples, there, lesions, strict=True)
        ]
        return {
            "loss": [float(loss) for loss in linet_losses(true, output[:, :-1], mask, per=box_of(mask))],
            "hu_error": [lesion_hu_error(*made) for made in zip(painted, lesions, asked, strict=True)],
            "margin_hu": [
                margin_step_hu(made, lesion) - margin_step_hu(before, lesion)
                for made, before, lesion in zip(painted, there, lesions, strict=True)
            ],
        }

    def pictures(self, batch: Batch) -> dict[str, Picture]:
        with self.averaged():
            painted = self._painted(batch)
        made = {}
        for number, (example, crop) in enumerate(zip(batch.examples, painted, strict=True)):
            lesion = _lesion(example)
            made[str(number)] = side_by_side([example.image[0].numpy(), crop.numpy(), lesion], most_of(lesion))
        return made

    def _painted(self, batch: Batch) -> list[Tensor]:
        """Crops (z y x) on [0, 1]."""
        network = LINet(self.unet, self.vq, self.sampler(), self.text_here(), clip=self.recipe.clip)
        return network.paint(
            [
                PaintRequest(example.image[0], example.label == LESION, example.paint_text, example.seed)
                for example in batch.examples
            ]
        )

    def _in_hu(self, crop: Tensor) -> Field:
        return self.recipe.to_hu(crop.numpy())

    def published_state(self) -> dict[str, Tensor]:
        return self.published(dict(self.vq.state_dict()))


def _lesion(example: Example) -> NDArray[np.bool_]:
    lesion: NDArray[np.bool_] = example.label.numpy() == LESION
    return lesion
