"""The networks that settings name, loaded onto the device an actor was given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import torch

from actors.linet_painter import LINetPainter
from actors.lmnet_masker import LMNetMasker
from actors.torch_devices import given_devices
from engine.backends import Backend, Mask, Paint
from engine.core.errors import UsageError
from models.batches import Batches
from models.checkpoints import load_attributes, load_unet, load_vq, text_state, words_of
from models.context import ContextEncoder, Silent
from models.device import DeviceError, resolve_dtype
from models.layers import slab_values_on
from models.layout import Network
from models.linet import LINet
from models.lmnet import LMNet
from models.samplers import Sampler, make_sampler
from models.tensor_file import CheckpointError
from models.text_source import BIOMEDCLIP, TextSourceError, load_text_encoder

_CACHE = Path.home() / ".cache" / "lesionforge" / "checkpoints"


def lmnet_masker(mask: Mask) -> LMNetMasker:
    """On the first of the actor's devices."""
    return LMNetMasker(load_lmnet(mask, given_devices()[0]), mask)


def linet_painter(paint: Paint, *, neighbour: bool) -> LINetPainter:
    """LINet on the first of the actor's devices; the VQ-GAN beside it, or on the last."""
    devices = given_devices()
    return LINetPainter(load_linet(paint, devices[0], devices[-1 if neighbour else 0]), paint)


def load_lmnet(mask: Mask, device: torch.device) -> LMNet:
    """Raises `UsageError`: a checkpoint that cannot be used, or settings that do not fit it."""
    with usage_errors("mask"):
        path = on_this_machine(_given(mask))
        unet = load_unet(
            path,
            network=Network.LMNET,
            ema=mask.weights == "averaged",
            slab_values=slab_values_on(device),
            dtype=resolve_dtype(mask.dtype, device),
            device=device,
        )
        sampler, batches = sampler_of(mask), Batches(mask.batch, setting="mask.batch")
        text, as_reference = _text(mask, path, device), mask.volume == "box"
        return LMNet(
            unet, sampler, text, guidance=mask.guidance, batches=batches, as_reference=as_reference, clip=mask.clip
        )


def load_linet(paint: Paint, device: torch.device, vq_device: torch.device) -> LINet:
    """Raises `UsageError`, as `load_lmnet`."""
    with usage_errors("paint"):
        path = on_this_machine(_given(paint))
        dtype = resolve_dtype(paint.dtype, device)
        unet = load_unet(
            path,
            network=Network.LINET,
            ema=paint.weights == "averaged",
            slab_values=slab_values_on(device),
            dtype=dtype,
            device=device,
        )
        vq_path = on_this_machine(paint.vq) if paint.vq else path
        vq = load_vq(vq_path, slab_values=slab_values_on(vq_device), dtype=dtype, device=vq_device)
        sampler, batches = sampler_of(paint), Batches(paint.batch, setting="paint.batch")
        return LINet(
            unet, vq, sampler, _text(paint, path, device), guidance=paint.guidance, batches=batches, clip=paint.clip
        )


def on_this_machine(uri: str) -> Path:
    """A checkpoint's local path; one that lies elsewhere is copied here once, under its address and its version."""
    if "://" not in uri:
        return Path(uri).expanduser()
    return Path(fsspec.open_local(f"filecache::{uri}", filecache={"cache_storage": str(_CACHE)}))


def _given(backend: Backend) -> str:
    if backend.checkpoint is None:
        raise UsageError(f"backend {backend.backend} needs its checkpoint")
    return backend.checkpoint


def sampler_of(backend: Backend) -> Sampler:
    """Raises `UsageError` for steps that the sampler cannot take."""
    try:
        return make_sampler(backend.sampler, backend.steps, eta=backend.eta, half=backend.half_tables)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _text(backend: Backend, checkpoint: Path, device: torch.device) -> ContextEncoder | None:
    trained_along = load_attributes(checkpoint, device)
    if not backend.text:
        return trained_along and Silent(trained_along)  # it has never been without a context
    require_words(checkpoint, backend)
    return trained_along or load_text_encoder(backend.tokenizer or BIOMEDCLIP, text_state(checkpoint), device)


def require_words(checkpoint: Path, backend: Backend) -> None:
    """Raises `UsageError` where a network is to be told of its lesions in other words than it has learned."""
    learned = words_of(checkpoint)
    if backend.text and learned not in (None, backend.words):
        raise UsageError(f"{checkpoint} was told words: {learned} in training, and words: {backend.words} are others")


@contextmanager
def usage_errors(section: str) -> Iterator[None]:
    """What a user can mend, as one line that says where."""
    try:
        yield
    except (CheckpointError, TextSourceError, DeviceError, OSError, UsageError) as error:
        raise UsageError(f"{section}: {error}") from None
