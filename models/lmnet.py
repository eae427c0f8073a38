"""LMNet: draws a lesion's mask into a box, from the organs around it and the lesion's attributes.

Diffusion in voxel space over a mask in {0, 1}; the network sees [x_t, organ ids / 104, host organ, box]. After
LesionDiffusion. Crops are (z y x) on the 1 mm model grid, 64 x 152 x 152 in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.batches import Batches
from models.conditioning import Conditioning, Told
from models.context import Attributes, ContextEncoder
from models.lesion_mask import DrawnMask, mask_as_reference, mask_of_volume, soft
from models.noise import Noise, SeededNoise
from models.samplers import Range, Sampler
from models.unet import UNet

ORGAN_CLASSES = 104
_MASKS = Range(torch.tensor(0.0), torch.tensor(1.0))


@dataclass(frozen=True)
class MaskRequest:
    """One lesion to draw: organ ids, its host organ and its box (z y x), attributes, volume, and its noise's seed."""

    organ_ids: NDArray[np.uint8]
    host: NDArray[np.bool_]
    box: NDArray[np.bool_]
    attributes: Attributes
    volume_vox: float
    seed: int


@dataclass(frozen=True)
class Drawing:
    """What came out: the sample, its mask, and the mask on [0, 1] whose surface lies between the voxels."""

    sample: NDArray[np.float32]
    mask: DrawnMask

    @property
    def soft(self) -> NDArray[np.float32]:
        return soft(self.sample, self.mask)


class LMNet:
    """Request in, mask out. `text` None draws without the attributes.

    A mask has the volume its request asks for, or `as_reference` one near to that of its box. With `clip` no step takes
    it for less than 0 or more than 1.
    """

    def __init__(
        self,
        unet: UNet,
        sampler: Sampler,
        text: ContextEncoder | None,
        *,
        guidance: float = 1.0,
        batches: Batches | None = None,
        as_reference: bool = False,
        clip: bool = False,
    ) -> None:
        self.as_reference, self.clip = as_reference, clip
        self.unet, self.sampler, self.batches = unet, sampler, batches or Batches()
        self.conditioning = Conditioning(text, guidance)

    def draw(self, requests: Sequence[MaskRequest]) -> list[Drawing | None]:
        """Masks of the volumes asked for, each inside its box; None where a sample shows no lesion.

        Raises ValueError for an empty box or a crop whose sides are not divisible by 4, OutOfMemoryError.
        """
        return self.batches.run(requests, lambda request: (request.box.shape, len(request.attributes)), self._draw)

    @torch.inference_mode()
    def _draw(self, requests: Sequence[MaskRequest]) -> list[Drawing | None]:
        device = self.unet.context_linear_projection.weight.device
        condition = torch.stack([condition_of(request.organ_ids, request.host, request.box) for request in requests])
        noise = SeededNoise([request.seed for request in requests], (1, *condition.shape[2:]), device)
        told = self.conditioning.tell([request.attributes for request in requests])
        samples = self.sample(condition.to(device), noise, told)[:, 0].float().cpu().numpy()
        return [self._drawing(sample, request) for sample, request in zip(samples, requests, strict=True)]

    def sample(self, condition: Tensor, noise: Noise, told: Told) -> Tensor:
        """Condition (b 3 z y x) -> sample (b 1 z y x), near 1 in the lesion and near 0 elsewhere."""
        denoiser = self.conditioning.denoiser(self.unet, condition, told)
        return self.sampler(denoiser, noise, within=_MASKS if self.clip else None)

    def _drawing(self, sample: NDArray[np.float32], request: MaskRequest) -> Drawing | None:
        if self.as_reference:
            mask = mask_as_reference(sample, int(request.box.sum()))
            return Drawing(sample, mask) if mask.volume_vox else None
        drawn = mask_of_volume(sample, request.box, request.volume_vox)
        return None if drawn is None else Drawing(sample, drawn)


def condition_of(organ_ids: NDArray[np.uint8], host: NDArray[np.bool_], box: NDArray[np.bool_]) -> Tensor:
    """(3 z y x) float32: ids on [0, 1], host organ, box. Raises ValueError for an empty box."""
    if not bool(box.any()):
        raise ValueError("the box is empty")
    ids = np.asarray(organ_ids, np.float32) / ORGAN_CLASSES
    return torch.from_numpy(np.stack([ids, np.asarray(host, np.float32), np.asarray(box, np.float32)]))
