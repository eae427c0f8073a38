"""The sizes of a network, from the shapes of its weights or from the text beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.unet import UNetConfig
from models.vq import VQConfig

Shapes = Mapping[str, tuple[int, ...]]  # by the names of the module

HEAD_CHANNELS = 32
"""Width of an attention head, of which no shape tells: as published."""


def unet_config(shapes: Shapes) -> UNetConfig:
    """Sizes of the UNet that has these weights. Raises KeyError with the name of a weight that would tell, absent."""
    width = shapes["time_embed.0.weight"][1]
    multipliers, blocks, attention_at = [], [0], []
    for index in range(1, _count(shapes, "input_blocks")):
        block, depth = f"input_blocks.{index}", len(blocks) - 1
        if f"{block}.0.op.weight" in shapes:
            blocks.append(0)
            continue
        if not blocks[-1]:
            multipliers.append(shapes[f"{block}.0.in_layers.2.weight"][0] // width)
        blocks[-1] += 1
        if f"{block}.1.norm.weight" in shapes and 2**depth not in attention_at:
            attention_at.append(2**depth)
    return UNetConfig(
        in_channels=shapes["input_blocks.0.0.weight"][1],
        out_channels=shapes["out.2.weight"][0],
        width=width,
        width_multipliers=tuple(multipliers),
        res_blocks=max(blocks),
        attention_at=tuple(attention_at),
        head_channels=HEAD_CHANNELS,
        context_channels=shapes["context_linear_projection.weight"][0],
    )


def vq_config(shapes: Shapes) -> VQConfig:
    """Sizes of the VQ-GAN that has these weights. Raises KeyError with the name of a weight that would tell, absent."""
    return VQConfig(
        width=shapes["encoder.conv_in.weight"][0],
        levels=_count(shapes, "encoder.down"),
        latent_channels=shapes["quant_conv.weight"][0],
        codes=shapes["quantize.embedding.weight"][0],
    )


def _count(shapes: Shapes, name: str) -> int:
    """How many entries the list `name` of the module has."""
    dots = name.count(".") + 1
    entries = [int(key.split(".")[dots]) for key in shapes if key.startswith(f"{name}.")]
    return max(entries, default=-1) + 1


def to_json(unet: UNetConfig | None = None, vq: VQConfig | None = None) -> str:
    """Sizes as text to stand beside the weights."""
    return json.dumps({"unet": unet and asdict(unet), "vq": vq and asdict(vq)}, sort_keys=True)


def from_json(text: str) -> tuple[UNetConfig | None, VQConfig | None]:
    """The inverse of `to_json`. Raises ValueError or TypeError for anything else."""
    sizes: dict[str, dict[str, Any] | None] = json.loads(text)
    unet, vq = sizes["unet"], sizes["vq"]
    return (
        None if unet is None else UNetConfig(**_with_tuples(unet)),
        None if vq is None else VQConfig(**_with_tuples(vq)),
    )


def _with_tuples(sizes: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in sizes.items()}
