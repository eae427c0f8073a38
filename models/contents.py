"""What lies in a file of weights: parts under the file's own keys, checked against the names of a module.

Names are looked up by the module's, so that a key that is missing, unexpected or misshapen is an error that names it.
Nothing is read before it is asked for: tensors are views of the mapped file until they are copied.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models import sizes
from models.layout import Network, Part, looks_like, part_of, place, recomputed
from models.tensor_file import CheckpointError, TensorFile, read_tensors
from models.unet import UNetConfig
from models.vq import VQConfig

FORMAT = "1"
"""Of our safetensors files; a change that an older LesionForge would misread counts it up."""

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)
_NAMED = 3  # keys that an error lists; of the others it says how many there are
_WORDS = {
    Part.SCHEDULE: "noise schedule",
    Part.UNET: "averaged UNet weights",
    Part.UNET_RAW: "raw UNet weights",
    Part.EMA: "counters of the average",
    Part.VQ: "VQ autoencoder",
    Part.TEXT: "text tower",
    Part.LOSS: "training loss",
}


@dataclass(frozen=True)
class Contents:
    """Of one file. The keys of a part are in the file's order."""

    file: TensorFile
    network: Network
    parts: Mapping[Part, Mapping[str, Tensor]]

    def error(self, says: str) -> CheckpointError:
        return CheckpointError(f"{self.file.path} {says}")

    def part(self, part: Part) -> Mapping[str, Tensor]:
        """By the file's keys. Raises CheckpointError where the file has none of it."""
        if part not in self.parts:
            there = ", ".join(_WORDS[held] for held in Part if held in self.parts)
            raise self.error(f"is a checkpoint of {self.network} without {_WORDS[part]}; it holds: {there}")
        return self.parts[part]

    def named(self, part: Part) -> dict[str, Tensor]:
        """By the names of the module that wrote them, in its order; only where names keep their dots."""
        found, at = self.part(part), place(part, self.network, safetensors=self.file.safetensors)
        tensors = {key.removeprefix(at.prefix): tensor for key, tensor in found.items()}
        try:
            order = json.loads(self.file.metadata.get("order", "{}")).get(part.value, list(tensors))
            named = {name: tensors[name] for name in order}
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise self.error(f"has a header that does not fit its {_WORDS[part]}") from error
        self._demand(part, {"unexpected": [at.key(name) for name in tensors if name not in named]})
        return named

    def exactly(self, part: Part, names: Sequence[str]) -> dict[str, Tensor]:
        """The same, where the names are known without a module, and in their order."""
        found = self.named(part)
        self._demand(part, {"missing": [name for name in names if name not in found]})
        return {name: found[name] for name in names}

    def matched(self, part: Part, module: nn.Module) -> dict[str, Tensor]:
        """By the module's names, in its order; keys, shapes and kinds of number are the module's."""
        found, at = self.part(part), place(part, self.network, safetensors=self.file.safetensors)
        wanted = {at.key(name): (name, tensor) for name, tensor in module.state_dict().items()}
        misshapen = [
            f"{key} is {tuple(found[key].shape)} instead of {tuple(tensor.shape)}"
            for key, (_, tensor) in wanted.items()
            if key in found and found[key].shape != tensor.shape
        ]
        missing = [key for key in wanted if key not in found]
        unexpected = [key for key in found if key not in wanted]
        self._demand(part, {"missing": missing, "unexpected": unexpected, "misshapen": misshapen})
        for key, (_, tensor) in wanted.items():
            kinds = _FLOATS if tensor.is_floating_point() else (tensor.dtype,)
            if found[key].dtype not in kinds:
                raise self.error(f"has {key} as {_word(found[key].dtype)}, and {_word(kinds[0])} is wanted")
        return {name: found[key] for key, (name, _) in wanted.items()}

    def _demand(self, part: Part, wrong: Mapping[str, list[str]]) -> None:
        if any(wrong.values()):
            listed = "; ".join(_listed(keys, kind) for kind, keys in wrong.items() if keys)
            raise self.error(f"looks like {self.network}, but its {_WORDS[part]}: {listed}")

    def checked(self, part: Part, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """One by one, each read when it is reached. Raises CheckpointError at a NaN or infinity, naming its key."""
        at = place(part, self.network, safetensors=self.file.safetensors)
        for name, tensor in tensors.items():
            if not _finite(tensor):
                raise self.error(f"has NaN or infinite weights in {at.key(name)}")
            yield name, tensor

    def fill(self, module: nn.Module, part: Part, dtype: torch.dtype, device: str | torch.device) -> None:
        """Copies of a part become the weights of a module, which may be on the meta device until then."""
        copies = {
            name: tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None, copy=True)
            for name, tensor in self.checked(part, self.matched(part, module))
        }
        module.load_state_dict(copies, assign=True)


def description(network: Network, unet: UNetConfig | None = None, vq: VQConfig | None = None) -> dict[str, str]:
    """What our files say beside their weights, training's checkpoints too: whose they are, and the sizes."""
    return {"format": FORMAT, "network": network.value, "config": sizes.to_json(unet, vq)}


def open_contents(source: Path, network: Network | None = None) -> Contents:
    """Raises CheckpointError: not a file of weights, keys of no part, or the checkpoint of another than `network`."""
    file = read_tensors(source)
    found = _network_of(file)
    if network not in (None, found):
        raise CheckpointError(f"{source} looks like {found}, and {network} is wanted")
    parts: dict[Part, dict[str, Tensor]] = {}
    strays = []
    for key, tensor in file.tensors.items():
        part = part_of(key, found, safetensors=file.safetensors)
        if part is None:
            strays.append(key)
        elif not (part is Part.TEXT and recomputed(key)):
            parts.setdefault(part, {})[key] = tensor
    if strays:
        raise CheckpointError(f"{source} looks like {found}, but for {_listed(strays, 'unexpected')}")
    return Contents(file, found, parts)


def _network_of(file: TensorFile) -> Network:
    if not file.safetensors:
        found = looks_like(file.tensors)
        if found is None:
            begin = list(dict.fromkeys(key.split(".")[0] for key in file.tensors))[:_NAMED]
            begins = f"its keys begin with {', '.join(begin)}" if begin else "it holds no tensors"
            raise CheckpointError(f"{file.path} is a checkpoint of none of {', '.join(Network)}: {begins}")
        return found
    written, network = file.metadata.get("format"), file.metadata.get("network")
    if written is None or network is None or network not in [*Network]:
        raise CheckpointError(f"{file.path} is a safetensors file that `lesionforge convert` has not written")
    if written != FORMAT:
        raise CheckpointError(f"{file.path} has format {written} of another LesionForge; this one reads {FORMAT}")
    return Network(network)


def _listed(keys: list[str], kind: str) -> str:
    return f"{len(keys)} {kind} ({', '.join(keys[:_NAMED])}{', ...' if len(keys) > _NAMED else ''})"


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(bool(torch.isfinite(extreme)) for extreme in tensor.aminmax())  # NaN is passed on by both
