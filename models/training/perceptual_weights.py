"""The weights of LPIPS, from where they are published: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from models.tensor_file import CheckpointError, read_tensors
from models.training.perceptual import LPIPS, lpips_state

_IN_CHECKPOINT = "loss.perceptual_loss."
_WANTED = (
    "a VQ checkpoint that holds its training loss, or two files: torchvision's VGG16 and the VGG heads of LPIPS 0.1"
)


def load_perceptual(lpips: LPIPS, files: Sequence[Path]) -> None:
    """Fills `lpips` from one VQ checkpoint, or from VGG16 and the heads in any order. Raises CheckpointError."""
    if not files:
        raise CheckpointError(f"the perceptual loss has no weights: name {_WANTED}; or train without it")
    tensors = {key: tensor for path in files for key, tensor in read_tensors(path).tensors.items()}
    named = ", ".join(map(str, files))
    state = _state(tensors, named)
    for name, own in lpips.state_dict().items():
        if name not in state:
            raise CheckpointError(f"{named} lacks '{name}' of the perceptual network; wanted is {_WANTED}")
        if state[name].shape != own.shape:
            found, wanted = tuple(state[name].shape), tuple(own.shape)
            raise CheckpointError(f"{named} holds '{name}' of shape {found}, and {wanted} is wanted")
        if not bool(state[name].isfinite().all()):
            raise CheckpointError(f"{named} holds '{name}' with values that are not finite")
    lpips.load_state_dict({name: state[name] for name in lpips.state_dict()})


def _state(tensors: Mapping[str, Tensor], named: str) -> dict[str, Tensor]:
    stored = {key.removeprefix(_IN_CHECKPOINT): t for key, t in tensors.items() if key.startswith(_IN_CHECKPOINT)}
    try:
        return stored or lpips_state(tensors, tensors)
    except KeyError as error:
        raise CheckpointError(f"{named} lacks '{error.args[0]}'; wanted is {_WANTED}") from error
