"""What the VQ-GAN is trained with: pixel-wise and perceptual error, its codebook, and two discriminators.

Esser et al. 2021, eq. 5 to 7, in three dimensions: one discriminator sees a plane, the other the volume, and the
perceptual network the same plane. Volumes are (b 1 z y x) on [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from models.training.codebook import COMMITMENT_WEIGHT, Reconstruction, codebook_loss
from models.training.discriminators import PatchDiscriminator, judge_loss
from models.training.perceptual import LPIPS
from models.training.ranks import over_ranks, ranks

_TINY, _MOST = 1e-4, 1e4


@dataclass(frozen=True, kw_only=True)
class VQLossConfig:
    """Weights and switches. The last three are what the released training got wrong; true trains as it did."""

    error: Literal["absolute", "rms"] = "absolute"
    """rms: each volume's root of the mean square, which small networks find sooner."""
    perceptual: bool = True
    adversarial: bool = True
    adversarial_from_step: int = 50_001
    adversarial_weight: float = 0.5
    commitment_weight: float = COMMITMENT_WEIGHT
    perceptual_of_unit_range: bool = False
    """The perceptual network sees [0, 1]; it was made for [-1, 1]."""
    perceptual_dropout: bool = False
    """Its heads drop half of their channels while training, so that the same pair has another distance each time."""
    commitment_on_codes: bool = False
    """The commitment weight multiplies the codes' term: latents commit four times as much as codes move."""


AS_RELEASED = VQLossConfig(perceptual_of_unit_range=True, perceptual_dropout=True, commitment_on_codes=True)


class VQTerms(NamedTuple):
    """Of the autoencoder's step, scalars. `total` is to be minimised, the rest to be told."""

    total: Tensor
    pixelwise: Tensor
    perceptual: Tensor
    codebook: Tensor
    adversarial: Tensor
    adversarial_weight: Tensor


class JudgeTerms(NamedTuple):
    """Of the discriminators' step: `total` to be minimised, and the mean judgements."""

    total: Tensor
    real_plane: Tensor
    fake_plane: Tensor
    real_volume: Tensor
    fake_volume: Tensor


class VQLoss(nn.Module):
    """Holds the perceptual network, if there is one, and the discriminators; `loss.*` of a published VQ checkpoint."""

    def __init__(self, config: VQLossConfig = VQLossConfig()) -> None:
        super().__init__()
        self.config = config
        self.perceptual_loss = LPIPS(dropout=config.perceptual_dropout) if config.perceptual else None
        self.frame_discriminator = PatchDiscriminator(2)
        self.ct_discriminator = PatchDiscriminator(3)
        if not config.adversarial:
            self.requires_grad_(False)

    def adversarial(self, step: int) -> bool:
        """Whether the discriminators take part in this step. Before, they neither judge nor learn."""
        return self.config.adversarial and step >= self.config.adversarial_from_step

    def autoencoder(
        self, volume: Tensor, made: Reconstruction, planes: Tensor, *, step: int, last_weight: Tensor
    ) -> VQTerms:
        """Loss of the autoencoder; the discriminators get no gradients of it.

        `planes` (b) are the indices along z that the perceptual network and one discriminator see, `last_weight` the
        autoencoder's last (`vq.decoder.conv_out.weight`), at which the adversarial term is weighed. Every rank has to
        call it. Raises RuntimeError where the perceptual network has no weights.
        """
        pixelwise = self._pixelwise(volume.float() - made.image.float())
        perceptual = self._perceptual(plane_of(volume, planes), plane_of(made.image, planes))
        codebook = codebook_loss(made, weight=self.config.commitment_weight, swapped=self.config.commitment_on_codes)
        error = pixelwise + perceptual
        adversarial = weight = torch.zeros_like(error)
        if self.adversarial(step):
            with _frozen(self.frame_discriminator, self.ct_discriminator):
                plane, whole = self._judge(made.image, planes)
            adversarial = -0.5 * (plane.mean() + whole.mean())
            weight = self.config.adversarial_weight * adaptive_weight(error, adversarial, last_weight)
        total = error + codebook + weight * adversarial
        told = (pixelwise, perceptual, codebook, adversarial, weight)
        return VQTerms(total, *(term.detach() for term in told))

    def discriminators(self, volume: Tensor, image: Tensor, planes: Tensor) -> JudgeTerms:
        """Loss of the discriminators on a volume and its reconstruction; the autoencoder gets no gradients of it."""
        real_plane, real_volume = self._judge(volume, planes)
        fake_plane, fake_volume = self._judge(image.detach(), planes)
        total = 0.5 * (judge_loss(real_plane, fake_plane) + judge_loss(real_volume, fake_volume))
        judged = (real_plane, fake_plane, real_volume, fake_volume)
        return JudgeTerms(total, *(logits.detach().mean() for logits in judged))

    def _judge(self, volume: Tensor, planes: Tensor) -> tuple[Tensor, Tensor]:
        return self.frame_discriminator(plane_of(volume, planes)), self.ct_discriminator(volume)

    def _pixelwise(self, difference: Tensor) -> Tensor:
        if self.config.error == "absolute":
            return difference.abs().mean()
        return difference.square().mean(dim=(1, 2, 3, 4)).sqrt().mean()

    def _perceptual(self, real: Tensor, made: Tensor) -> Tensor:
        if self.perceptual_loss is None:
            return real.new_zeros(())
        if not self.config.perceptual_of_unit_range:
            real, made = 2 * real - 1, 2 * made - 1
        distance: Tensor = self.perceptual_loss(real, made).mean()
        return distance


def plane_of(volume: Tensor, planes: Tensor) -> Tensor:
    """(b c z y x) and an index along z for each sample (b) -> (b c y x)."""
    return volume[torch.arange(len(volume), device=volume.device), :, planes.to(volume.device)]


def adaptive_weight(error: Tensor, adversarial: Tensor, last_weight: Tensor) -> Tensor:
    """How much larger the error's gradient at the last weight is than the adversarial one. Esser et al., eq. 7."""
    of_error, of_adversarial = (
        over_ranks(torch.autograd.grad(term, last_weight, retain_graph=True)[0]).norm() / ranks()
        for term in (error, adversarial)
    )
    weight: Tensor = (of_error / (of_adversarial + _TINY)).clamp(0.0, _MOST)
    return weight


@contextmanager
def _frozen(*modules: nn.Module) -> Iterator[None]:
    """Inside, parameters need no gradients; what is computed of them inside gives them none later, either."""
    needing = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in needing:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in needing:
            parameter.requires_grad_(True)
