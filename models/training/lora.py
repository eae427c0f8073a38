"""Low-rank changes of a network's weights: W + B A, of which A and B are trained. Hu et al. 2022, eq. 3."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """W (o ...) -> W + B A, in W's shape; a convolution's inputs and taps are columns. It starts as W.

    B A is not scaled: alpha of Hu et al. is the rank.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        rank = min(rank, rows, columns)
        self.down = nn.Parameter(weight.new_empty(rank, columns).normal_(std=columns**-0.5))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        changed: Tensor = weight + (self.up @ self.down).view_as(weight)
        return changed


def train_low_rank(network: nn.Module, rank: int) -> None:
    """Of every linear layer and convolution; biases and norms are trained as they are, for they are small.

    Whoever reads `weight` of a layer gets the changed one. Raises ValueError for a rank below 1.
    """
    if rank < 1:
        raise ValueError(f"a rank of {rank} changes nothing; it should be 1 or more")
    for layer in [*network.modules()]:
        if isinstance(layer, nn.Linear | nn.Conv3d):
            layer.weight.requires_grad_(False)
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))


def is_low_rank(network: nn.Module) -> bool:
    return any(isinstance(module, LowRank) for module in network.modules())


@torch.no_grad()
def merged(network: nn.Module, names: list[str]) -> dict[str, Tensor]:
    """The state that the network would have without low-rank changes: `names` are those of before, in their order."""
    return {name: _tensor(network, name).detach() for name in names}


def _tensor(network: nn.Module, name: str) -> Tensor:
    layer, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(network.get_submodule(layer), leaf)
    return tensor
