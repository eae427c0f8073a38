"""`lesionforge convert`: to safetensors, and back in the published layout."""

from __future__ import annotations

import errno
import hashlib
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from typer.testing import CliRunner

import jobs.convert
from engine.core.errors import OutputError, UsageError
from jobs.cli import app
from jobs.convert import convert
from models import tensor_file
from models.checkpoints import load_text, load_unet, load_vq, text_state
from models.contents import description
from models.layout import Network
from models.tensor_file import CheckpointError, write_checkpoint
from models.unet import UNetConfig
from published_files import SMALL_LINET, SMALL_LMNET, SMALL_VQ, Tower, Trained, framework, same, save


@pytest.fixture(scope="module")
def trained() -> dict[str, Trained]:
    return {
        "LMNet": Trained.random(SMALL_LMNET),
        "LINet": Trained.random(SMALL_LINET),
        "VQ": Trained.random(SMALL_LMNET),
    }


def published(trained: Mapping[str, Trained], name: str) -> dict[str, Tensor]:
    made = trained[name]
    return {"LMNet": made.lmnet, "LINet": made.linet, "VQ": made.autoencoder}[name]


def state_in(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


@pytest.mark.parametrize("name", ["LMNet", "LINet", "VQ"])
def test_there_and_back(name: str, trained: Mapping[str, Trained], tmp_path: Path) -> None:
    state = published(trained, name)
    source = save(tmp_path / f"{name}.ckpt", state)
    convert(str(source), str(tmp_path / "x.safetensors"), training=True)
    convert(str(tmp_path / "x.safetensors"), str(tmp_path / "back.ckpt"))
    assert same(state_in(tmp_path / "back.ckpt"), state)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{name}.ckpt", "back.ckpt", "x.safetensors"])


@pytest.mark.parametrize("name", ["LMNet", "LINet"])
def test_networks_from_safetensors(name: str, trained: Mapping[str, Trained], tmp_path: Path) -> None:
    source, target = save(tmp_path / "x.ckpt", published(trained, name)), tmp_path / "x.safetensors"
    convert(str(source), str(target))
    assert load_unet(target).config == load_unet(source).config == trained[name].unet.config
    assert same(load_unet(target, network=Network(name)).state_dict(), load_unet(source).state_dict())
    assert same(text_state(target), text_state(source))
    load_text(target, Tower())
    if name == "LINet":
        assert same(load_vq(target).state_dict(), load_vq(source).state_dict())
    with pytest.raises(CheckpointError, match="without raw UNet weights; it holds: "):
        load_unet(target, ema=False)


def test_header(trained: Mapping[str, Trained], tmp_path: Path) -> None:
    config = UNetConfig(**{**vars(SMALL_LINET), "head_channels": 16})
    state = published({"LINet": Trained.random(config)}, "LINet")
    source, target = tmp_path / "x.ckpt", tmp_path / "x.safetensors"
    write_checkpoint(source, state, description(Network.LINET, config, SMALL_VQ))
    convert(str(source), str(target))
    with safe_open(target, framework="pt") as opened:
        said = json.loads(opened.metadata()["lesionforge"])
    assert said["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert said["network"] == "LINet"
    assert json.loads(said["config"])["unet"]["head_channels"] == 16
    assert load_unet(target).config == config
    convert(str(target), str(tmp_path / "back.ckpt"))
    assert load_unet(tmp_path / "back.ckpt").config == config


def test_what_only_training_needs_is_left_out(
    trained: Mapping[str, Trained], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("LMNet", "VQ"):
        save(tmp_path / f"{name}.ckpt", published(trained, name))
        for target in (f"{name}.safetensors", f"{name}-back.ckpt"):
            convert(
                str(tmp_path / (f"{name}.ckpt" if target.endswith("s") else f"{name}.safetensors")),
                str(tmp_path / target),
            )
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("LMNet: averaged UNet, text tower; ")
    assert said[2] == "its model.* are the averaged weights: the source holds no others"
    assert said[3].startswith("VQ: autoencoder; ")
    assert said[5] == "its loss.* is left out: the source does not hold it"
    whole, back = published(trained, "LMNet"), state_in(tmp_path / "LMNet-back.ckpt")
    assert list(back) == list(whole)
    different = {key for key in whole if not torch.equal(whole[key], back[key])}
    assert different == {f"model.{name}" for name in trained["LMNet"].averages}
    assert same(load_unet(tmp_path / "LMNet-back.ckpt", ema=False).state_dict(), trained["LMNet"].averages)
    assert same(state_in(tmp_path / "VQ-back.ckpt"), trained["VQ"].vq.state_dict())


def test_equal_raw_weights_are_stored_once(trained: Mapping[str, Trained], tmp_path: Path) -> None:
    state = published(trained, "LMNet")
    state |= {f"model.{name}": tensor for name, tensor in trained["LMNet"].averages.items()}
    source, target = save(tmp_path / "x.ckpt", state), tmp_path / "x.safetensors"
    convert(str(source), str(target), training=True)
    with safe_open(target, framework="pt") as opened:
        assert not [key for key in opened.keys() if key.startswith("unet_raw.")]  # noqa: SIM118
    convert(str(target), str(tmp_path / "back.ckpt"))
    assert same(state_in(tmp_path / "back.ckpt"), state)


def test_pickled_objects_stay_behind(trained: Mapping[str, Trained], tmp_path: Path) -> None:
    with framework() as left_behind:
        source = save(tmp_path / "x.ckpt", published(trained, "LMNet"), **left_behind)
    convert(str(source), str(tmp_path / "clean.ckpt"))
    with zipfile.ZipFile(tmp_path / "clean.ckpt") as archive:
        assert b"omegaconf" not in archive.read("archive/data.pkl")
    assert same(state_in(tmp_path / "clean.ckpt"), published(trained, "LMNet"))


def test_bytes_are_the_same_again(trained: Mapping[str, Trained], tmp_path: Path) -> None:
    source = save(tmp_path / "x.ckpt", published(trained, "LMNet"))
    for name in ("a.safetensors", "b.safetensors", "a.ckpt", "b.ckpt"):
        convert(str(source), str(tmp_path / name))
    for kind in ("safetensors", "ckpt"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_mistakes(trained: Mapping[str, Trained], tmp_path: Path) -> None:
    good = save(tmp_path / "x.ckpt", published(trained, "LMNet"))
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(good.read_bytes()[:5000])
    shorn = {key: tensor for key, tensor in published(trained, "LMNet").items() if key != "alphas_cumprod"}
    no_schedule = save(tmp_path / "y.ckpt", shorn)
    not_numbers = published(trained, "LMNet")
    not_numbers["model.out.2.bias"] = torch.full_like(not_numbers["model.out.2.bias"], float("nan"))
    nan = save(tmp_path / "z.ckpt", not_numbers)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for source, target, says in [
        (good, "x.pt", "x.pt ends with none of .safetensors, .ckpt"),
        (good, "x.ckpt", "x.ckpt exists; remove it, or choose another name"),
        (good, "none/y.safetensors", "there is no folder"),
        (tmp_path / "absent.ckpt", "y.safetensors", "absent.ckpt cannot be read: No such file"),
        (cut, "y.safetensors", "cut.ckpt is truncated"),
        (no_schedule, "y.safetensors", "looks like LMNet, but its noise schedule: 1 missing (alphas_cumprod)"),
        (nan, "y.safetensors", "z.ckpt has NaN or infinite weights in model.out.2.bias"),
    ]:
        with pytest.raises(UsageError) as refused:
            convert(str(source), str(tmp_path / target))
        assert says in str(refused.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("target", "writer"), [("y.safetensors", "save_file"), ("y.ckpt", "torch.save")])
def test_a_full_disk_leaves_nothing(
    target: str, writer: str, trained: Mapping[str, Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save(tmp_path / "x.ckpt", published(trained, "LMNet"))

    def fill(content: object, to: object, *_: object) -> None:
        if isinstance(to, Path):
            to.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_file if writer == "save_file" else torch, writer.split(".")[-1], fill)
    with pytest.raises(OutputError, match="No space left on device"):
        jobs.convert.convert(str(source), str(tmp_path / target))
    assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]


def test_the_command(trained: Mapping[str, Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "x.ckpt", published(trained, "VQ"))
    answer = CliRunner().invoke(app, ["convert", str(source), str(tmp_path / "y.safetensors"), "--training"])
    assert answer.exit_code == 0
    assert answer.output.startswith("VQ: autoencoder, training loss; ")
    assert same(load_vq(tmp_path / "y.safetensors").state_dict(), trained["VQ"].vq.state_dict())
    monkeypatch.setitem(sys.modules, "jobs.convert", None)  # what an installation without the networks comes to
    without = CliRunner().invoke(app, ["convert", "x", "y"])
    assert isinstance(without.exception, UsageError)
    assert "lesionforge[networks]" in str(without.exception)
