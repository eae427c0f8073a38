"""Exponential moving average of a network's parameters, under the names that published checkpoints give it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

DECAY = 0.9999
COUNTERS = ("decay", "num_updates")
"""What the average keeps beside the averaged parameters."""


def key_of(name: str) -> str:
    """The average of a parameter is stored under the parameter's name without its dots."""
    return name.replace(".", "")


class Ema(nn.Module):
    """n <- n + 1;  d = min(decay, (1 + n) / (10 + n));  average <- average - (1 - d) (average - parameter).

    Averages are float32 whatever the parameters are: in bfloat16 a step of 1e-4 would be rounded away. Its state dict
    is `decay`, `num_updates`, then one entry a parameter (see `key_of`): `model_ema.*` of a checkpoint. Equal
    parameters give equal averages, so every rank of a DDP run keeps its own and none has to be sent; `module` may be
    the network or its DDP wrapper. Nothing waits for the device.
    """

    decay: Tensor
    num_updates: Tensor

    def __init__(self, module: nn.Module, decay: float = DECAY) -> None:
        """Starts as the parameters are now. Raises ValueError where two names differ by their dots alone."""
        super().__init__()
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"decay is {decay}, a number from 0 to 1 is wanted")
        parameters = dict(_bare(module).named_parameters())
        device = next((parameter.device for parameter in parameters.values()), None)
        self.register_buffer("decay", torch.tensor(decay, dtype=torch.float32, device=device))
        self.register_buffer("num_updates", torch.tensor(0, dtype=torch.int32, device=device))
        for name, parameter in parameters.items():
            if key_of(name) in self._buffers:
                raise ValueError(f"'{name}' and another name are both '{key_of(name)}' without dots")
            self.register_buffer(key_of(name), parameter.detach().clone().to(torch.float32))

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Once after every step of the optimiser."""
        self.num_updates += 1
        # 0-dimensional tensors on the device: min() in Python would wait for it
        n = self.num_updates.to(torch.float32)
        weight = 1.0 - torch.minimum(self.decay, (1.0 + n) / (10.0 + n))
        for average, parameter in self._pairs(module):
            average.lerp_(parameter.to(average), weight.to(average.device))

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """The averages become the parameters, in the parameters' dtype."""
        for average, parameter in self._pairs(module):
            parameter.copy_(average)

    @contextmanager
    def averaged(self, module: nn.Module) -> Iterator[None]:
        """Inside, `module` has the averaged parameters; after it, its own again, bit for bit.

        The tensors stay where they are, so that optimisers, DDP and compiled code keep what they refer to.
        """
        own = [parameter.detach().clone() for _, parameter in self._pairs(module)]
        self.copy_to(module)
        try:
            yield
        finally:
            with torch.no_grad():
                for kept, (_, parameter) in zip(own, self._pairs(module), strict=True):
                    parameter.copy_(kept)

    def _pairs(self, module: nn.Module) -> Iterator[tuple[Tensor, nn.Parameter]]:
        """(average, parameter), in the order of the parameters. Raises ValueError for another network's."""
        for name, parameter in _bare(module).named_parameters():
            average = self._buffers.get(key_of(name))
            if average is None or average.shape != parameter.shape:
                raise ValueError(f"parameter '{name}' {tuple(parameter.shape)} is not among those averaged")
            yield average, parameter


def _bare(module: nn.Module) -> nn.Module:
    if isinstance(module, DistributedDataParallel):
        bare: nn.Module = module.module
        return bare
    return module
