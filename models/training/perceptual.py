"""LPIPS: how different two pictures look to VGG16. Zhang et al. 2018, eq. 1; Simonyan & Zisserman 2015, table 1, D.

Both networks are frozen and their weights are published elsewhere; names follow the published VQ checkpoint, which
holds them too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # VGG16's convolutions, as torchvision counts
_WIDTHS = (64, 128, 256, 512, 512)
_TINY = 1e-10


class VGG16(nn.Module):
    """The convolutions of VGG16 in five stages, each numbered as in the whole network."""

    def __init__(self) -> None:
        super().__init__()
        for stage, (first, out) in enumerate(pairwise((3, *_WIDTHS))):
            widths = (first, *[out] * len(_STAGES[stage]))
            convs = {
                str(number): nn.utils.skip_init(nn.Conv2d, a, b, 3, padding=1)
                for number, (a, b) in zip(_STAGES[stage], pairwise(widths), strict=True)
            }
            self.add_module(f"slice{stage + 1}", nn.ModuleDict(convs))

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        """(b 3 y x) -> (b c y x) after each stage; y and x halve between stages."""
        for number, stage in enumerate(self.children()):
            if number:
                x = F.max_pool2d(x, 2)
            for conv in stage.children():
                x = F.relu(conv(x))
            yield x


class ScalingLayer(nn.Module):
    """From [-1, 1] to the statistics of VGG16's own pictures. One grey channel becomes three."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift_p", torch.zeros(1, 1, 1, 1))  # of the checkpoint's names; nothing reads the two
        self.register_buffer("scale_p", torch.ones(1, 1, 1, 1))
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.shift) / self.scale


class _Head(nn.Module):
    """Weighs the channels of one stage."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(0.5), nn.utils.skip_init(nn.Conv2d, channels, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y


class LPIPS(nn.Module):
    """The perceptual distance of pictures. It says nothing before weights are loaded, and RuntimeError if asked.

    Always in evaluation mode, but for `dropout`, which the released training left on.
    """

    def __init__(self, *, dropout: bool = False) -> None:
        super().__init__()
        self.dropout, self.loaded = dropout, False
        self.scaling_layer = ScalingLayer()
        self.net = VGG16()
        for stage, channels in enumerate(_WIDTHS):
            self.add_module(f"lin{stage}", _Head(channels))
        self.requires_grad_(False)
        self.train()
        self.register_load_state_dict_post_hook(_remember)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> LPIPS:
        """As any module, but that without `dropout` it stays in evaluation mode."""
        super().train(mode and self.dropout)
        return self

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Pictures (b 1 y x) or (b 3 y x) on [-1, 1], 16 pixels a side at least -> (b 1 1 1)."""
        if not self.loaded:
            raise RuntimeError("the perceptual network has no weights: load them, or train without it")
        total: Tensor = a.new_zeros(())
        features = zip(self.net(self.scaling_layer(a)), self.net(self.scaling_layer(b)), strict=True)
        for stage, (of_a, of_b) in enumerate(features):
            squared = (_normalised(of_a) - _normalised(of_b)).square()
            total = total + self.get_submodule(f"lin{stage}")(squared).mean(dim=(2, 3), keepdim=True)
        return total


def _normalised(features: Tensor) -> Tensor:
    """Unit length over the channels."""
    length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / (length + _TINY)


def _remember(module: nn.Module, incompatible: Any) -> None:
    if isinstance(module, LPIPS):
        module.loaded = not incompatible.missing_keys


def lpips_state(vgg16: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `LPIPS` from torchvision's VGG16 (`features.N.*`) and its own heads (`linN.model.1.weight`).

    Raises KeyError with the name that is not there.
    """
    stages = {f"net.{name}": vgg16["features." + name.split(".", 1)[1]] for name in VGG16().state_dict()}
    linear = {f"lin{stage}.model.1.weight": heads[f"lin{stage}.model.1.weight"] for stage in range(len(_WIDTHS))}
    scaling = {f"scaling_layer.{name}": tensor for name, tensor in ScalingLayer().state_dict().items()}
    return {**scaling, **stages, **linear}
