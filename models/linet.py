"""LINet: paints a lesion into a CT crop by latent diffusion, inside a mask and as its attributes say.

encode -> sample inside the mask, the rest clean -> quantise and decode. After LesionDiffusion; Rombach et al. 2022,
section 4.5 for inpainting. Intensities are on [0, 1] (the HU curve is the caller's), axes (z y x) on the 1 mm model
grid; latents are half that size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import torch
import torch.nn.functional as F
from torch import Tensor

from models.batches import Batches
from models.conditioning import Conditioning, Told
from models.context import Attributes, ContextEncoder
from models.crops import Shape3, crop_about
from models.lesion_mask import lesions_as_reference
from models.noise import Noise, SeededNoise
from models.samplers import Known, Range, Sampler
from models.unet import UNet
from models.vq import VQ

CROP = (128, 128, 128)


@dataclass(frozen=True)
class PaintRequest:
    """One lesion: a crop (z y x) on [0, 1], where to paint in it, as what, and the seed of its noise."""

    image: Tensor
    mask: Tensor
    attributes: Attributes
    seed: int


class LINet:
    """Request in, painted crop out. `text` None paints without the attributes, as the released inference does.

    With `clip` no step takes a latent for one beyond the codebook, where decoding would take it back anyway.

    The UNet and the VQ-GAN stay on the devices they are loaded on. Threads may call at the same time: each device works
    for one of them, so that on two devices one batch is decoded while the next is sampled.
    """

    def __init__(
        self,
        unet: UNet,
        vq: VQ,
        sampler: Sampler,
        text: ContextEncoder | None,
        *,
        guidance: float = 1.0,
        batches: Batches | None = None,
        clip: bool = False,
    ) -> None:
        self.unet, self.vq, self.sampler, self.batches = unet, vq, sampler, batches or Batches()
        self._range = _codebook(vq).to(self._unet_device) if clip else None
        self.conditioning = Conditioning(text, guidance)
        self._sampling = Lock()
        self._coding = self._sampling if self._vq_device == self._unet_device else Lock()

    def paint(self, requests: Sequence[PaintRequest]) -> list[Tensor]:
        """Painted crops (z y x), float32.

        Raises ValueError for an empty mask or a crop whose sides are not divisible by 8, OutOfMemoryError.
        """
        return self.batches.run(requests, lambda asked: (tuple(asked.image.shape), len(asked.attributes)), self._paint)

    @torch.inference_mode()
    def _paint(self, requests: Sequence[PaintRequest]) -> list[Tensor]:
        image = torch.stack([request.image for request in requests])[:, None].to(self._vq_device)
        if any(side % (divisor := 2 * self.unet.config.divisor) for side in image.shape[2:]):
            raise ValueError(f"the crop is {tuple(image.shape[2:])}; its sides should be divisible by {divisor}")
        mask = torch.stack([latent_mask(request.mask) for request in requests])[:, None].to(self._unet_device)
        z0 = self._encode(image).to(self._unet_device)
        noise = SeededNoise([request.seed for request in requests], tuple(z0.shape[1:]), self._unet_device)
        with self._sampling:
            told = self.conditioning.tell([request.attributes for request in requests])
            z = self.sample(z0, mask, noise, told)
        return list(self._decode(z.to(self._vq_device)))

    def sample(self, z0: Tensor, mask: Tensor, noise: Noise, told: Told) -> Tensor:
        """Latent (b 4 z y x) equal to z0 outside the mask (b 1 z y x); the network sees both."""
        denoiser = self.conditioning.denoiser(self.unet, mask.to(z0.dtype), told)
        return self.sampler(denoiser, noise, Known(z0, mask), within=self._range)

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
        z = self._encode(image[None, None].to(self._vq_device)).to(self._unet_device)
        latent = latent_mask(mask).to(self._unet_device)
        for lesion, about, draws in zip(lesions_as_reference(mask.numpy()), attributes, noise, strict=True):
            window = tuple(slice(part.start // 2, part.stop // 2) for part in crop_about(lesion, crop).slices)
            seen = z[:, :, window[0], window[1], window[2]]
            told = self.conditioning.tell([about])
            seen.copy_(self.sample(seen.clone(), latent[window][None, None], draws, told))
        return self._decode(z.to(self._vq_device))[0]

    def _encode(self, image: Tensor) -> Tensor:
        """(b 1 z y x) -> float32 latents; one by one, which keeps a device busy and takes the least memory."""
        with self._coding:
            return torch.cat([self.vq.encode(volume[None]).float() for volume in image])

    def _decode(self, z: Tensor) -> Tensor:
        """Latents (b 4 z y x) -> float32 volumes (b 2z 2y 2x) on the processor, one by one."""
        with self._coding:
            return torch.cat([self.vq.decode(latent[None])[0].float().cpu() for latent in z])

    @property
    def _unet_device(self) -> torch.device:
        return self.unet.context_linear_projection.weight.device

    @property
    def _vq_device(self) -> torch.device:
        return self.vq.quant_conv.weight.device


def _codebook(vq: VQ) -> Range:
    """(c 1 1 1), least and most of each channel."""
    codes = vq.quantize.embedding.weight.detach().float()[:, :, None, None, None]
    return Range(codes.amin(dim=0), codes.amax(dim=0))


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
