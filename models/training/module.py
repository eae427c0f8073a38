"""The module that trains a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from models.context import ContextEncoder
from models.training.diffusion_module import DiffusionModule
from models.training.linet_module import LINetModule
from models.training.lmnet_module import LMNetModule
from models.training.recipe import Recipe
from models.training.training_module import TrainingModule
from models.training.vq_module import VQModule
from models.unet import LINET_UNET, LMNET_UNET, UNet
from models.vq import PUBLISHED_VQ, VQ

__all__ = ["DiffusionModule", "TrainingModule", "make_module"]

_Network = TypeVar("_Network", UNet, VQ)


def make_module(
    recipe: Recipe,
    *,
    vq: VQ | None = None,
    text: ContextEncoder | None = None,
    start: UNet | VQ | None = None,
    perceptual: Sequence[Path] = (),
    judges: Mapping[str, Tensor] | None = None,
) -> TrainingModule:
    """From `start`, which becomes the module's own, or from weights drawn from the recipe's seed.

    `vq` is the frozen one that LINet paints through. A `text` encoder that is a module is trained along. `perceptual`
    are files for the VQ-GAN's loss, and `judges` the state of its discriminators to begin with. Raises ValueError where
    the parts do not fit the recipe or each other, CheckpointError for the files.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        match recipe.network:
            case "vq":
                autoencoder = VQ(recipe.vq or PUBLISHED_VQ) if start is None else _as(VQ, start)
                return VQModule(recipe, autoencoder, perceptual, judges, fresh=start is None)
            case "lmnet":
                unet = UNet(recipe.unet or LMNET_UNET) if start is None else _as(UNet, start)
                return LMNetModule(recipe, unet, text)
            case "linet":
                if vq is None:
                    raise ValueError("LINet paints in the latents of a VQ-GAN, and there is none")
                unet = UNet(recipe.unet or LINET_UNET) if start is None else _as(UNet, start)
                return LINetModule(recipe, unet, vq, text)


def _as(kind: type[_Network], start: UNet | VQ) -> _Network:
    if not isinstance(start, kind):
        raise ValueError(f"a {type(start).__name__} to start from, where a {kind.__name__} is wanted")
    return start
