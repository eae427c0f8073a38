"""Through the VQ-GAN with its codebook in training. van den Oord et al. 2017, section 3.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.training.ranks import over_ranks
from models.vq import VQ

COMMITMENT_WEIGHT = 0.25


class Reconstruction(NamedTuple):
    """What an autoencoder makes of a volume."""

    image: Tensor  # (b 1 z y x)
    latent: Tensor  # (b c z/2 y/2 x/2), as encoded
    codes: Tensor  # the nearest codes, same shape
    indices: Tensor  # of these (b z/2 y/2 x/2), int64


def reconstruct(vq: VQ, volume: Tensor) -> Reconstruction:
    """(b 1 z y x) on [0, 1] with even sides. The decoder's gradient is handed to the encoder past the codes."""
    latent = vq.encode(volume)
    codes, indices = vq.quantize(latent)
    straight_through = latent + (codes - latent).detach()
    return Reconstruction(vq.decode(straight_through, quantise=False), latent, codes, indices)


def codebook_loss(made: Reconstruction, *, weight: float = COMMITMENT_WEIGHT, swapped: bool = False) -> Tensor:
    """|sg(z) - e|^2 + weight |z - sg(e)|^2, means: codes move to latents, and latents commit to them. Eq. 3.

    `swapped` weighs the codes' term instead, as the released training does. The value is the same, the gradients are
    not.
    """
    latent, codes = made.latent.float(), made.codes.float()
    move, commit = F.mse_loss(codes, latent.detach()), F.mse_loss(latent, codes.detach())
    return weight * move + commit if swapped else move + weight * commit


class CodebookUse(NamedTuple):
    """How much of a codebook a batch uses."""

    perplexity: float  # exp of the entropy: so many codes, equally often, would be as varied
    used: int


def codebook_use(indices: Tensor, codes: int) -> CodebookUse:
    """Indices of any shape, of a codebook of so many codes."""
    counts = torch.bincount(indices.flatten(), minlength=codes).double()
    share = counts / counts.sum()
    entropy = torch.special.entr(share).sum()
    return CodebookUse(float(entropy.exp()), int((counts > 0).sum()))


@torch.no_grad()
def restart_codes(vq: VQ, unused: Tensor, volume: Tensor | None, seed: int) -> None:
    """Codes that are `unused` (codes), bool, go where latents of a volume (1 1 z y x) lie, drawn by the seed.

    Dhariwal et al. 2020, section 3.1. Every rank has to call it; one of them gives the volume, whose latents all take.
    """
    count = int(unused.sum())
    if not count:
        return
    codes = vq.quantize.embedding.weight
    drawn = torch.zeros(count, codes.shape[1], device=codes.device)
    if volume is not None:
        latents = vq.encode(volume).float().movedim(1, -1).reshape(-1, codes.shape[1])
        at = np.random.Generator(np.random.Philox(key=seed)).integers(len(latents), size=count)
        drawn = latents[torch.from_numpy(at).to(latents.device)]
    codes[unused] = over_ranks(drawn).to(codes.dtype)


def unit_latents(state: Mapping[str, Tensor], mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    """The state of a VQ-GAN whose latents are (z - mean) / std, and that is otherwise the same.

    `mean` (c) is of each channel, `std` of all together: scaled alike, every latent keeps its nearest code. Diffusion
    wants about the variance of its noise (Rombach et al. 2022, appendix G).
    """
    changed = dict(state)
    changed["quant_conv.weight"] = state["quant_conv.weight"] / std
    changed["quant_conv.bias"] = (state["quant_conv.bias"] - mean) / std
    changed["quantize.embedding.weight"] = (state["quantize.embedding.weight"] - mean) / std
    back = state["post_quant_conv.weight"]
    changed["post_quant_conv.weight"] = back * std
    changed["post_quant_conv.bias"] = state["post_quant_conv.bias"] + back[:, :, 0, 0, 0] @ mean
    return changed
