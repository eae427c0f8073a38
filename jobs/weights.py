"""The checkpoints of a run: looked at before it starts, with the settings that have to fit; known by their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from actors.networks import on_this_machine, require_words, sampler_of, usage_errors
from engine.backends import Backend
from engine.core.errors import UsageError
from engine.settings import Settings
from models.checkpoints import attribute_config, empty_unet, empty_vq, require_schedule
from models.contents import open_contents
from models.layout import Network, Part
from models.text_source import BIOMEDCLIP, find_folder


def weights_of(settings: Settings) -> str:
    """The sha256 of each checkpoint, by its part in the run; nothing for a run without networks.

    Raises `UsageError` for a file that is not there, is damaged, or is of another network, and for settings that the
    network cannot take.
    """
    paths: dict[str, Path] = {}
    for part, backend, network in (("mask", settings.mask, Network.LMNET), ("paint", settings.paint, Network.LINET)):
        if backend.checkpoint is not None:
            with usage_errors(part):
                paths[part] = on_this_machine(backend.checkpoint)
                _require_fit(paths[part], backend, network)
    if settings.paint.vq is not None:
        with usage_errors("paint.vq"):
            paths["vq"] = on_this_machine(settings.paint.vq)
            _require_vq(paths["vq"])
    return ", ".join(f"{part} sha256:{_digest(path)}" for part, path in paths.items())


def _require_fit(path: Path, backend: Backend, network: Network) -> None:
    contents = open_contents(path, network)
    unet = empty_unet(contents)
    contents.matched(Part.UNET, unet)
    require_schedule(path)
    sampler_of(backend)
    halvings = unet.config.divisor * (2 if network is Network.LINET else 1)  # the VQ-GAN halves once more
    if any(side % halvings for side in backend.crop):
        raise UsageError(f"crop {list(backend.crop)}: its sides should be divisible by {halvings}")
    require_words(path, backend)
    if backend.text and attribute_config(contents) is None:
        find_folder(backend.tokenizer or BIOMEDCLIP, with_weights=False)
    if not (backend.text or unet.config.runs_without_context):
        raise UsageError(f"text: false is not for {network}, whose attention to the text has a width of its own")


def _require_vq(path: Path) -> None:
    contents = open_contents(path)
    contents.matched(Part.VQ, empty_vq(contents))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
