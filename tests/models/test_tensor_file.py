"""Files of tensors: what is pickled in them never runs, and what is no such file is refused in one line."""

from __future__ import annotations

import functools
import operator
import os
import pickle
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from models.checkpoints import load_unet
from models.tensor_file import write_safetensors
from published_files import SMALL_LMNET, Calls, Trained, call_by_name, framework, refusal, same, save, with_pickle


@pytest.fixture(scope="module")
def lmnet() -> Trained:
    return Trained.random(SMALL_LMNET)


# -- pickled objects ---------------------------------------------------------------------------------------------------


def test_objects_of_the_training_framework_are_left_aside(lmnet: Trained, tmp_path: Path) -> None:
    with framework() as left_behind:
        path = save(tmp_path / "LMNet.ckpt", lmnet.lmnet, **left_behind)
    assert same(load_unet(path).state_dict(), lmnet.averages)


CALLS: dict[str, Callable[[Path], Calls]] = {
    "system": lambda mark: Calls(os.system, f"touch {mark}"),
    "mkdir": lambda mark: Calls(os.mkdir, str(mark)),
    "partial": lambda mark: Calls(functools.partial(os.mkdir, str(mark))),
    "method": lambda mark: Calls(operator.methodcaller("touch"), mark),
    "eval": lambda mark: Calls(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Calls(exec, f"open({str(mark)!r}, 'w')"),
    "open": lambda mark: Calls(open, str(mark), "w"),
    "popen": lambda mark: Calls(subprocess.check_call, ["touch", str(mark)]),
    "pickle": lambda mark: Calls(pickle.loads, pickle.dumps(Calls(os.mkdir, str(mark)), 2)),
    "torch": lambda mark: Calls(torch.save, 1, str(mark)),
}
REFUSED = ("system", "mkdir", "partial", "method")  # names of the operating system, or an object that is called


def test_checkpoints_of_torch_before_1_6(lmnet: Trained, tmp_path: Path) -> None:
    old = {"_use_new_zipfile_serialization": False}
    torch.save({"epoch": 1, "state_dict": lmnet.lmnet}, tmp_path / "old.ckpt", **old)
    assert same(load_unet(tmp_path / "old.ckpt").state_dict(), lmnet.averages)
    for name, call in CALLS.items():
        mark = tmp_path / f"mark-{name}"
        torch.save({"state_dict": lmnet.lmnet, "callbacks": call(mark)}, tmp_path / "bad.ckpt", **old)
        assert refusal(load_unet, tmp_path / "bad.ckpt").startswith("is refused: a pickle outside a zip")
        assert not mark.exists()


@pytest.mark.parametrize("where", ["beside", "inside"])
@pytest.mark.parametrize("name", CALLS)
def test_code_in_a_checkpoint_never_runs(name: str, where: str, lmnet: Trained, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "LMNet.ckpt"
    call = CALLS[name](mark)
    if where == "beside":
        save(path, lmnet.lmnet, callbacks={"x": [call]})
    else:
        save(path, {**lmnet.lmnet, "model.extra": call})  # type: ignore[dict-item]
    if name in REFUSED:
        assert refusal(load_unet, path).startswith("is refused: its pickle asks for more than tensors")
    elif where == "inside":
        assert refusal(load_unet, path) == "has a state_dict whose 'model.extra' is no tensor"
    else:
        assert same(load_unet(path).state_dict(), lmnet.averages)
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the same file, read carelessly
    assert mark.exists()


def test_code_by_name_never_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    data = call_by_name("os", "mkdir", argument=str(mark))
    path = with_pickle(tmp_path / "LMNet.ckpt", data)
    assert refusal(load_unet, path).startswith("is refused: its pickle asks for more than tensors")
    assert not mark.exists()
    pickle.loads(data)  # noqa: S301 # the same bytes, read carelessly
    assert mark.exists()


def test_what_is_refused_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "x.ckpt", {}, callbacks=Calls(os.system, "true"), other=Path())
    assert "(posix.system, pathlib.PosixPath)" in refusal(load_unet, path)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_damaged_pickle_is_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    pickled = bytearray(pickle.dumps({"state_dict": {"a": [1, (2, "x")], "b": {1.5, None}}, "c": Path()}, 2))
    for _ in range(data.draw(st.integers(1, 3))):
        pickled[data.draw(st.integers(2, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    refusal(load_unet, with_pickle(tmp_path_factory.mktemp("damaged") / "x.ckpt", bytes(pickled)))


# -- no checkpoint at all ----------------------------------------------------------------------------------------------


def contents(name: str, lmnet: Trained, folder: Path) -> Path:
    path = folder / name
    match name:
        case "empty":
            path.touch()
        case "folder":
            path.mkdir()
        case "pointer":
            path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
        case "cut.ckpt" | "cut-early.ckpt" | "cut-short.ckpt":
            data = save(path, lmnet.lmnet).read_bytes()
            path.write_bytes(data[: {"cut.ckpt": len(data) // 2, "cut-short.ckpt": 5000}.get(name, 30)])
        case "cut.safetensors":
            save_file({"a": torch.zeros(100)}, path)
            path.write_bytes(path.read_bytes()[:-50])
        case "header.safetensors":
            path.write_bytes(struct.pack("<Q", 20) + b'{"a": {"dtype": "F33' + bytes(40))
        case "foreign.safetensors":
            save_file({"a": torch.zeros(1)}, path, {"format": "pt"})
        case "newer.safetensors":
            write_safetensors(path, {"unet.a": torch.zeros(1)}, {"format": "2", "network": "LMNet"})
        case "checkpoint.safetensors":
            save(path, lmnet.lmnet)
        case "old":
            content = {"state_dict": lmnet.lmnet, "folder": Path()}
            torch.save(content, path, _use_new_zipfile_serialization=False)
        case "cut-old":
            torch.save({"state_dict": lmnet.lmnet}, path, _use_new_zipfile_serialization=False)
            path.write_bytes(path.read_bytes()[:-1000])
        case "pickle":
            path.write_bytes(pickle.dumps({"state_dict": {}}))
        case "script":
            torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))
        case "tensor":
            torch.save(torch.zeros(2), path)
        case "no-state":
            torch.save({"epoch": 1, "weights": lmnet.lmnet}, path)
        case "odd-state":
            torch.save({"state_dict": {"model.x": "y"}}, path)
        case "list-state":
            torch.save({"state_dict": [1]}, path)
        case "no-tensors":
            torch.save({"state_dict": {}}, path)
        case "other-net":
            torch.save(torch.nn.Linear(1, 1).state_dict(), path)
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.jit")
@pytest.mark.parametrize(
    ("name", "says"),
    {
        "absent": "cannot be read: No such file",
        "folder": "cannot be read: Is a directory",
        "empty": "is neither a torch checkpoint nor a safetensors file: it is empty",
        "pointer": "it begins with b'version https://",
        "cut.ckpt": "is truncated, damaged, or no torch checkpoint: ",
        "cut-short.ckpt": "is truncated, damaged, or no torch checkpoint: ",
        "cut-early.ckpt": "is truncated, damaged, or no torch checkpoint: ",
        "cut.safetensors": "is a truncated or damaged safetensors file: ",
        "header.safetensors": "is a truncated or damaged safetensors file: ",
        "foreign.safetensors": "is a safetensors file that `lesionforge convert` has not written",
        "newer.safetensors": "has format 2 of another LesionForge; this one reads 1",
        "checkpoint.safetensors": "is a torch checkpoint under the name of a safetensors file; rename it",
        "old": "is refused: a pickle outside a zip (torch before 1.6, or none of torch's) may hold nothing but tensors",
        "pickle": "is refused: a pickle outside a zip (torch before 1.6, or none of torch's)",
        "cut-old": "is truncated, damaged, or no torch checkpoint: ",
        "script": "is a TorchScript archive, not a checkpoint",
        "tensor": "holds a Tensor, not a dictionary of tensors",
        "no-state": "has no 'state_dict'; its entries are epoch, weights",
        "odd-state": "has a state_dict whose 'model.x' is no tensor",
        "list-state": "holds a list, not a dictionary of tensors",
        "no-tensors": "is a checkpoint of none of LMNet, LINet, VQ: it holds no tensors",
        "other-net": "is a checkpoint of none of LMNet, LINet, VQ: its keys begin with weight, bias",
    }.items(),
)
def test_no_checkpoint(name: str, says: str, lmnet: Trained, tmp_path: Path) -> None:
    assert says in refusal(load_unet, contents(name, lmnet, tmp_path))
