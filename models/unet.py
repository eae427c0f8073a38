"""The 3-D denoising UNet that LMNet and LINet share, with attribute tokens as context.

After Ho et al. 2020 (appendix B) and Rombach et al. 2022 (section 3.3), in three dimensions. Module names follow the
published checkpoints, so their weights load as they are. Features are (b c z y x), tokens (b n c).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.layers import (
    SLAB_VALUES,
    Downsample,
    GroupNorm,
    Parts,
    SlabOf,
    Upsample,
    joined,
    joined_1x1,
    norm_silu_conv,
)


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Sizes of a UNet. Attention stands where the resolution is divided by `attention_at`, and in the middle."""

    in_channels: int
    out_channels: int
    width: int
    width_multipliers: tuple[int, ...] = (1, 2, 4)
    res_blocks: int
    attention_at: tuple[int, ...] = (4,)
    head_channels: int = 32
    context_channels: int = 512
    groups: int = 32
    """Of each normalisation, where they divide its channels; else every channel is one by itself."""
    predicts: Literal["noise", "velocity"] = "noise"
    """What its output is (`models.diffusion.Noising`); the published networks tell the noise."""

    @property
    def divisor(self) -> int:
        """What every spatial size must be divisible by."""
        return int(2 ** (len(self.width_multipliers) - 1))

    @property
    def runs_without_context(self) -> bool:
        """Attention to a context becomes one more self-attention, which takes features of the context's width."""
        return self.context_channels == self.width * self.width_multipliers[-1]


LMNET_UNET = UNetConfig(in_channels=4, out_channels=1, width=16, res_blocks=1)
LINET_UNET = UNetConfig(in_channels=5, out_channels=5, width=128, res_blocks=2)


def timestep_embedding(t: Tensor, channels: int) -> Tensor:
    """(b) -> (b channels): [cos(t f_i), sin(t f_i)], f_i = 10000^(-i / half). Vaswani et al. 2017, section 3.5."""
    half = channels // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def groups_of(channels: int, groups: int = 32) -> int:
    """So many groups where they divide the channels, else every channel by itself."""
    return groups if channels % groups == 0 else channels


def _norm_silu_conv(in_channels: int, out_channels: int, groups: int, *between: nn.Module) -> nn.Sequential:
    """norm, SiLU, 3x3x3 convolution: applied by `_apply`, a sequence for the checkpoint's names alone."""
    norm = GroupNorm(groups_of(in_channels, groups), in_channels)
    conv = nn.Conv3d(in_channels, out_channels, 3, padding=1)
    return nn.Sequential(norm, nn.SiLU(), *between, conv)


def _apply(
    layers: nn.Sequential,
    parts: Parts,
    slab_values: int | None,
    plus: SlabOf | None = None,
    out: Tensor | None = None,
) -> Tensor:
    norm, conv = layers[0], layers[-1]
    assert isinstance(norm, GroupNorm)  # noqa: S101 # as built above
    assert isinstance(conv, nn.Conv3d)  # noqa: S101
    return norm_silu_conv(parts, norm, conv, slab_values, plus, out)


class ResBlock(nn.Module):
    """x -> skip(x) + conv(silu(norm(conv(silu(norm(x))) + time))). He et al. 2016, with Ho et al.'s time embedding."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int, groups: int) -> None:
        super().__init__()
        self.in_layers = _norm_silu_conv(in_channels, out_channels, groups)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time_channels, out_channels))
        self.out_layers = _norm_silu_conv(out_channels, out_channels, groups, nn.Dropout(0.0))
        _zero(self.out_layers[-1])
        self.skip_connection = nn.Identity() if in_channels == out_channels else nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, parts: Parts, time: Tensor, slab_values: int | None) -> Tensor:
        """Parts of (b in z y x), time (b t) -> (b out z y x); inference by slabs may leave it in the last part."""
        if torch.is_grad_enabled():
            parts = [joined(parts)]  # once for both branches
        shift = self.emb_layers(time)[:, :, None, None, None]
        h = _apply(self.in_layers, parts, slab_values, plus=lambda _: shift)
        *earlier, last = parts
        spent = last if earlier and last.shape == h.shape else None  # a skip of the way down has served its last time
        return _apply(self.out_layers, [h], slab_values, plus=lambda z: self._skip(parts, z), out=spent)

    def _skip(self, parts: Parts, z: slice) -> Tensor:
        slab = [part[:, :, z] for part in parts]
        if isinstance(self.skip_connection, nn.Conv3d):
            return joined_1x1(slab, self.skip_connection)
        return slab[0]


class Attention(nn.Module):
    """softmax(q k^T / sqrt(d)) v over tokens, in heads. Vaswani et al. 2017, eq. 1; the matrix q k^T is never whole."""

    def __init__(self, channels: int, context_channels: int, head_channels: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context_channels, channels, bias=False)
        self.to_v = nn.Linear(context_channels, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels), nn.Dropout(0.0))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(b n c), (b m k) -> (b n c)."""
        q, k, v = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        attended: Tensor = self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return attended


class FeedForward(nn.Module):
    """Linear, exact GELU, Linear, four times as wide between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU())
        self.net = nn.Sequential(wide, nn.Dropout(0.0), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


class TransformerBlock(nn.Module):
    """Self-attention, attention to the context, feed-forward; each added to its layer-normalised input."""

    def __init__(self, channels: int, context_channels: int, head_channels: int) -> None:
        super().__init__()
        self.attn1 = Attention(channels, channels, head_channels)
        self.ff = FeedForward(channels)
        self.attn2 = Attention(channels, context_channels, head_channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """(b n c), (b m k) -> (b n c). Without a context the second attention is one more self-attention."""
        own = self.norm1(x)
        x = x + self.attn1(own, own)
        own = self.norm2(x)
        x = x + self.attn2(own, own if context is None else context)
        y: Tensor = x + self.ff(self.norm3(x))
        return y


class SpatialTransformer(nn.Module):
    """Voxels as tokens, row-major over z y x, through one transformer block, added to the input."""

    def __init__(self, channels: int, context_channels: int, head_channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Conv3d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, context_channels, head_channels)])
        self.proj_out = nn.Conv3d(channels, channels, 1)
        _zero(self.proj_out)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """(b c z y x), (b m k) -> (b c z y x)."""
        tokens = _linear(self.norm(x).flatten(2).transpose(1, 2), self.proj_in)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        changed: Tensor = _linear(tokens, self.proj_out).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + changed


class Level(nn.ModuleList):
    """One entry of the way down or up: a residual block, perhaps a transformer, perhaps a change of resolution."""

    def forward(self, parts: Parts, time: Tensor, context: Tensor | None, slab_values: int | None) -> Tensor:
        x, *_ = parts
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(parts, time, slab_values)
            elif isinstance(layer, SpatialTransformer):
                x = layer(*parts, context)
            elif isinstance(layer, Upsample):
                x = layer(*parts, slab_values)
            else:
                x = layer(*parts)
            parts = [x]
        return x


class UNet(nn.Module):
    """What is in x_t, as `config.predicts` says. All convolutions and attentions in the dtype of the weights.

    `slab_values` bounds the work space of inference (see `models.layers`); None takes every feature whole.
    `recompute` trades a second forward pass for the memory of training (Chen et al. 2016).
    """

    def __init__(
        self,
        config: UNetConfig,
        *,
        slab_values: int | None = SLAB_VALUES,
        recompute: bool = False,
        memory_format: torch.memory_format = torch.channels_last_3d,
    ) -> None:
        super().__init__()
        self.config, self.slab_values, self.recompute = config, slab_values, recompute
        self.memory_format = memory_format
        time_channels = 4 * config.width
        self.time_embed = nn.Sequential(
            nn.Linear(config.width, time_channels), nn.SiLU(), nn.Linear(time_channels, time_channels)
        )
        self.context_linear_projection = nn.Linear(config.context_channels, config.context_channels, bias=False)

        def transformer(channels: int) -> SpatialTransformer:
            return SpatialTransformer(channels, config.context_channels, config.head_channels, config.groups)

        def residual(in_channels: int, out_channels: int) -> ResBlock:
            return ResBlock(in_channels, out_channels, time_channels, config.groups)

        channels = config.width
        self.input_blocks = nn.ModuleList([Level([nn.Conv3d(config.in_channels, channels, 3, padding=1)])])
        skip_channels = [channels]
        last = len(config.width_multipliers) - 1
        for depth, multiplier in enumerate(config.width_multipliers):
            attends = 2**depth in config.attention_at
            for _ in range(config.res_blocks):
                block: list[nn.Module] = [residual(channels, multiplier * config.width)]
                channels = multiplier * config.width
                self.input_blocks.append(Level([*block, *([transformer(channels)] if attends else [])]))
                skip_channels.append(channels)
            if depth != last:
                self.input_blocks.append(Level([Downsample(channels)]))
                skip_channels.append(channels)

        first, second = (residual(channels, channels) for _ in range(2))
        self.middle_block = Level([first, transformer(channels), second])

        self.output_blocks = nn.ModuleList()
        for depth, multiplier in reversed(list(enumerate(config.width_multipliers))):
            attends = 2**depth in config.attention_at
            for index in range(config.res_blocks + 1):
                block = [residual(channels + skip_channels.pop(), multiplier * config.width)]
                channels = multiplier * config.width
                if attends:
                    block.append(transformer(channels))
                if depth and index == config.res_blocks:
                    block.append(Upsample(channels))
                self.output_blocks.append(Level(block))

        self.out = _norm_silu_conv(channels, config.out_channels, config.groups)
        _zero(self.out[-1])

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        """(b in z y x), integer DDPM steps (b), tokens (b n context) or None -> (b out z y x).

        Raises ValueError for a size the resolutions do not divide, or a context of another width.
        """
        self._check(x, context)
        dtype = self.context_linear_projection.weight.dtype
        time = self.time_embed(timestep_embedding(t, self.config.width).to(dtype))
        x = x.to(dtype=dtype, memory_format=self.memory_format)
        if context is not None:
            context = self.context_linear_projection(context.to(dtype))
        skips: list[Tensor] = []
        for level in self.input_blocks:
            x = self._through(level, [x], time, context)
            skips.append(x)
        x = self._through(self.middle_block, [x], time, context)
        for level in self.output_blocks:
            x = self._through(level, [x, skips.pop()], time, context)
        return _apply(self.out, [x], self.slab_values)

    def _through(self, level: nn.Module, parts: Parts, time: Tensor, context: Tensor | None) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            recomputed: Tensor = checkpoint(level, parts, time, context, self.slab_values, use_reentrant=False)
            return recomputed
        through: Tensor = level(parts, time, context, self.slab_values)
        return through

    def _check(self, x: Tensor, context: Tensor | None) -> None:
        size = tuple(x.shape[2:])
        if x.ndim != 5 or x.shape[1] != self.config.in_channels:
            raise ValueError(f"input is {tuple(x.shape)}, (b {self.config.in_channels} z y x) is wanted")
        if any(side % self.config.divisor for side in size):
            raise ValueError(f"size {size} is not divisible by {self.config.divisor} along every axis")
        if context is not None and (context.ndim != 3 or context.shape[-1] != self.config.context_channels):
            raise ValueError(f"context is {tuple(context.shape)}, (b n {self.config.context_channels}) is wanted")
        if context is None and not self.config.runs_without_context:
            deepest = self.config.width * self.config.width_multipliers[-1]
            raise ValueError(
                f"without a context, attention to it needs the context's width {self.config.context_channels} "
                f"to be the feature's {deepest}"
            )


def _linear(tokens: Tensor, conv: nn.Conv3d) -> Tensor:
    """A 1x1x1 convolution on tokens (b n c)."""
    return F.linear(tokens, conv.weight.flatten(1), conv.bias)


def _zero(module: nn.Module) -> None:
    """A residual branch starts as nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
