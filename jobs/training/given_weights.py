"""The weights that a training is given: looked at before it starts, with the settings that have to fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

from actors.networks import on_this_machine, usage_errors
from engine.core.errors import UsageError
from engine.training.settings import TrainSettings
from jobs.training.networks import NETWORKS, perceptual_files, recipe_of
from models.checkpoints import attribute_config, empty_unet, empty_vq
from models.contents import Contents, open_contents
from models.layout import Network, Part
from models.text_source import BIOMEDCLIP, find_folder
from models.unet import UNetConfig


def weights_of(settings: TrainSettings) -> str:
    """The sha256 of each checkpoint that the training starts from, or paints through.

    Raises `UsageError` for one that is not there, is damaged, or of another network, and for a crop that the network
    cannot take.
    """
    paths: dict[str, Path] = {}
    unet, contents = recipe_of(settings).unet, None
    if settings.start_from is not None:
        with usage_errors("start_from"):
            contents = open_contents(on_this_machine(settings.start_from), NETWORKS[settings.network])
            unet = _require_start(contents)
        paths["start_from"] = contents.file.path
    if settings.network == "linet":
        with usage_errors("vq"):
            vq = open_contents(on_this_machine(str(settings.vq or settings.start_from)))
            vq.matched(Part.VQ, empty_vq(vq))
        paths["vq"] = vq.file.path
    if settings.network != "vq" and settings.text.encoder == "biomedclip":
        with usage_errors("text.source"):
            find_folder(settings.text.source or BIOMEDCLIP, with_weights=not _has_tower(contents))
    if settings.network == "vq" and settings.objective.perceptual:
        paths |= {f"perceptual {file.name}": file for file in _perceptual(settings)}
    _require_crop(settings, unet)
    return ", ".join(f"{part} sha256:{_digest(path)}" for part, path in paths.items())


def _require_start(contents: Contents) -> UNetConfig | None:
    """Sizes of its UNet, if it has one. Raises CheckpointError for what cannot be started from."""
    attribute_config(contents)
    if contents.network is Network.VQ:
        contents.matched(Part.VQ, empty_vq(contents))
        return None
    unet = empty_unet(contents)
    contents.matched(Part.UNET, unet)
    return unet.config


def _has_tower(contents: Contents | None) -> bool:
    return contents is not None and Part.TEXT in contents.parts and attribute_config(contents) is None


def _perceptual(settings: TrainSettings) -> list[Path]:
    with usage_errors("objective.perceptual_weights"):
        files = [file for file in perceptual_files(settings) if file.stat()]
    if not files:
        raise UsageError(
            "objective.perceptual needs objective.perceptual_weights: a folder with VGG16's and LPIPS's weights or "
            "a VQ checkpoint that holds its loss; objective.perceptual=false trains without"
        )
    return files


def _require_crop(settings: TrainSettings, unet: UNetConfig | None) -> None:
    """The VQ-GAN halves once, and the UNet as often as it has levels below its first."""
    divisor = (1 if unet is None else unet.divisor) * (1 if settings.network == "lmnet" else 2)
    if any(side % divisor for side in settings.crop):
        raise UsageError(f"data.crop {list(settings.crop)}: its sides should be divisible by {divisor}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
