"""Networks from their checkpoints: the published ones, our training's, and safetensors files made of either.

Only what is asked for is read, and copied out of the file: LINet.ckpt holds the UNet twice, an autoencoder and a text
tower, and a UNet loaded from it is the only one in memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from models import sizes
from models.attributes import AttributeConfig, AttributeEncoder
from models.contents import Contents, open_contents
from models.diffusion import PUBLISHED, Schedule
from models.layers import SLAB_VALUES
from models.layout import SCHEDULE, Network, Part
from models.tensor_file import CheckpointError
from models.unet import UNet, UNetConfig
from models.vq import VQ, VQConfig

ATTRIBUTES = "attributes"
"""Beside the weights of our own training: what the attribute encoder in the text tower's place is made of, as JSON."""
WORDS = "words"
"""Likewise: in which words the network was told of its lesions; a word of its caller's, not of these networks."""

_NO_SIZES = (
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
)  # of shapes that no such network has, or no text of ours


def load_unet(
    source: Path,
    *,
    network: Network | None = None,
    config: UNetConfig | None = None,
    ema: bool = True,
    slab_values: int | None = SLAB_VALUES,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> UNet:
    """The UNet of LMNet or LINet, in eval mode: its averaged weights, or with `ema=False` those of the last step.

    Sizes are the file's, unless `config` gives them; the width of an attention head shows in no shape, and is 32 where
    no text beside the weights says otherwise. `network` is whose they have to be. Raises CheckpointError.
    """
    contents = open_contents(source, network)
    part = Part.UNET if ema else Part.UNET_RAW
    contents.part(part)
    unet = empty_unet(contents, config, slab_values)
    contents.fill(unet, part, dtype, device)
    return unet.eval()


def load_vq(
    source: Path,
    *,
    config: VQConfig | None = None,
    slab_values: int | None = SLAB_VALUES,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> VQ:
    """The autoencoder of VQ or LINet, in eval mode; sizes as in `load_unet`. Raises CheckpointError."""
    contents = open_contents(source)
    contents.part(Part.VQ)
    vq = empty_vq(contents, config, slab_values)
    contents.fill(vq, Part.VQ, dtype, device)
    return vq.eval()


def load_text(
    source: Path, tower: nn.Module, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> None:
    """The text tower of LMNet or LINet, or the attribute encoder in its place, into a module with its names.

    Raises CheckpointError.
    """
    open_contents(source).fill(tower, Part.TEXT, dtype, device)


def text_state(source: Path) -> dict[str, Tensor]:
    """State dict of the text tower (`model.transformer.*`, `model.proj.*`), copied. Raises CheckpointError."""
    contents = open_contents(source)
    return {name: tensor.clone() for name, tensor in contents.checked(Part.TEXT, contents.named(Part.TEXT))}


def attribute_config(contents: Contents) -> AttributeConfig | None:
    """Of the attribute encoder that was trained with the UNet; None where there is a text tower, or neither.

    Raises CheckpointError for a description that cannot be read.
    """
    said = contents.file.metadata.get(ATTRIBUTES)
    if said is None:
        return None
    try:
        return AttributeConfig.from_json(json.loads(said))
    except (ValueError, LookupError, TypeError) as error:
        raise contents.error(f"describes its attribute encoder in a way that cannot be read: {error}") from error


def words_of(source: Path) -> str | None:
    """In which words the network was told of its lesions; None of a published one. Raises CheckpointError."""
    return open_contents(source).file.metadata.get(WORDS)


def load_attributes(source: Path, device: str | torch.device = "cpu") -> AttributeEncoder | None:
    """The attribute encoder of LMNet or LINet, in eval mode; None where it has none. Raises CheckpointError."""
    contents = open_contents(source)
    config = attribute_config(contents)
    if config is None:
        return None
    encoder = AttributeEncoder(config)
    contents.fill(encoder, Part.TEXT, torch.float32, device)
    return encoder.eval()


def schedule_state(source: Path) -> dict[str, Tensor]:
    """The twelve buffers of the noise schedule that LMNet or LINet was trained on. Raises CheckpointError."""
    contents = open_contents(source)
    buffers = contents.exactly(Part.SCHEDULE, SCHEDULE)
    return {name: tensor.clone() for name, tensor in contents.checked(Part.SCHEDULE, buffers)}


def require_schedule(source: Path, schedule: Schedule = PUBLISHED) -> None:
    """Raises CheckpointError where LMNet or LINet was trained on another noise schedule than `schedule`."""

    def course(values: Tensor) -> str:
        return f"from {float(values[0]):.4g} to {float(values[-1]):.4g} in {len(values)} steps"

    wanted = schedule.buffers()
    for name, theirs in schedule_state(source).items():
        ours = wanted[name]
        if theirs.shape != ours.shape or not torch.allclose(theirs, ours, rtol=1e-4, atol=1e-6):
            raise CheckpointError(
                f"{source} was trained on another noise schedule: {name} go {course(theirs)}; {course(ours)} is wanted"
            )


def empty_unet(contents: Contents, config: UNetConfig | None = None, slab_values: int | None = SLAB_VALUES) -> UNet:
    """On the meta device: for its names and shapes, or to be filled. Raises CheckpointError where no UNet fits."""
    telling = Part.UNET if contents.file.safetensors else Part.UNET_RAW  # names without dots tell no sizes
    try:
        config = config or _said(contents)[0] or sizes.unet_config(_shapes(contents, telling))
        with torch.device("meta"), _Undrawn():
            return UNet(config, slab_values=slab_values)
    except CheckpointError:
        raise
    except _NO_SIZES as error:
        raise contents.error(f"looks like {contents.network}, but its UNet has no sizes: {_reason(error)}") from error


def empty_vq(contents: Contents, config: VQConfig | None = None, slab_values: int | None = SLAB_VALUES) -> VQ:
    """The same of the autoencoder."""
    try:
        config = config or _said(contents)[1] or sizes.vq_config(_shapes(contents, Part.VQ))
        with torch.device("meta"), _Undrawn():
            return VQ(config, slab_values=slab_values)
    except CheckpointError:
        raise
    except _NO_SIZES as error:
        raise contents.error(f"looks like {contents.network}, but its VQ has no sizes: {_reason(error)}") from error


class _Undrawn(TorchFunctionMode):
    """Initialises nothing: on the meta device there is nothing to, and for trying torch imports two seconds of code."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _said(contents: Contents) -> tuple[UNetConfig | None, VQConfig | None]:
    text = contents.file.metadata.get("config")
    return (None, None) if text is None else sizes.from_json(text)


def _shapes(contents: Contents, part: Part) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in contents.named(part).items()}


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
