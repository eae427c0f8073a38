"""Files of named tensors: torch's checkpoints, and safetensors.

Both are mapped into memory, so that a tensor is read when it is used and not before. A checkpoint is a pickle beside
its tensors, and may hold objects of the framework that trained it: of those nothing is imported, constructed or
called. Each name that torch does not know as harmless stands for a class that does nothing, and what is left after
that has to pass `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import json
import os
import pickle
import secrets
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import error as StructError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

METADATA_KEY = "lesionforge"
"""Our entry beside `state_dict` in a checkpoint, and in the header of safetensors: one, as that keeps no order."""

# what a damaged or hostile pickle makes torch's unpickler raise
_NOT_READABLE = (
    pickle.UnpicklingError,
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    StructError,
)
_DICTIONARIES = ("defaultdict", "AttributeDict")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_LONGEST_HEADER = 100_000_000  # of safetensors, by its own rule


class CheckpointError(ValueError):
    """A file of weights that is damaged, of another network, or not such a file. One line that names what is wrong."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())  # names in a file may hold anything


@dataclass(frozen=True)
class TensorFile:
    """Named tensors, all on the CPU and plain, in the file's order: views of the mapped file, to be copied.

    `metadata` is what LesionForge wrote beside them; a file of others has none.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    safetensors: bool


def read_tensors(path: Path, *, entry: str = "state_dict") -> TensorFile:
    """The tensors of a checkpoint or a safetensors file, by its content, not its name. Raises CheckpointError.

    `entry` is a checkpoint's own name for them, where it has more to say.
    """
    try:
        with path.open("rb") as opened:
            head = opened.read(16)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if head.startswith((_ZIP, _PICKLE)):
        file = _read_checkpoint(path, entry, zipped=head.startswith(_ZIP))
    elif head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER:
        file = _read_safetensors(path)
    else:
        begins = f"begins with {head!r}" if head else "is empty"
        raise CheckpointError(f"{path} is neither a torch checkpoint nor a safetensors file: it {begins}")
    for key, tensor in file.tensors.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu":
            raise CheckpointError(f"{path} holds '{key}' as {tensor.layout} on {tensor.device}, not as a plain tensor")
    return file


def _read_safetensors(path: Path) -> TensorFile:
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 # not a mapping
            said = json.loads((opened.metadata() or {}).get(METADATA_KEY, "{}"))
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} is a truncated or damaged safetensors file: {error}") from error
    return TensorFile(path, tensors, _texts(said), safetensors=True)


class _Inert:
    """Stands for a pickled object of some framework: takes what it is given, keeps and does nothing."""

    def __new__(cls, *_args: object) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *_args: object) -> None: ...

    def __setstate__(self, _state: object) -> None: ...


class _InertDict:
    """The same for a kind of dictionary: torch's unpickler fills none but `dict` itself."""

    def __new__(cls, *_args: object) -> dict[object, object]:  # type: ignore[misc]
        return {}


def _read_checkpoint(path: Path, entry: str, *, zipped: bool) -> TensorFile:
    """Before version 1.6 torch wrote no zip: such a file cannot be mapped, nor objects in it be left aside."""
    if path.suffix == ".safetensors":  # torch.load goes by the name
        raise CheckpointError(f"{path} is a torch checkpoint under the name of a safetensors file; rename it")
    names: list[str] = []
    try:
        names = get_unsafe_globals_in_checkpoint(path) if zipped else []
        inert = [(_InertDict if name.rpartition(".")[2] in _DICTIONARIES else _Inert, name) for name in names]
        with safe_globals(inert), warnings.catch_warnings():  # type: ignore[arg-type] # documented: (class, name)
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # an error follows, or none is needed
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except _NOT_READABLE as error:
        raise CheckpointError(f"{path} {_why_unreadable(names if zipped else None, error)}") from error
    state = content.get(entry, content) if isinstance(content, dict) else content
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a dictionary of tensors")
    odd = [key for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if odd and state is content:
        raise CheckpointError(f"{path} has no '{entry}'; its entries are {', '.join(map(str, [*content][:5]))}")
    if odd:
        raise CheckpointError(f"{path} has a {entry} whose '{odd[0]}' is no tensor")
    return TensorFile(path, state, _texts(content.get(METADATA_KEY)), safetensors=False)


def _texts(said: object) -> dict[str, str]:
    return {str(key): str(text) for key, text in said.items()} if isinstance(said, dict) else {}


def _why_unreadable(names: list[str] | None, error: Exception) -> str:
    if "TorchScript" in str(error) or "torchscript" in str(error):
        return "is a TorchScript archive, not a checkpoint"
    if isinstance(error, pickle.UnpicklingError):
        if names is None:
            return (
                "is refused: a pickle outside a zip (torch before 1.6, or none of torch's) may hold nothing but tensors"
            )
        called = sorted(names, key=lambda name: not name.startswith(("os.", "posix.", "nt.", "sys.")))
        of = f" ({', '.join(called[:3])}{', ...' if len(called) > 3 else ''})" if called else ""
        return f"is refused: its pickle asks for more than tensors and objects that can be left aside{of}"
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"is truncated, damaged, or no torch checkpoint: {reason[:120]}"


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """The file appears whole or not at all. Raises OSError."""
    header = {METADATA_KEY: json.dumps(dict(metadata), sort_keys=True)}
    with _appearing(path) as temporary:
        save_file({key: _alone(tensor) for key, tensor in tensors.items()}, temporary, header)


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """{"state_dict": tensors} as published, and the metadata beside it. Whole or not at all. Raises OSError."""
    content = {"state_dict": {key: _alone(tensor) for key, tensor in tensors.items()}, METADATA_KEY: dict(metadata)}
    with _appearing(path) as temporary, temporary.open("wb") as opened:  # given a name, torch writes that name, too
        torch.save(content, opened)


def _alone(tensor: Tensor) -> Tensor:
    """Plain, on the CPU, and not a view of something larger, all of which would be written."""
    plain = tensor.detach().cpu().contiguous()
    return plain if plain.untyped_storage().nbytes() == plain.nbytes else plain.clone()


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name at the end, and is gone where something fails."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except (SafetensorError, RuntimeError) as error:  # as which both libraries tell of a full disk
        raise OSError(f"{path} cannot be written: {str(error).splitlines()[0]}") from error
    finally:
        temporary.unlink(missing_ok=True)
