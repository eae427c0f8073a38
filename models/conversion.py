"""A checkpoint as a safetensors file of what inference needs, and back in the published layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models import ema
from models.checkpoints import ATTRIBUTES, WORDS, empty_unet, empty_vq
from models.contents import Contents, description
from models.layout import SCHEDULE, Network, Part, diffusion_state, vq_state


@dataclass(frozen=True)
class Conversion:
    """What is to be written, and what it holds."""

    network: Network
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    parts: tuple[Part, ...]


def as_safetensors(contents: Contents, *, training: bool) -> Conversion:
    """Averaged UNet, autoencoder, text tower, schedule: a tenth of a second to open and nothing to unpickle.

    With `training` also what only training needs: the raw UNet weights where they differ, the loss of a VQ. Raises
    CheckpointError.
    """
    parts, metadata = _parts(contents)
    if not training:
        parts.pop(Part.LOSS, None)
    raw = parts.pop(Part.UNET_RAW, None)
    if training and raw is not None and _differ(raw, parts[Part.UNET]):
        parts[Part.UNET_RAW] = raw
    order = {part.value: list(tensors) for part, tensors in parts.items() if part in (Part.TEXT, Part.LOSS)}
    return Conversion(
        contents.network,
        {part.value + name: tensor for part, tensors in parts.items() for name, tensor in tensors.items()},
        {**metadata, "order": json.dumps(order), "source_sha256": _sha256(contents.file.path)},
        tuple(parts),
    )


def as_published(contents: Contents) -> Conversion:
    """The published layout. Where the file has no raw UNet weights, the averaged ones stand for them.

    Raises CheckpointError.
    """
    parts, metadata = _parts(contents)
    if contents.network is Network.VQ:
        state = vq_state(parts[Part.VQ], parts.get(Part.LOSS))
    else:
        averaged = {ema.key_of(name): tensor for name, tensor in parts[Part.UNET].items()}
        state = diffusion_state(
            parts[Part.SCHEDULE],
            parts.get(Part.UNET_RAW, parts[Part.UNET]),
            parts[Part.EMA] | averaged,
            vq=parts.get(Part.VQ),
            text=parts.get(Part.TEXT),
        )
    metadata["source_sha256"] = _sha256(contents.file.path)
    return Conversion(contents.network, state, metadata, tuple(parts))


def _parts(contents: Contents) -> tuple[dict[Part, dict[str, Tensor]], dict[str, str]]:
    """Every part by the names of its module, checked as loading checks it, and the description of all."""
    parts: dict[Part, dict[str, Tensor]] = {}
    unet_config = vq_config = None
    if contents.network is not Network.VQ:
        unet = empty_unet(contents)
        unet_config = unet.config
        parts[Part.SCHEDULE] = contents.exactly(Part.SCHEDULE, SCHEDULE)
        parts[Part.EMA] = contents.exactly(Part.EMA, ema.COUNTERS)
        for part in (Part.UNET, Part.UNET_RAW):
            if part is Part.UNET or part in contents.parts:
                parts[part] = contents.matched(part, unet)
    if contents.network is not Network.LMNET:
        vq = empty_vq(contents)
        vq_config = vq.config
        parts[Part.VQ] = contents.matched(Part.VQ, vq)
    for part in (Part.TEXT, Part.LOSS):
        if part in contents.parts:
            parts[part] = contents.named(part)
    parts = {part: dict(contents.checked(part, tensors)) for part, tensors in parts.items()}
    told = {key: text for key, text in contents.file.metadata.items() if key in (ATTRIBUTES, WORDS)}
    return parts, description(contents.network, unet_config, vq_config) | told


def _differ(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    return any(not torch.equal(tensor, others[name]) for name, tensor in some.items())


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
