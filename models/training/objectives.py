"""What LMNet and LINet learn: to tell the noise in x_t (Ho et al. 2020, eq. 14), or its velocity; LINet's mask besides.

Volumes are (b c z y x). LMNet diffuses the mask of a lesion in voxels, {0, 1}; LINet the latent of a CT crop, inside
the lesion's mask alone. Losses are float32 whatever the network's dtype is, and means over the batch, so that the mean
that DDP takes over ranks is that of the whole batch; where a loss is no such mean, its sums go over all ranks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.diffusion import PUBLISHED, Noising, Schedule
from models.training.ranks import over_ranks

BOX_WEIGHT = 1000.0
"""Of a voxel in the lesion's box, in LMNet's loss; one elsewhere."""

_TINY = 1e-6
_VOXELS = (1, 2, 3, 4)


def box_of(mask: Tensor) -> Tensor:
    """The smallest box about each mask (b 1 z y x), as a mask of the same dtype; nothing about nothing."""
    box = torch.ones_like(mask)
    for axis in (2, 3, 4):
        hit = (mask > 0).amax(dim=[other for other in (2, 3, 4) if other != axis], keepdim=True).to(torch.int8)
        between = hit.cummax(axis).values & hit.flip(axis).cummax(axis).values.flip(axis)
        box = box * between.to(mask.dtype)
    return box


def lmnet_input(noised: Tensor, conditions: Tensor) -> Tensor:
    """x_t (b 1 z y x) and [organ map / 104, host organ, box] (b 3 z y x) -> what LMNet's UNet sees (b 4 z y x)."""
    return torch.cat([noised, conditions], dim=1)


def lmnet_losses(true: Tensor, told: Tensor, box: Tensor, *, box_weight: float = BOX_WEIGHT) -> Tensor:
    """Noise or velocity, and the network's, (b 1 z y x) each -> one loss a sample (b): mean of w (true - told)^2, not
    divided by the sum of w."""
    squared = (true.float() - told.float()).square()
    return torch.where(box > 0, box_weight * squared, squared).mean(dim=_VOXELS)


def linet_input(z0: Tensor, mask: Tensor, eps: Tensor, t: Tensor, noising: Noising) -> Tensor:
    """Latent (b 4 z y x), noised inside the mask (b 1 z y x) and clean outside, then the mask (b 5 z y x)."""
    return torch.cat([torch.where(mask > 0, noising(z0, eps, t), z0), mask.to(z0.dtype)], dim=1)


def linet_losses(true: Tensor, told: Tensor, mask: Tensor, *, per: Tensor) -> Tensor:
    """One loss a sample (b): |true - told| summed over channels and the voxels of `mask`, a voxel of `per`.

    `per` is the mask's box (`box_of`), as published: the finer the lesion's shape, the less it counts.
    """
    difference = (true.float() - told.float()).abs() * (mask > 0)
    return difference.sum(dim=_VOXELS) / ((per > 0).sum(dim=_VOXELS) + _TINY)


def dice_sums(logits: Tensor, mask: Tensor) -> Tensor:
    """(b 1 z y x) twice -> sums over the batch (3): of overlap, of the predicted and of the true mask.

    To be added over ranks before `dice_loss`, which is no mean of losses.
    """
    predicted, true = torch.sigmoid(logits.float()), (mask > 0).float()
    return torch.stack([(predicted * true).sum(), predicted.sum(), true.sum()])


def dice_loss(sums: Tensor) -> Tensor:
    """1 - 2 overlap / (predicted + true). Milletari et al. 2016, section 3, without squares."""
    overlap, predicted, true = sums.unbind()
    return 1 - (2 * overlap + _TINY) / (predicted + true + _TINY)


class LINetTerms(NamedTuple):
    """Of one batch, scalars. The reference logs `noise` alone, and minimises the sum."""

    noise: Tensor
    mask: Tensor

    @property
    def total(self) -> Tensor:
        return self.noise + self.mask


def linet_terms(true: Tensor, output: Tensor, mask: Tensor) -> LINetTerms:
    """Noise or velocity (b 4 z y x), the UNet's output (b 5 z y x), the lesion on the latent's grid (b 1 z y x) -> both
    terms.

    Channels 0 to 3 of the output are what is told of the noise, channel 4 is the logit of the mask. Every rank has to
    call it.
    """
    told, logits = output[:, :-1], output[:, -1:]
    noise = linet_losses(true, told, mask, per=box_of(mask)).mean()
    return LINetTerms(noise, dice_loss(over_ranks(dice_sums(logits, mask))))


def bound_weights(schedule: Schedule = PUBLISHED) -> Tensor:
    """Weight of each step's squared error in the variational bound (steps), float32. Ho et al. 2020, eq. 12.

    For logging: nothing is trained with it. Step 0, which has no posterior variance, takes that of step 1.
    """
    buffers = schedule.buffers()
    betas, abar, variance = (buffers[k].double() for k in ("betas", "alphas_cumprod", "posterior_variance"))
    weights = betas[1:].square() / (2 * variance[1:] * (1 - betas[1:]) * (1 - abar[1:]))
    return torch.cat([weights[:1], weights]).float()
