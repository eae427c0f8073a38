"""One training step's gradients, by one process or by two that share the batch."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from models.training.codebook import reconstruct
from models.training.objectives import linet_terms
from models.training.vq_loss import VQLoss, VQLossConfig
from models.vq import VQ, VQConfig

Step = dict[str, Tensor]


def alone() -> Step:
    return _step(slice(0, 2), 1)


def by_two(folder: Path) -> list[Step]:
    """Each of two processes trains on its half of the batch; gradients are averaged, as DDP does."""
    spawn(_rank, (folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def _rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    step = _step(slice(rank, rank + 1), 2)
    torch.save(step, folder / f"{rank}.pt")
    dist.destroy_process_group()


def _step(part: slice, ranks: int) -> Step:
    torch.manual_seed(7)
    with torch.enable_grad():
        return {**_linet(part, ranks), **_vq(part, ranks)}


def _linet(part: slice, ranks: int) -> Step:
    unet, eps = nn.Conv3d(5, 5, 3, padding=1), torch.randn(2, 4, 6, 6, 6)
    seen, mask = torch.randn(2, 5, 6, 6, 6), torch.zeros(2, 1, 6, 6, 6)
    mask[0, :, 1:3, 2:5, 1:2] = 1
    mask[1, :, 0:5, 2:6, 1:4] = 1  # of another size, so that a mean of two Dice losses is another number
    terms = linet_terms(eps[part], unet(seen[part]), mask[part])
    terms.total.backward()
    return {"linet.dice": terms.mask.detach(), **_averaged("linet", unet, ranks)}


def _vq(part: slice, ranks: int) -> Step:
    vq, loss = VQ(VQConfig(width=16, codes=8)), VQLoss(VQLossConfig(perceptual=False, adversarial_from_step=0))
    volume, planes = torch.rand(2, 1, 8, 16, 16)[part], torch.tensor([2, 5])[part]
    made = reconstruct(vq, volume)
    terms = loss.autoencoder(volume, made, planes, step=0, last_weight=vq.decoder.conv_out.weight)
    terms.total.backward()
    loss.discriminators(volume, made.image, planes).total.backward()
    moments = {f"moments.{name}": buffer for name, buffer in loss.named_buffers()}
    told = {"vq.weight": terms.adversarial_weight, **moments}
    return {**told, **_averaged("vq", vq, ranks), **_averaged("judges", loss, ranks)}


def _averaged(name: str, module: nn.Module, ranks: int) -> Step:
    gradients = {f"{name}.{key}": p.grad for key, p in module.named_parameters() if p.grad is not None}
    for gradient in gradients.values():
        if ranks > 1:
            dist.all_reduce(gradient)
            gradient /= ranks
    return gradients
