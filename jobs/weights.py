"""The checkpoints of a run: looked at before it starts, and known by their content."""

from __future__ import annotations

import hashlib

from actors.networks import on_this_machine
from engine.backends import Backend
from engine.core.errors import UsageError
from engine.settings import Settings
from models.checkpoints import empty_unet, empty_vq, require_schedule
from models.contents import open_contents
from models.layout import Network, Part
from models.tensor_file import CheckpointError


def weights_of(settings: Settings) -> str:
    """The sha256 of each checkpoint, by its part in the run; nothing for a run without networks.

    Raises `UsageError` for a file that is not there, is damaged, or is of another network.
    """
    files: dict[str, tuple[str, Network]] = {}
    if settings.mask.is_network:
        files["mask"] = _checkpoint("mask", settings.mask), Network.LMNET
    if settings.paint.is_network:
        files["paint"] = _checkpoint("paint", settings.paint), Network.LINET
        if settings.paint.vq:
            files["vq"] = settings.paint.vq, Network.VQ
    return ", ".join(f"{part} sha256:{_digest(part, uri, network)}" for part, (uri, network) in files.items())


def _checkpoint(part: str, backend: Backend) -> str:
    if backend.checkpoint is None:
        raise UsageError(f"{part}.checkpoint is missing")
    return backend.checkpoint


def _digest(part: str, uri: str, network: Network) -> str:
    try:
        path = on_this_machine(uri)
        contents = open_contents(path, network)
        if network is Network.VQ:
            contents.matched(Part.VQ, empty_vq(contents))
        else:
            contents.matched(Part.UNET, empty_unet(contents))
            require_schedule(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (CheckpointError, OSError) as error:
        raise UsageError(f"{part}: {error}") from None
