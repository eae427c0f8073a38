"""What lies where in the published checkpoints, and in the safetensors files made of them.

LMNet.ckpt, LINet.ckpt     12 schedule buffers, model.* (the UNet as the last step left it), model_ema.* (averaged;
                           names without dots), LINet: first_stage_model.* (VQ), cond_stage_model.* (text tower)
VQ.ckpt                    encoder.*, decoder.*, quantize.*, quant_conv.*, post_quant_conv.*, loss.* (LPIPS and the
                           discriminators, for training)
safetensors                schedule.*, unet.* (averaged), unet_raw.*, ema.*, vq.*, text.*, loss.*
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from models import ema
from models.diffusion import PUBLISHED

SCHEDULE = tuple(PUBLISHED.buffers())
"""Buffers of the noise schedule, in their order. float32 (timesteps)."""

_VQ_MODULES = ("encoder.", "decoder.", "quantize.", "quant_conv.", "post_quant_conv.")
_RECOMPUTED = ".position_ids"  # 0, 1, 2, ...: stored by transformers before 4.31, recomputed since


class Network(StrEnum):
    """Whose checkpoint it is."""

    LMNET = "LMNet"
    LINET = "LINet"
    VQ = "VQ"


class Part(StrEnum):
    """What a checkpoint may hold; the values are the prefixes in a safetensors file."""

    SCHEDULE = "schedule."
    UNET = "unet."  # averaged
    UNET_RAW = "unet_raw."
    EMA = "ema."  # the counters of the average
    VQ = "vq."
    TEXT = "text."
    LOSS = "loss."


@dataclass(frozen=True)
class Place:
    """Where a name of a module stands in a file: behind a prefix, and perhaps without its dots."""

    prefix: str
    dotted: bool = True

    def key(self, name: str) -> str:
        return self.prefix + (name if self.dotted else ema.key_of(name))


_DIFFUSION = {
    Part.SCHEDULE: Place(""),
    Part.UNET_RAW: Place("model."),
    Part.UNET: Place("model_ema.", dotted=False),
    Part.EMA: Place("model_ema."),
    Part.VQ: Place("first_stage_model."),
    Part.TEXT: Place("cond_stage_model."),
}
_AUTOENCODER = {Part.VQ: Place(""), Part.LOSS: Place("loss.")}
_SAFETENSORS = {part: Place(part.value) for part in Part}


def place(part: Part, network: Network, *, safetensors: bool) -> Place:
    """Where the part stands. Raises KeyError where the published checkpoint of that network has no such part."""
    if safetensors:
        return _SAFETENSORS[part]
    return (_AUTOENCODER if network is Network.VQ else _DIFFUSION)[part]


def part_of(key: str, network: Network, *, safetensors: bool) -> Part | None:
    """Which part a key belongs to; None for a key that no such file has."""
    if safetensors:
        return next((part for part in Part if key.startswith(part.value)), None)
    if network is Network.VQ:
        loss = key.startswith(_AUTOENCODER[Part.LOSS].prefix)
        return Part.LOSS if loss else Part.VQ if key.startswith(_VQ_MODULES) else None
    if key in SCHEDULE:
        return Part.SCHEDULE
    if key in map(_DIFFUSION[Part.EMA].key, ema.COUNTERS):
        return Part.EMA
    named = (Part.UNET_RAW, Part.UNET, Part.VQ, Part.TEXT)
    return next((part for part in named if key.startswith(_DIFFUSION[part].prefix)), None)


def recomputed(key: str) -> bool:
    """Whether a key is there in checkpoints of some ages only, and of no use."""
    return key.endswith(_RECOMPUTED)


def looks_like(keys: Iterable[str]) -> Network | None:
    """Whose published checkpoint has such keys."""
    prefixes = {key.split(".", 1)[0] + "." for key in keys}
    if {"model.", "model_ema."} & prefixes:
        return Network.LINET if "first_stage_model." in prefixes else Network.LMNET
    return Network.VQ if {"encoder.", "decoder."} <= prefixes else None


def diffusion_state(
    schedule: Mapping[str, Tensor],
    unet: Mapping[str, Tensor],
    averages: Mapping[str, Tensor],
    *,
    vq: Mapping[str, Tensor] | None = None,
    text: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """State dict of LMNet.ckpt, or with `vq` of LINet.ckpt, of the state dicts of its modules; all in their order.

    `averages` is that of `models.ema.Ema`; `text` that of the text tower, or of another attribute encoder. Raises
    ValueError where the schedule is not the twelve buffers, or the averages are not the UNet's.
    """
    if set(schedule) != set(SCHEDULE):
        raise ValueError(f"the schedule has {sorted(schedule)}, and {list(SCHEDULE)} are wanted")
    if set(averages) != {*ema.COUNTERS, *map(ema.key_of, unet)}:
        raise ValueError("the averages are not those of this UNet's parameters")
    modules: list[tuple[Part, Mapping[str, Tensor]]] = [
        (Part.SCHEDULE, {name: schedule[name] for name in SCHEDULE}),
        (Part.UNET_RAW, unet),
        (Part.EMA, {counter: averages[counter] for counter in ema.COUNTERS}),
        (Part.UNET, {name: averages[ema.key_of(name)] for name in unet}),
        (Part.VQ, vq or {}),
        (Part.TEXT, {name: tensor for name, tensor in (text or {}).items() if not recomputed(name)}),
    ]
    return {_DIFFUSION[part].key(name): tensor for part, tensors in modules for name, tensor in tensors.items()}


def vq_state(vq: Mapping[str, Tensor], loss: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """State dict of VQ.ckpt, of those of the autoencoder and of its training loss, which stands in the middle."""
    front = {name: tensor for name, tensor in vq.items() if name.startswith(("encoder.", "decoder."))}
    middle = {_AUTOENCODER[Part.LOSS].key(name): tensor for name, tensor in (loss or {}).items()}
    return {**front, **middle, **{name: tensor for name, tensor in vq.items() if name not in front}}
