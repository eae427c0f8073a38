"""Normalisation and convolution by slabs, in bfloat16 and under autocast, against the textbook chain in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import norm_silu
from models.layers import SLAB_VALUES, GroupNorm, Upsample, norm_silu_conv

SMALL_SLABS = 4 * 32 * 16 * 16  # four planes


@pytest.fixture
def parts() -> list[Tensor]:
    """Two parts of a feature in bfloat16, channels last, whose channels' means are far from zero."""
    torch.manual_seed(0)
    made = [torch.randn(2, channels, 12, 16, 16) * 2 + 5 * torch.randn(channels, 1, 1, 1) for channels in (32, 64)]
    return [part.bfloat16().contiguous(memory_format=torch.channels_last_3d) for part in made]


@pytest.fixture
def norm() -> GroupNorm:
    torch.manual_seed(1)
    norm = GroupNorm(32, 96)
    nn.init.normal_(norm.weight, 1.0, 0.2)
    nn.init.normal_(norm.bias)
    return norm


def textbook(parts: list[Tensor], norm: GroupNorm, conv: nn.Conv3d) -> Tensor:
    x = torch.cat(parts, dim=1).double()
    normalised = F.group_norm(x, norm.num_groups, norm.weight.double(), norm.bias.double(), norm.eps)
    return F.conv3d(F.silu(normalised), conv.weight.double(), conv.bias.double(), padding=1)


def error(made: Tensor, exact: Tensor) -> float:
    return float((made.double() - exact).norm() / exact.norm())


def test_normalisation_in_bfloat16_is_that_of_float64(parts: list[Tensor], norm: GroupNorm) -> None:
    scale, shift = norm.affine_of(parts)
    x = torch.cat(parts, dim=1).double()
    exact = F.group_norm(x, norm.num_groups, norm.weight.double(), norm.bias.double(), norm.eps)
    assert error(x * scale + shift, exact) < 1e-5


@pytest.mark.parametrize("slab_values", [SMALL_SLABS, SLAB_VALUES], ids=["slabs", "whole"])
def test_convolution_in_bfloat16(parts: list[Tensor], norm: GroupNorm, slab_values: int) -> None:
    conv = nn.Conv3d(96, 64, 3, padding=1).bfloat16().to(memory_format=torch.channels_last_3d)
    added = torch.randn(2, 64, 12, 16, 16).bfloat16()
    made = norm_silu_conv(parts, norm, conv, slab_values, plus=lambda z: added[:, :, z])
    assert error(made, textbook(parts, norm, conv) + added.double()) < 5e-3


def test_autocast_is_as_exact_as_bfloat16(parts: list[Tensor], norm: GroupNorm) -> None:
    """Wide features of float32 weights go by fewer products, which bfloat16 has not the digits for."""
    conv = nn.Conv3d(96, 64, 3, padding=1).to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        made = norm_silu_conv([part.float() for part in parts], norm, conv, SMALL_SLABS)
    assert error(made, textbook(parts, norm, conv)) < 5e-3


@pytest.mark.parametrize("in_one_step", [True, False], ids=["in one step", "by float32"])
def test_training_in_bfloat16_goes_back_as_float64_does(
    parts: list[Tensor], norm: GroupNorm, in_one_step: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norm_silu, "MIN_VALUES", 0 if in_one_step else 2**30)
    conv = nn.Conv3d(96, 64, 3, padding=1).to(memory_format=torch.channels_last_3d)
    back = torch.randn(2, 64, 12, 16, 16)
    with torch.enable_grad():
        halves = [part.detach().requires_grad_() for part in parts]
        with torch.autocast("cpu", torch.bfloat16):
            made = norm_silu_conv(halves, norm, conv, SMALL_SLABS)
        ours = torch.autograd.grad(made, [*halves, norm.weight, norm.bias, conv.weight], back.to(made.dtype))
        exact_parts = [part.detach().double().requires_grad_() for part in parts]
        exact = textbook(exact_parts, norm, conv)
        theirs = torch.autograd.grad(exact, [*exact_parts, norm.weight, norm.bias, conv.weight], back.double())
    assert made.dtype == torch.bfloat16
    assert error(made.detach(), exact.detach()) < 5e-3
    for gradient, true in zip(ours, theirs, strict=True):
        assert error(gradient, true.double()) < 1e-2


@pytest.mark.parametrize("side", [4, 10], ids=["doubled", "octants"])
def test_upsampling_in_training(side: int) -> None:
    torch.manual_seed(2)
    upsample = Upsample(8)
    x = torch.randn(2, 8, side, side, side + 2).contiguous(memory_format=torch.channels_last_3d)
    with torch.enable_grad():
        weights, bias = upsample.conv.weight, upsample.conv.bias
        made = upsample(x.requires_grad_(), SMALL_SLABS)
        back = torch.randn_like(made)
        doubled = F.interpolate(double := x.detach().double().requires_grad_(), scale_factor=2)
        exact = F.conv3d(doubled, weights.double(), bias.double(), padding=1)
        ours = torch.autograd.grad(made, [x, weights, bias], back)
        theirs = torch.autograd.grad(exact, [double, weights, bias], back.double())
    for tensor, true in zip([made.detach(), *ours], [exact.detach(), *theirs], strict=True):
        assert error(tensor, true.double()) < 1e-6


@pytest.mark.parametrize("side", [4, 10], ids=["doubled", "octants"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_upsampling(dtype: torch.dtype, side: int) -> None:
    torch.manual_seed(2)
    upsample = Upsample(8).to(dtype)
    x = torch.randn(2, 8, side, side, side + 2).to(dtype).contiguous(memory_format=torch.channels_last_3d)
    conv = upsample.conv
    doubled = F.interpolate(x.double(), scale_factor=2)
    exact = F.conv3d(doubled, conv.weight.double(), conv.bias.double(), padding=1)
    assert error(upsample(x, SMALL_SLABS), exact) < (1e-6 if dtype == torch.float32 else 5e-3)
