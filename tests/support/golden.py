"""Tensors the reference computed, and the rule by which its random weights are made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.unet import UNetConfig
from models.vq import VQConfig


@dataclass(frozen=True)
class Golden:
    """The reference's stored tensors."""

    root: Path

    def case(self, name: str) -> Case:
        return Case(self, self.root / "golden" / name)

    def manifest(self, name: str) -> dict[str, tuple[int, ...]]:
        """Key -> shape, in the order of the state dict."""
        tensors = json.loads((self.root / "manifests" / f"{name}.json").read_text())["tensors"]
        return {tensor["key"]: tuple(tensor["shape"]) for tensor in tensors}


@dataclass(frozen=True)
class Case:
    golden: Golden
    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        return config

    @cached_property
    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        with np.load(self.folder / "io.npz", allow_pickle=False) as stored:
            return dict(stored)

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    @property
    def weights(self) -> dict[str, Tensor]:
        return load_file(self.folder / "weights.safetensors")


def unet_config(params: Mapping[str, Any]) -> UNetConfig:
    """Ours, from the reference's parameters."""
    return UNetConfig(
        in_channels=params["in_channels"],
        out_channels=params["out_channels"],
        width=params["model_channels"],
        width_multipliers=tuple(params["channel_mult"]),
        res_blocks=params["num_res_blocks"],
        attention_at=tuple(params["attention_resolutions"]),
        head_channels=params["num_head_channels"],
        context_channels=params["context_dim"],
    )


def vq_config(params: Mapping[str, Any]) -> VQConfig:
    return VQConfig(width=params["ddconfig"]["ch"], latent_channels=params["embed_dim"], codes=params["n_embed"])


def fill(module: nn.Module, seed: int, sha256: str | None = None) -> None:
    """Random weights by rule RS1 over the state dict's order; checked against a digest where one is known."""
    weights = rule_rs1([(key, tuple(tensor.shape)) for key, tensor in module.state_dict().items()], seed, sha256)
    module.load_state_dict(weights)


def rule_rs1(tensors: Sequence[tuple[str, tuple[int, ...]]], seed: int, sha256: str | None = None) -> dict[str, Tensor]:
    rng, digest, filled = np.random.RandomState(seed), hashlib.sha256(), {}
    for key, shape in tensors:
        values = rng.standard_normal(shape)
        if len(shape) >= 2:
            values /= np.sqrt(np.prod(shape[1:]))
        elif key.endswith("running_var"):
            values = 1 + 0.1 * np.abs(values)
        elif key.endswith("running_mean"):
            values *= 0.1
        else:
            values = 1 + 0.1 * values if key.endswith("weight") else 0.05 * values
        stored = np.asarray(values, np.float32)
        digest.update(key.encode())
        digest.update(stored.tobytes())
        filled[key] = torch.from_numpy(stored)
    assert sha256 in (None, digest.hexdigest()), "the rule does not make the reference's weights"
    return filled


def error(found: Tensor, stored: Tensor) -> float:
    """Largest difference, relative to the largest stored value where that exceeds one."""
    assert found.shape == stored.shape, f"{tuple(found.shape)} instead of {tuple(stored.shape)}"
    scale = max(1.0, float(stored.abs().max()))
    return float((found.float() - stored).abs().max()) / scale
