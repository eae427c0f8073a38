"""Group normalisation and SiLU in training by autocast, in bfloat16 on a processor: one step of autograd.

torch normalises groups in bfloat16 fast, but goes back through that so slowly that a way round by float32 is faster:
three more copies of every feature, twice as large. Here all that is kept is the feature, and the way back is made of
torch's batch normalisation of one sample: a group normalisation, but for sums over each group's channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

MIN_VALUES, MIN_CHANNELS = 2**19, 16
"""Of a sample: below, the many steps take longer than the copies that they save."""


def pays(x: Tensor) -> bool:
    """Whether a feature (b c z y x) in bfloat16 on a processor is so faster than by float32."""
    return x.shape[1] >= MIN_CHANNELS and x[0].numel() >= MIN_VALUES


def norm_silu(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
    """silu(group_norm(x)) of a feature (b c z y x) in bfloat16, weight and bias (c) float32; statistics are float32."""
    made: Tensor = _NormSiLU.apply(x, weight, bias, groups, eps)  # type: ignore[no-untyped-call]
    return made


class _NormSiLU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last_3d)
        batch, channels = x.shape[:2]
        y, mean, rstd = torch.native_group_norm(x, weight, bias, batch, channels, x[0, 0].numel(), groups, eps)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        return F.silu(y, inplace=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        d_x, d_weight, d_bias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
        for n in range(len(x)):
            one = slice(n, n + 1)
            of_weight, of_bias = _backward(d_out[one], x[one], weight, bias, mean[n], rstd[n], into=d_x[one])
            d_weight += of_weight
            d_bias += of_bias
        return d_x, d_weight, d_bias, None, None


def _backward(
    d_out: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, rstd: Tensor, *, into: Tensor
) -> tuple[Tensor, Tensor]:
    """Of one sample (1 c z y x) with the moments of its groups (g): of weight and bias, and `into` of x.

    With u = (x - mean) rstd and v = d y weight, d x = rstd (v - <v> - u <v u>), means over a group: a batch
    normalisation with fixed moments gives rstd v, and the sums that the means are made of.
    """
    each = x.shape[1] // len(mean)
    mean_c, rstd_c = mean.repeat_interleave(each), rstd.repeat_interleave(each)
    y = F.batch_norm(x, mean_c, rstd_c**-2, weight, bias, training=False, eps=0.0)
    d_y = torch.ops.aten.silu_backward(d_out, y)
    scaled, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
        d_y, x, weight, mean_c, rstd_c**-2, None, None, False, 0.0, [True, True, True]
    )
    d_weight, d_bias = d_weight.float(), d_bias.float()
    values = each * x[0, 0].numel()
    of_v, of_vu = (
        (weight * summed).unflatten(0, (-1, each)).sum(dim=1).repeat_interleave(each) / values
        for summed in (d_bias, d_weight)
    )
    slope = -(rstd_c**2) * of_vu
    nothing, one = torch.zeros_like(slope), torch.ones_like(slope)
    rest = F.batch_norm(x, nothing, one, slope, -rstd_c * of_v - slope * mean_c, training=False, eps=0.0)
    torch.add(scaled, rest, out=into)
    return d_weight, d_bias
