"""What the 3-D UNet and the VQ autoencoder are made of: convolutions that need no normalised copy of their input.

A residual network spends its memory on copies: the concatenated skip connection, its normalised form, its activation.
`norm_silu_conv` makes none of them whole. The statistics of the group normalisation are taken over the whole feature
first; normalisation, activation and convolution then go slab by slab along z, so the result is that of the textbook
chain, and only one slab of it exists at a time. How a slab is convolved follows from its size: see `_conv`, `Upsample`
and `models.winograd`. Training, and inference where `slab_values` is None, take the chain as it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import norm_silu, winograd

Parts = Sequence[
    Tensor
]  # channel-wise parts [(b c z y x), ...] of one feature: concatenated in this order, never whole
SlabOf = Callable[[slice], Tensor]  # planes z of a feature (b c z y x) still to be made

SLAB_VALUES = 128 * 16 * 32 * 32
"""Voxels times channels; 8 MiB of float32, what a processor's cache holds."""

_PLANES = 4
"""At least, in a slab: the plane before it and the one behind are made once more."""

MAX_VOXELS_AS_ROWS = 512
"""A feature of so few is convolved by one product."""


def slab_values_on(device: torch.device) -> int | None:
    """Slabs where there is a cache to keep to; a GPU takes features whole."""
    return None if device.type == "cuda" else SLAB_VALUES


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu & He 2018) that can tell its affine map before it is applied."""

    def affine_of(self, parts: Parts) -> tuple[Tensor, Tensor]:
        """Scale and shift (b c 1 1 1), float32, such that the normalised feature is `x * scale + shift`."""
        mean_c, var_c = (torch.cat(moments, dim=1) for moments in zip(*map(_channel_moments, parts), strict=True))
        mean_c, var_c = (moment.unflatten(1, (self.num_groups, -1)) for moment in (mean_c, var_c))
        mean = mean_c.mean(dim=2, keepdim=True)
        # law of total variance: within the channels of a group, and between them
        var = var_c.mean(dim=2, keepdim=True) + (mean_c - mean).square().mean(dim=2, keepdim=True)
        scale = (torch.rsqrt(var + self.eps).expand_as(mean_c)).flatten(1) * self.weight.double()
        shift = self.bias.double() - mean.expand_as(mean_c).flatten(1) * scale
        return scale.float()[:, :, None, None, None], shift.float()[:, :, None, None, None]


def _channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (b c), float64, of each channel over its voxels.

    A slab at a time, so that it stays in the cache; then put together.
    """
    moments_of = _fast_moments if in_half(x) and x[0, 0].numel() > MAX_VOXELS_AS_ROWS else _exact_moments
    shares, means, variances = [], [], []
    for z in slabs(x.shape[2], x[:, :, 0].numel(), SLAB_VALUES):
        slab_mean, slab_var = moments_of(x[:, :, z])
        shares.append((z.stop - z.start) / x.shape[2])
        means.append(slab_mean.double())
        variances.append(slab_var)
    share = torch.tensor(shares, dtype=torch.float64, device=x.device)[:, None, None]
    mean_s = torch.stack(means)
    mean = (share * mean_s).sum(dim=0)
    # law of total variance
    return mean, (share * (torch.stack(variances) + (mean_s - mean).square())).sum(dim=0)


def _exact_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """About the mean, so that nothing cancels."""
    voxels = x.permute(0, 2, 3, 4, 1).flatten(1, 3).float()
    mean = voxels.mean(dim=1, keepdim=True)
    about = voxels - mean
    return mean[:, 0], torch.linalg.vecdot(about, about, dim=1).double() / voxels.shape[1]


def _fast_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """From sums of values and of squares, which torch's group normalisation of single channels tells besides.

    Where a channel's mean is a hundred times its deviation, the variance is off by a thousandth: bfloat16 itself tells
    no such values apart.
    """
    channels, eps = x.shape[1], 1e-6
    ones = torch.ones(channels, device=x.device)
    zeros, voxels = torch.zeros_like(ones), x[0, 0].numel()
    moments = [
        torch.native_group_norm(each, ones, zeros, 1, channels, voxels, channels, eps)[1:]
        for each in (x[n : n + 1].contiguous(memory_format=torch.channels_last_3d) for n in range(len(x)))
    ]
    mean, rstd = (torch.cat(each) for each in zip(*moments, strict=True))
    return mean, rstd.double() ** -2 - eps


def in_half(x: Tensor) -> bool:
    """Whether it is bfloat16 on a processor, for which torch has kernels that compute in float32 as they read."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu"


def _normalised(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x * scale + shift (b c 1 1 1), computed in float32; a new tensor, in bfloat16 where that saves a copy."""
    if not in_half(x):
        return torch.addcmul(shift, x, scale)
    nothing, one = torch.zeros_like(scale[0].flatten()), torch.ones_like(scale[0].flatten())
    each = [
        F.batch_norm(x[n : n + 1], nothing, one, scale[n].flatten(), shift[n].flatten(), training=False, eps=0.0)
        for n in range(len(x))
    ]
    return each[0] if len(each) == 1 else torch.cat(each)


def slabs(depth: int, plane_values: int, slab_values: int) -> Iterator[slice]:
    """Half-open runs of planes, at most `slab_values` values each, but a few planes at least."""
    step = max(_PLANES, slab_values // plane_values)
    return (slice(start, min(start + step, depth)) for start in range(0, depth, step))


def norm_silu_conv(
    parts: Parts,
    norm: GroupNorm,
    conv: nn.Conv3d,
    slab_values: int | None,
    plus: SlabOf | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """conv(silu(norm(concatenated parts))) + plus, (b out z y x); `conv` is 3x3x3, padded by one.

    By slabs, the result may be left in `out`; planes of it that `plus` reads may be the ones written.
    """
    if slab_values is None or torch.is_grad_enabled():
        x = joined(parts)
        by_autocast = in_half(x) and norm.weight.dtype == torch.float32
        if by_autocast and norm_silu.pays(x):
            feature = norm_silu.norm_silu(x, norm.weight, norm.bias, norm.num_groups, norm.eps)
        else:
            feature = F.silu(norm(x.float() if by_autocast else x))
        y: Tensor = conv(feature)
        return y if plus is None else y.add_(plus(slice(None)))
    scale, shift = norm.affine_of(parts)

    def activated(z: slice) -> Tensor:
        return F.silu(_normalised(joined([part[:, :, z] for part in parts]), scale, shift), inplace=True)

    return _conv_by_slabs(activated, parts[0].shape, conv, slab_values, plus, out)


def _conv(x: Tensor, conv: nn.Conv3d) -> Tensor:
    """A padded 3x3x3 convolution of a feature that is there whole; of a small one, as a single product.

    torch brings the weights of each convolution into another order first, which for few voxels takes longer than the
    products do. Here every voxel's neighbours are a row, in the order that `channels_last_3d` weights lie in.
    """
    if x.device.type != "cpu" or x[0, 0].numel() > MAX_VOXELS_AS_ROWS:
        whole: Tensor = conv(x)
        return whole
    padded = F.pad(x, (1,) * 6).movedim(1, -1)
    around = padded.unfold(1, 3, 1).unfold(2, 3, 1).unfold(3, 3, 1)  # (b z y x c 3 3 3)
    rows = around.movedim(4, -1).flatten(4)
    return F.linear(rows, conv.weight.movedim(1, -1).flatten(1), conv.bias).movedim(-1, 1)


def _conv_by_slabs(
    feature: SlabOf,
    shape: torch.Size,
    conv: nn.Conv3d,
    slab_values: int,
    plus: SlabOf | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """A padded 3x3x3 convolution of a feature of `shape` (b . z y x) that is made slab by slab, a plane more around."""
    batch, _, depth, *plane = shape
    dtype = computed_in(conv)
    if depth * plane[0] * plane[1] <= MAX_VOXELS_AS_ROWS:
        small = _conv(feature(slice(None)).to(dtype), conv)
        return small if plus is None else small.add_(plus(slice(None)))
    taps = winograd.transformed(conv.weight) if winograd.pays(conv, depth, *plane) else None
    beside = (0, 0) if taps is None else winograd.padding(plane[1])
    slab_values *= torch.float32.itemsize // dtype.itemsize
    parts = [*slabs(depth, batch * conv.in_channels * plane[0] * plane[1], slab_values)]
    if len(parts) == 1 and taps is None:
        whole = F.conv3d(feature(parts[0]).to(dtype), conv.weight, conv.bias, padding=1)
        return whole if plus is None else whole.add_(plus(parts[0]))
    y = empty_channels_last((batch, conv.out_channels, depth, *plane), conv) if out is None else out
    for z in parts:
        inside = slice(max(z.start - 1, 0), min(z.stop + 1, depth))
        padding = (*beside, 0, 0, inside.start - z.start + 1, z.stop + 1 - inside.stop)
        seen = feature(inside).to(dtype)
        if any(padding):
            seen = F.pad(seen, padding)
        if taps is None:
            slab = F.conv3d(seen, conv.weight, conv.bias, padding=(0, 1, 1))
        else:
            slab = winograd.convolve(seen, taps, conv.bias)[..., : plane[1]]
        if plus is None:
            y[:, :, z] = slab
        else:
            torch.add(slab, plus(z), out=y[:, :, z])
    return y


def computed_in(conv: nn.Conv3d) -> torch.dtype:
    """What its result has: the weights' own dtype, or that of the autocast around."""
    device = conv.weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else conv.weight.dtype


def empty_channels_last(shape: tuple[int, ...], by: nn.Conv3d) -> Tensor:
    """For results of the convolution."""
    return torch.empty(shape, dtype=computed_in(by), device=by.weight.device, memory_format=torch.channels_last_3d)


def joined_1x1(parts: Parts, conv: nn.Conv3d) -> Tensor:
    """A 1x1x1 convolution of the concatenated parts, (b out z y x)."""
    return F.conv3d(joined(parts), conv.weight, conv.bias)


def joined(parts: Parts) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


class Downsample(nn.Module):
    """Half the resolution: 3x3x3 convolution of stride 2, padded by one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv3d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(b c z y x) -> (b c z/2 y/2 x/2)."""
        y: Tensor = self.op(x)
        return y


MIN_VOXELS = 512
"""Of a feature to be upsampled: below, adding up weights takes longer than the products that it saves."""


class Upsample(nn.Module):
    """Twice the resolution: nearest neighbour, then a 3x3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, slab_values: int | None) -> Tensor:
        """(b c z y x) -> (b c 2z 2y 2x).

        Of the 27 neighbours of a voxel that nearest neighbour made only eight differ. By slabs, and in training on a
        processor, the doubled feature is never made: each of the eight voxels that one becomes is a 2x2x2 convolution
        of the feature itself, with the weights of equal neighbours added up, and takes 8 products where 27 were.
        """
        depth, *plane = x.shape[2:]
        small = depth * plane[0] * plane[1] < MIN_VOXELS
        if torch.is_grad_enabled() and slab_values is not None and x.device.type == "cpu" and not small:
            return self._octants_at_once(x)
        if slab_values is None or torch.is_grad_enabled():
            y: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
            return y
        if small:
            return _conv(F.interpolate(x, scale_factor=2, mode="nearest"), self.conv)
        y = empty_channels_last((*x.shape[:2], 2 * depth, 2 * plane[0], 2 * plane[1]), self.conv)
        for (dz, dy, dx), weight in _octants(self.conv.weight):
            for z in slabs(depth, x[:, :, 0].numel(), slab_values):
                inside = slice(max(z.start - 1 + dz, 0), min(z.stop + dz, depth))
                around = (1 - dx, dx, 1 - dy, dy, inside.start - (z.start - 1 + dz), z.stop + dz - inside.stop)
                made = F.conv3d(F.pad(x[:, :, inside], around), weight, self.conv.bias)
                y[:, :, 2 * z.start + dz : 2 * z.stop : 2, dy::2, dx::2] = made
        return y

    def _octants_at_once(self, x: Tensor) -> Tensor:
        """One convolution with the weights of all eight, of which each has its own window."""
        depth, height, width = x.shape[2:]
        places, weights = zip(*_octants(self.conv.weight), strict=True)
        bias = None if self.conv.bias is None else self.conv.bias.repeat(len(places))
        made = F.conv3d(F.pad(x, (1,) * 6), torch.cat(weights), bias).movedim(1, -1)  # (b z+1 y+1 x+1 8o)
        voxels = [
            octant[:, dz : dz + depth, dy : dy + height, dx : dx + width]
            for (dz, dy, dx), octant in zip(places, made.chunk(len(places), dim=-1), strict=True)
        ]
        apart = torch.stack(voxels).unflatten(0, (2, 2, 2))  # (2 2 2 b z y x o)
        y: Tensor = apart.permute(3, 4, 0, 5, 1, 6, 2, 7).flatten(5, 6).flatten(3, 4).flatten(1, 2).movedim(-1, 1)
        return y


def _octants(weight: Tensor) -> Iterator[tuple[tuple[int, int, int], Tensor]]:
    """(o i 3 3 3) -> of each of the eight voxels that one becomes, where it lies and its weights (o i 2 2 2).

    Along each axis, taps that see one voxel of the smaller feature are added up: the first of two voxels, 2i, sees
    i - 1, i, i; the second, 2i + 1, sees i, i, i + 1.
    """
    taps = weight.movedim(1, -1).float()  # channels last, as they lie
    for dz, along_z in enumerate(_halves(taps, axis=1)):
        for dy, along_y in enumerate(_halves(along_z, axis=2)):
            for dx, summed in enumerate(_halves(along_y, axis=3)):
                yield (dz, dy, dx), summed.to(weight.dtype).movedim(-1, 1)


def _halves(taps: Tensor, *, axis: int) -> tuple[Tensor, Tensor]:
    """Three taps along the axis -> the two of the first voxel, and of the second."""
    first, middle, last = taps.split(1, axis)
    return torch.cat([first, middle + last], axis), torch.cat([first + middle, last], axis)
