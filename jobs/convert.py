"""`lesionforge convert`: a checkpoint as one safetensors file, and back in the published layout."""

from __future__ import annotations

from pathlib import Path

from engine.core.errors import OutputError, UsageError
from models.contents import open_contents
from models.conversion import Conversion, as_published, as_safetensors
from models.layout import Network, Part
from models.tensor_file import CheckpointError, write_checkpoint, write_safetensors

_SUFFIXES = (".safetensors", ".ckpt")


def convert(source: str, target: str, *, training: bool = False) -> None:
    """Write `target`, by its suffix as safetensors or in the published layout, and say what it holds.

    Raises `UsageError`: no such checkpoint, a target of another suffix or that exists. Raises `OutputError`: no room.
    """
    path = Path(target)
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"{target} ends with none of {', '.join(_SUFFIXES)}, by which its format is chosen")
    if path.exists():
        raise UsageError(f"{target} exists; remove it, or choose another name")
    if not path.parent.is_dir():
        raise UsageError(f"{target}: there is no folder {path.parent}")
    published = path.suffix == ".ckpt"
    try:
        contents = open_contents(Path(source))
        conversion = as_published(contents) if published else as_safetensors(contents, training=training)
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    try:
        write = write_checkpoint if published else write_safetensors
        write(path, conversion.tensors, conversion.metadata)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error}") from error
    print(f"{conversion.network}: {_held(conversion)}; {path.stat().st_size / 1e6:.0f} MB in {target}")
    if published:
        _say_what_is_missing(conversion)


def _held(conversion: Conversion) -> str:
    words = {
        Part.UNET: "averaged UNet",
        Part.UNET_RAW: "raw UNet",
        Part.VQ: "autoencoder",
        Part.TEXT: "text tower",
        Part.LOSS: "training loss",
    }
    return ", ".join(word for part, word in words.items() if part in conversion.parts)


def _say_what_is_missing(conversion: Conversion) -> None:
    """A file made without --training is enough to infer from, not to go on training."""
    if conversion.network is Network.VQ and Part.LOSS not in conversion.parts:
        print("its loss.* is left out: the source does not hold it")
    if conversion.network is not Network.VQ and Part.UNET_RAW not in conversion.parts:
        print("its model.* are the averaged weights: the source holds no others")


if __name__ == "__main__":
    from jobs.cli import command

    command("convert")
