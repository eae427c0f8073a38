"""LINet: paints a lesion into a CT crop by latent diffusion, inside a mask and as its attributes say.

encode -> sample inside the mask, the rest clean -> quantise and decode. After LesionDiffusion; Rombach et al. 2022,
section 4.5 for inpainting. Intensities are on [0, 1] (the HU curve is the caller's), axes (z y x) on the 1 mm model
grid; latents are half that size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.context import Attributes, ContextEncoder
from models.crops import Shape3, crop_about
from models.lesion_mask import lesions_as_reference
from models.noise import Noise, SeededNoise
from models.samplers import Known, Sampler
from models.unet import UNet
from models.vq import VQ

LATENT_CHANNELS = 4
CROP = (128, 128, 128)


@dataclass(frozen=True)
class PaintRequest:
    """One lesion: a crop (z y x) on [0, 1], where to paint in it, as what, and the seed of its noise."""

    image: Tensor
    mask: Tensor
    attributes: Attributes
    seed: int


class LINet:
    """Request in, painted crop out; a batch of crops of one size. The UNet and the VQ-GAN stay where they are loaded.

    `text` None paints without the attributes, as the released inference does.
    """

    def __init__(self, unet: UNet, vq: VQ, sampler: Sampler, text: ContextEncoder | None) -> None:
        self.unet, self.vq, self.sampler, self.text = unet, vq, sampler, text

    @torch.inference_mode()
    def paint(self, requests: Sequence[PaintRequest]) -> list[Tensor]:
        """Painted crops (z y x), float32. Raises ValueError for an empty mask or a size that does not fit."""
        image = torch.stack([request.image for request in requests])[:, None].to(self._device)
        z0 = self.vq.encode(image).float()
        mask = torch.stack([latent_mask(request.mask) for request in requests])[:, None].to(self._device)
        noise = SeededNoise([request.seed for request in requests], tuple(z0.shape[1:]), self._device)
        context = self.text.encode([request.attributes for request in requests]) if self.text else None
        painted = self.vq.decode(self.sample(z0, mask, noise, context)).float()
        return [crop[0].cpu() for crop in painted]

    def sample(self, z0: Tensor, mask: Tensor, noise: Noise, context: Tensor | None) -> Tensor:
        """Latent (b 4 z y x) equal to z0 outside the mask (b 1 z y x); the network sees both."""
        channel = mask.to(z0.dtype)

        def eps(x: Tensor, t: Tensor) -> Tensor:
            out: Tensor = self.unet(torch.cat([x, channel], dim=1), t, context)
            return out[:, :LATENT_CHANNELS].float()

        return self.sampler(eps, noise, Known(z0, mask))

    @torch.inference_mode()
    def paint_volume(
        self, image: Tensor, mask: Tensor, attributes: Sequence[Attributes], noise: Sequence[Noise], crop: Shape3 = CROP
    ) -> Tensor:
        """The reference's way, for parity: the whole volume (z y x) goes through the VQ-GAN and changes everywhere.

        The lesions of `mask` are painted one after the other, later ones seeing earlier ones; `attributes` and `noise`
        follow `lesions_as_reference`. An odd size loses its last voxel. Raises ValueError where the volume is smaller
        than the crop.
        """
        if any(side < least for side, least in zip(image.shape, crop, strict=True)):
            raise ValueError(f"the volume is {tuple(image.shape)}, the crop {crop}: smaller volumes need scope crop")
        z = self.vq.encode(image[None, None].to(self._device)).float()
        latent = latent_mask(mask).to(self._device)
        for lesion, about, draws in zip(lesions_as_reference(mask.numpy()), attributes, noise, strict=True):
            window = tuple(slice(part.start // 2, part.stop // 2) for part in crop_about(lesion, crop).slices)
            context = self.text.encode([about]) if self.text else None
            seen = z[:, :, window[0], window[1], window[2]]
            seen.copy_(self.sample(seen.clone(), latent[window][None, None], draws, context))
        return self.vq.decode(z).float()[0, 0].cpu()

    @property
    def _device(self) -> torch.device:
        return self.vq.quant_conv.weight.device


def latent_mask(mask: Tensor) -> Tensor:
    """A mask (z y x) on the latent's grid, bool: every second voxel, as the networks were trained.

    A mask so thin that nothing of it is left there takes every latent voxel that it touches. Raises ValueError for an
    empty mask.
    """
    if not bool(mask.any()):
        raise ValueError("the mask is empty")
    z, y, x = (2 * (side // 2) for side in mask.shape)
    even = mask[:z:2, :y:2, :x:2] > 0
    if bool(even.any()):
        return even
    return F.max_pool3d((mask > 0).float()[None, None], 2)[0, 0] > 0
