"""The VQ-GAN that compresses CT: half the resolution, four channels, 2048 codes.

Esser et al. 2021 (section 3.1) in three dimensions, without attention. Volumes are (b 1 z y x) on [0, 1], latents
(b 4 z/2 y/2 x/2). Diffusion runs on the latent *before* quantisation; decoding quantises first. Module names follow
the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import SLAB_VALUES, GroupNorm, Upsample, empty_channels_last, norm_silu_conv, slabs

_EPS = 1e-6
_CODES_AT_ONCE = 4096  # latent voxels compared with all codes in one go: 32 MiB of distances
_DOWN_AFTER, _UP_AFTER = 0, 1  # levels; the resolution changes once each way


@dataclass(frozen=True, kw_only=True)
class VQConfig:
    """Sizes of a VQ-GAN. All its levels have one width."""

    width: int = 96
    levels: int = 3
    latent_channels: int = 4
    codes: int = 2048
    groups: int = 16
    """Of each normalisation. With few channels in a group the decoder cannot tell how bright a volume is as a whole."""


PUBLISHED_VQ = VQConfig()


class VQResBlock(nn.Module):
    """x -> x + conv(silu(norm(conv(silu(norm(x)))))). He et al. 2016."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, channels, eps=_EPS)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm2 = GroupNorm(groups, channels, eps=_EPS)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, slab_values: int | None) -> Tensor:
        """(b c z y x) -> (b c z y x); inference by slabs leaves the sum in `x`."""
        h = norm_silu_conv([x], self.norm1, self.conv1, slab_values)
        return norm_silu_conv([h], self.norm2, self.conv2, slab_values, plus=lambda z: x[:, :, z], out=x)


class VQDownsample(nn.Module):
    """Half the resolution: a zero after the end of each axis, then a 3x3x3 convolution of stride 2 without padding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor, slab_values: int | None) -> Tensor:
        """(b c z y x) -> (b c z//2 y//2 x//2)."""
        depth, *plane = (side // 2 for side in x.shape[2:])
        if slab_values is None or torch.is_grad_enabled():
            whole: Tensor = self.conv(F.pad(x, (0, 1) * 3))
            return whole
        y = empty_channels_last((*x.shape[:2], depth, *plane), self.conv)
        for z in slabs(depth, 2 * x[:, :, 0].numel(), slab_values):
            seen = x[:, :, 2 * z.start : 2 * z.stop + 1]
            y[:, :, z] = self.conv(F.pad(seen, (0, 1, 0, 1, 0, 2 * (z.stop - z.start) + 1 - seen.shape[2])))
        return y


class _Level(nn.Module):
    """Residual blocks at one resolution, then perhaps a change of it."""

    def __init__(self, config: VQConfig, blocks: int, *, down: bool = False, up: bool = False) -> None:
        super().__init__()
        self.block = nn.ModuleList(VQResBlock(config.width, config.groups) for _ in range(blocks))
        if down:
            self.downsample = VQDownsample(config.width)
        if up:
            self.upsample = Upsample(config.width)

    def forward(self, x: Tensor, slab_values: int | None) -> Tensor:
        for layer in (*self.block, *(child for name, child in self.named_children() if name != "block")):
            x = layer(x, slab_values)
        return x


class _Middle(nn.Module):
    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.block_1, self.block_2 = (VQResBlock(config.width, config.groups) for _ in range(2))

    def forward(self, x: Tensor, slab_values: int | None) -> Tensor:
        y: Tensor = self.block_2(self.block_1(x, slab_values), slab_values)
        return y


class Encoder(nn.Module):
    """(b 1 z y x) -> (b latent z/2 y/2 x/2), before `quant_conv`."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.conv_in = nn.Conv3d(1, config.width, 3, padding=1)
        self.down = nn.ModuleList(_Level(config, 1, down=n == _DOWN_AFTER) for n in range(config.levels))
        self.mid = _Middle(config)
        self.norm_out = GroupNorm(config.groups, config.width, eps=_EPS)
        self.conv_out = nn.Conv3d(config.width, config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor, slab_values: int | None) -> Tensor:
        h = self.conv_in(x)
        for level in (*self.down, self.mid):
            h = level(h, slab_values)
        return norm_silu_conv([h], self.norm_out, self.conv_out, slab_values)


class Decoder(nn.Module):
    """(b latent z y x) -> (b 1 2z 2y 2x), after `post_quant_conv`. Nothing clamps the result."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.conv_in = nn.Conv3d(config.latent_channels, config.width, 3, padding=1)
        self.mid = _Middle(config)
        self.up = nn.ModuleList(_Level(config, 2, up=n == _UP_AFTER) for n in range(config.levels))
        self.norm_out = GroupNorm(config.groups, config.width, eps=_EPS)
        self.conv_out = nn.Conv3d(config.width, 1, 3, padding=1)

    def forward(self, z: Tensor, slab_values: int | None) -> Tensor:
        h = self.conv_in(z)
        for level in (self.mid, *reversed(list(self.up))):
            h = level(h, slab_values)
        return norm_silu_conv([h], self.norm_out, self.conv_out, slab_values)


class Quantised(NamedTuple):
    latent: Tensor  # (b c z y x), every voxel a code
    indices: Tensor  # (b z y x), int64


class Quantiser(nn.Module):
    """The nearest of the codes for every latent voxel. van den Oord et al. 2017, eq. 1-2."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.codes, config.latent_channels)
        nn.init.uniform_(self.embedding.weight, -1 / config.codes, 1 / config.codes)

    def forward(self, z: Tensor) -> Quantised:
        """(b c z y x) in any dtype; distances in float32, by chunks: no matrix of voxels x codes stands whole.

        argmin_k |z - e_k|^2 = argmin_k |e_k|^2 - 2 z.e_k; the first of equals.
        """
        with torch.autocast(z.device.type, enabled=False):  # its products are distances, too
            indices = self._nearest(z.float())
        return Quantised(self.embedding(indices).movedim(-1, 1).to(z.dtype), indices)

    def _nearest(self, z: Tensor) -> Tensor:
        codes = self.embedding.weight.float()
        square = codes.square().sum(dim=1)
        voxels = z.movedim(1, -1).reshape(-1, z.shape[1])
        nearest = [torch.addmm(square, part, codes.T, alpha=-2).argmin(dim=1) for part in voxels.split(_CODES_AT_ONCE)]
        return torch.cat(nearest).view(z.shape[0], *z.shape[2:])


class VQ(nn.Module):
    """CT volume <-> latent. `slab_values` bounds the work space of inference (see `models.layers`)."""

    def __init__(
        self,
        config: VQConfig = PUBLISHED_VQ,
        *,
        slab_values: int | None = SLAB_VALUES,
        memory_format: torch.memory_format = torch.channels_last_3d,
    ) -> None:
        super().__init__()
        self.config, self.slab_values, self.memory_format = config, slab_values, memory_format
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantize = Quantiser(config)
        self.quant_conv = nn.Conv3d(config.latent_channels, config.latent_channels, 1)
        self.post_quant_conv = nn.Conv3d(config.latent_channels, config.latent_channels, 1)

    @property
    def dtype(self) -> torch.dtype:
        return self.quant_conv.weight.dtype

    def encode(self, x: Tensor) -> Tensor:
        """(b 1 z y x) on [0, 1] -> unquantised latent (b 4 z//2 y//2 x//2); an odd size loses its last voxel."""
        if x.ndim != 5 or x.shape[1] != 1 or min(x.shape[2:]) < 2:
            raise ValueError(f"volume is {tuple(x.shape)}, (b 1 z y x) is wanted, two voxels a side at least")
        x = x.to(dtype=self.dtype, memory_format=self.memory_format)
        z: Tensor = self.quant_conv(self.encoder(x, self.slab_values))
        return z

    def decode(self, z: Tensor, *, quantise: bool = True) -> Tensor:
        """(b 4 z y x) -> (b 1 2z 2y 2x), about [0, 1]."""
        if z.ndim != 5 or z.shape[1] != self.config.latent_channels:
            raise ValueError(f"latent is {tuple(z.shape)}, (b {self.config.latent_channels} z y x) is wanted")
        if quantise:
            z = self.quantize(z).latent
        z = z.to(dtype=self.dtype, memory_format=self.memory_format)
        x: Tensor = self.decoder(self.post_quant_conv(z), self.slab_values)
        return x
