"""Batch normalisation over the batches of all ranks. Ioffe & Szegedy 2015, algorithm 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.training.ranks import over_ranks, ranks


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """torch's in a single process; among several, with the moments of the whole batch, on any device.

    torch's own SyncBatchNorm has the same names in its state dict, but refuses to train on CPUs.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 3:
            raise ValueError(f"features are {tuple(x.shape)}, (b c ...) is wanted")

    def forward(self, features: Tensor) -> Tensor:
        """(b c ...) -> the same shape. While training every rank has to call it; their batches may differ in size."""
        if not self.training or ranks() == 1:
            alone: Tensor = super().forward(features)
            return alone
        self._check_input_dim(features)
        x, voxels = features.float(), [axis for axis in range(features.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(features.ndim)]
        own = x.new_tensor([x.numel() // x.shape[1]])
        summed = over_ranks(torch.cat([x.sum(dim=voxels), own]))
        count = summed[-1]
        mean = summed[:-1] / count
        about = x - mean.view(shape)
        var = over_ranks(about.square().sum(dim=voxels)) / count  # about the mean, so that nothing cancels
        self._remember(mean.detach(), (var * count / (count - 1)).detach())
        scale = torch.rsqrt(var + self.eps) * self.weight
        return (about * scale.view(shape) + self.bias.view(shape)).to(features.dtype)

    def _remember(self, mean: Tensor, unbiased: Tensor) -> None:
        for buffer, now in ((self.running_mean, mean), (self.running_var, unbiased)):
            buffer.lerp_(now.to(buffer), self.momentum)
        self.num_batches_tracked += 1
