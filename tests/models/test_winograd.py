"""Winograd's convolution against the direct one in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models import winograd


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 11])
def test_direct_convolution(width: int, bias: bool) -> None:
    torch.manual_seed(width)
    conv = nn.Conv3d(3, 5, 3, bias=bias)
    x = torch.randn(2, 3, 4, 6, width).contiguous(memory_format=torch.channels_last_3d)
    offset = None if conv.bias is None else conv.bias.double()
    exact = F.conv3d(x.double(), conv.weight.double(), offset, padding=(0, 1, 1))
    padded = F.pad(x, winograd.padding(width))
    made = winograd.convolve(padded, winograd.transformed(conv.weight), conv.bias)[..., :width]
    assert made.shape == exact.shape
    assert float((made - exact).norm() / exact.norm()) < 5e-6


def test_it_pays_in_float32_on_processors_for_wide_and_large_features_alone() -> None:
    conv = nn.Conv3d(64, 64, 3)
    assert winograd.pays(conv, 16, 16, 16)
    assert not winograd.pays(conv, 8, 8, 8)
    assert not winograd.pays(nn.Conv3d(64, 1, 3), 16, 16, 16)
    assert not winograd.pays(conv.to(torch.bfloat16), 16, 16, 16)
    assert not winograd.pays(conv.to(device="meta", dtype=torch.float32), 16, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.pays(nn.Conv3d(64, 64, 3), 16, 16, 16)
