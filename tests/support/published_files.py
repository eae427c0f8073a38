"""Small checkpoints in the published layout, as their training framework leaves them."""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.diffusion import PUBLISHED
from models.ema import Ema
from models.layout import diffusion_state, vq_state
from models.tensor_file import CheckpointError
from models.unet import UNet, UNetConfig
from models.vq import VQ, VQConfig

SMALL_LMNET = UNetConfig(
    in_channels=4, out_channels=1, width=32, width_multipliers=(1,), res_blocks=1, attention_at=(), context_channels=16
)
SMALL_LINET = UNetConfig(
    in_channels=5,
    out_channels=5,
    width=16,
    width_multipliers=(1, 2),
    res_blocks=2,
    attention_at=(2,),
    context_channels=32,
)
SMALL_VQ = VQConfig(width=16, codes=8)


class Tower(nn.Module):
    """Stands for a text tower: a few of its names."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.ModuleDict(
            {
                "transformer": nn.ModuleDict({"embeddings": nn.ModuleDict({"word_embeddings": nn.Embedding(9, 4)})}),
                "proj": nn.Sequential(nn.Linear(4, 3, bias=False), nn.GELU(), nn.Linear(3, 2, bias=False)),
            }
        )


class Loss(nn.Module):
    """Stands for the loss of a VQ's training: weights, running statistics, a count."""

    def __init__(self) -> None:
        super().__init__()
        self.perceptual_loss, self.frame_discriminator = nn.Linear(2, 2), nn.BatchNorm1d(3)


@dataclass(frozen=True)
class Trained:
    """Modules as training leaves them, averaged and raw weights apart."""

    unet: UNet
    ema: Ema
    vq: VQ
    text: Tower
    loss: Loss
    schedule: Mapping[str, Tensor]

    @classmethod
    def random(cls, config: UNetConfig, seed: int = 0) -> Trained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            unet, vq, text, loss = UNet(config, slab_values=None), VQ(SMALL_VQ), Tower(), Loss()
            average = Ema(unet)
            for parameter in unet.parameters():
                parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
            average.update(unet)
            return cls(unet, average, vq, text, loss, PUBLISHED.buffers())

    @property
    def averages(self) -> dict[str, Tensor]:
        """By the UNet's own names."""
        with self.ema.averaged(self.unet):
            return {name: tensor.clone() for name, tensor in self.unet.state_dict().items()}

    @property
    def lmnet(self) -> dict[str, Tensor]:
        return diffusion_state(
            self.schedule, self.unet.state_dict(), self.ema.state_dict(), text=self.text.state_dict()
        )

    @property
    def linet(self) -> dict[str, Tensor]:
        return diffusion_state(
            self.schedule,
            self.unet.state_dict(),
            self.ema.state_dict(),
            vq=self.vq.state_dict(),
            text=self.text.state_dict(),
        )

    @property
    def autoencoder(self) -> dict[str, Tensor]:
        return vq_state(self.vq.state_dict(), self.loss.state_dict())


def save(path: Path, state: Mapping[str, Tensor], **beside: Any) -> Path:
    """As Lightning does: a state dict among other entries."""
    torch.save({"epoch": 3, "global_step": 12, **beside, "state_dict": OrderedDict(state)}, path)
    return path


@contextmanager
def framework() -> Iterator[Mapping[str, Any]]:
    """What a run of Lightning and OmegaConf leaves in a checkpoint. Outside, these classes exist no more."""
    made: dict[str, type] = {}
    modules: dict[str, ModuleType] = {}
    for name, base in {
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint": object,
        "pytorch_lightning.utilities.parsing.AttributeDict": dict,
        "omegaconf.dictconfig.DictConfig": object,
        "omegaconf.base.ContainerMetadata": object,
    }.items():
        module, _, kind = name.rpartition(".")
        made[kind] = type(kind, (base,), {"__module__": module, "__setstate__": _ran})
        parts = module.split(".")
        for count in range(1, len(parts) + 1):
            modules.setdefault(".".join(parts[:count]), ModuleType(".".join(parts[:count])))
        setattr(modules[module], kind, made[kind])
    sys.modules.update(modules)
    try:
        yield _left_behind(made)
    finally:
        for name in modules:
            del sys.modules[name]


def _ran(*_: object) -> None:
    raise AssertionError("code of the training framework ran")


def _left_behind(made: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    config, metadata = made["DictConfig"](), made["ContainerMetadata"]()
    metadata.__dict__.update(ref_type=Any, element_type=int, flags=defaultdict(dict, allow=True), key=None)
    config.__dict__.update(_metadata=metadata, _content={"lr": 1e-5, "path": Path("/data")})
    arguments = made["AttributeDict"]()
    arguments["target"] = "ldm.Model"
    return {
        "hyper_parameters": config,
        "hparams_type": made["DictConfig"],
        "arguments": arguments,
        "callbacks": {made["ModelCheckpoint"]: {"best_model_score": torch.tensor(0.5), "seen": {1, 2}}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
    }


def with_pickle(path: Path, data: bytes) -> Path:
    """The zip of a checkpoint whose pickle is `data`."""
    torch.save({"state_dict": {}}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, record in records.items():
            archive.writestr(name, data if name.endswith("data.pkl") else record)
    return path


class Calls:
    """Pickles as a call of `function`: what unpickling it carelessly does."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def call_by_name(*path: str, argument: str) -> bytes:
    """Pickle of `getattr(__import__(path[0]), path[1])(argument)`, by opcodes that torch's unpickler knows."""
    data = b"cbuiltins\n__import__\n(" + _text(path[0]) + b"tR"
    for name in path[1:]:
        data = b"cbuiltins\ngetattr\n(" + data + _text(name) + b"tR"
    return b"\x80\x02" + data + b"(" + _text(argument) + b"tR" + pickle.STOP


def _text(word: str) -> bytes:
    return pickle.BINUNICODE + len(word.encode()).to_bytes(4, "little") + word.encode()


def same(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    return list(some) == list(others) and all(
        torch.equal(tensor, others[name]) and tensor.dtype == others[name].dtype for name, tensor in some.items()
    )


def refusal(load: Callable[[Path], Any], path: Path) -> str:
    """What loading it says: one line, after the file's name."""
    with pytest.raises(CheckpointError) as refused:
        load(path)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{path} ")
    return line.removeprefix(f"{path} ")
