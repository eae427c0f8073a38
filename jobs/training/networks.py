"""The network of a training: from nothing or from a checkpoint, with the text it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actors.networks import on_this_machine, usage_errors
from engine.core.errors import UsageError
from engine.core.intensity import unit_to_hu
from engine.core.network_text import full_vocabulary
from engine.core.seeds import SAMPLE_LEVEL, seed_for
from engine.training.settings import Sizes, TrainSettings
from models.attributes import AttributeConfig, AttributeEncoder
from models.checkpoints import attribute_config, load_text, load_unet, load_vq, text_state
from models.contents import Contents, open_contents
from models.context import ContextEncoder
from models.layout import Network, Part
from models.text_source import BIOMEDCLIP, load_text_encoder
from models.training.module import TrainingModule, make_module
from models.training.recipe import Recipe
from models.training.vq_loss import VQLossConfig
from models.unet import LINET_UNET, LMNET_UNET, UNet, UNetConfig
from models.vq import PUBLISHED_VQ, VQ, VQConfig

NETWORKS: Mapping[str, Network] = {"vq": Network.VQ, "lmnet": Network.LMNET, "linet": Network.LINET}


def recipe_of(settings: TrainSettings, accumulate: int = 1) -> Recipe:
    """`accumulate` batches make a step."""
    objective = settings.objective
    return Recipe(
        network=settings.network,
        to_hu=unit_to_hu,
        seed=seed_for(settings.seed, "", SAMPLE_LEVEL, 0, "weights"),
        unet=None if settings.network == "vq" else _unet_config(settings),
        vq=_vq_config(settings.sizes),
        loss=VQLossConfig(
            perceptual=objective.perceptual,
            error=objective.error,
            adversarial=objective.adversarial,
            adversarial_from_step=objective.adversarial_from_step,
            adversarial_weight=objective.adversarial_weight,
            perceptual_of_unit_range=objective.perceptual_of_unit_range,
            perceptual_dropout=objective.perceptual_dropout,
            commitment_on_codes=objective.commitment_on_codes,
        ),
        steps=settings.steps,
        rate=settings.rate,
        weight_decay=settings.weight_decay,
        warm_up_steps=settings.warm_up_steps,
        rate_falls=settings.rate_falls,
        restart_codes_every=objective.restart_codes_every,
        unit_latents=objective.unit_latents,
        accumulate=accumulate,
        ema_decay=settings.ema_decay,
        drop_text=settings.text.drop,
        checkpointing=settings.checkpointing,
        compile=settings.compile,
        lora_rank=settings.lora_rank,
        clip=settings.clip,
    )


def module_of(settings: TrainSettings, accumulate: int = 1) -> TrainingModule:
    """On the processor. Raises `UsageError`: a checkpoint or text tower that cannot be used, parts that do not fit."""
    with usage_errors("training"):
        recipe = recipe_of(settings, accumulate)
        contents = None if settings.start_from is None else _contents(settings)
        start = None if contents is None else _start(contents)
        vq = None
        if settings.network == "linet":
            vq = load_vq(on_this_machine(str(settings.vq or settings.start_from)))
        if isinstance(start, UNet):
            recipe = replace(recipe, unet=start.config)
        try:
            return make_module(
                recipe,
                vq=vq,
                text=None if recipe.unet is None else _text(settings, recipe.unet, contents),
                start=start,
                perceptual=perceptual_files(settings),
                judges=_judges(contents),
            )
        except ValueError as error:
            raise UsageError(str(error)) from error


def perceptual_files(settings: TrainSettings) -> list[Path]:
    """For the VQ-GAN's loss: the file or folder that is named, else the checkpoint that training starts from."""
    named = settings.objective.perceptual_weights or settings.start_from
    if settings.network != "vq" or not settings.objective.perceptual or named is None:
        return []
    path = on_this_machine(named)
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def encoder_of(module: TrainingModule) -> AttributeEncoder | None:
    """The text encoder that is trained along, if there is one."""
    text = getattr(module, "text", None)
    return text if isinstance(text, AttributeEncoder) else None


def _contents(settings: TrainSettings) -> Contents:
    return open_contents(on_this_machine(str(settings.start_from)), NETWORKS[settings.network])


def _start(contents: Contents) -> UNet | VQ:
    """Averaged weights: what the network is used with is what is tuned."""
    path = contents.file.path
    return load_vq(path) if contents.network is Network.VQ else load_unet(path)


def _judges(contents: Contents | None) -> dict[str, Tensor] | None:
    if contents is None or Part.LOSS not in contents.parts:
        return None
    return {name: tensor.clone() for name, tensor in contents.named(Part.LOSS).items()}


def _unet_config(settings: TrainSettings) -> UNetConfig:
    """The published one, but for the sizes that are given. Without text its context is as wide as it has to be."""
    given = settings.sizes.model_dump(exclude={"levels", "codes"}, exclude_none=True)
    config = replace(LMNET_UNET if settings.network == "lmnet" else LINET_UNET, **given)
    if settings.text.encoder == "off" and settings.sizes.context_channels is None:
        return replace(config, context_channels=config.width * config.width_multipliers[-1])
    return config


def _vq_config(sizes: Sizes) -> VQConfig:
    return replace(PUBLISHED_VQ, **sizes.model_dump(include={"width", "levels", "codes", "groups"}, exclude_none=True))


def _text(settings: TrainSettings, unet: UNetConfig, contents: Contents | None) -> ContextEncoder | None:
    match settings.text.encoder:
        case "off":
            return None
        case "attributes":
            return _attribute_encoder(settings, unet, contents)
        case "biomedclip":
            held = contents is not None and Part.TEXT in contents.parts and attribute_config(contents) is None
            weights = text_state(contents.file.path) if contents is not None and held else None
            return load_text_encoder(settings.text.source or BIOMEDCLIP, weights)


def _attribute_encoder(settings: TrainSettings, unet: UNetConfig, contents: Contents | None) -> AttributeEncoder:
    known = None if contents is None else attribute_config(contents)
    config: Any = known or AttributeConfig(vocabulary=full_vocabulary(), channels=unet.context_channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(settings.seed, "", SAMPLE_LEVEL, 0, "attribute encoder"))
        encoder = AttributeEncoder(config)
    if contents is not None and known is not None:
        load_text(contents.file.path, encoder)
    return encoder
