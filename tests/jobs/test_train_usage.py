"""What is wrong with a training is said in one line before anything starts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from engine.core.errors import EXIT_USAGE, RunConflictError, UsageError
from engine.io.lease import Lease
from engine.io.storage import open_output
from heads import loopback_cluster
from jobs.train import train
from known_cases import KnownCases
from runs import ROOT, lesionforge
from tiny_networks import TinyNetworks, tiny_networks
from train_runs import known_cases, training, write


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> KnownCases:
    return known_cases(tmp_path_factory.mktemp("train-usage") / "cases")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> TinyNetworks:
    return tiny_networks(tmp_path_factory.mktemp("networks"))


def refused(known: KnownCases, tmp_path: Path, network: str, **other: Any) -> str:
    """What is said. Nothing is left behind."""
    config = write(tmp_path / "train.yaml", training(known, network, tmp_path / "out", **other))
    with pytest.raises(UsageError) as raised:
        train(config)
    assert not (tmp_path / "out").exists()
    return str(raised.value)


@pytest.mark.parametrize(
    ("network", "other", "told"),
    [
        ("vq", {"data": {"crop": [16, 16, 15]}}, "data.crop [16, 16, 15]: its sides should be divisible by 2"),
        ("lmnet", {"data": {"crop": [16, 18, 16]}}, "data.crop [16, 18, 16]: its sides should be divisible by 4"),
        ("vq", {"device": "cuda"}, "device cuda: the workers have no GPU; give workers.num_gpus"),
        ("vq", {"device": "tpu"}, "device 'tpu': should be auto, cpu or cuda"),
        ("vq", {"objective": {}}, "objective.perceptual needs objective.perceptual_weights: a folder with VGG16's"),
        ("vq", {"objective": {"perceptual_weights": "nowhere"}}, "objective.perceptual_weights: "),
        ("linet", {"vq": "nowhere/VQ.ckpt"}, "vq: "),
        ("lmnet", {"text": {"source": "nowhere"}}, "text.source: text tower 'nowhere': no such folder"),
    ],
)
def test_settings_that_cannot_be_followed(
    known: KnownCases, tmp_path: Path, network: str, other: dict[str, Any], told: str
) -> None:
    assert refused(known, tmp_path, network, **other).startswith(told)


def test_a_checkpoint_of_another_network(known: KnownCases, networks: TinyNetworks, tmp_path: Path) -> None:
    lmnet = str(networks.folder / "LMNet.ckpt")
    said = refused(known, tmp_path, "linet", start_from=lmnet, sizes={})
    assert said == f"start_from: {lmnet} looks like LMNet, and LINet is wanted"
    assert "sizes are those of start_from" in refused(known, tmp_path, "lmnet", start_from=lmnet)
    said = refused(known, tmp_path, "linet", vq=lmnet)
    assert said.startswith(f"vq: {lmnet} is a checkpoint of LMNet without VQ autoencoder")


def test_lists_of_unequal_length(known: KnownCases, tmp_path: Path) -> None:
    config = write(tmp_path / "train.yaml", training(known, "vq", tmp_path / "out"))
    (known.folder / "label.txt").write_text("case-0/label.nii.gz\n")
    with pytest.raises(UsageError, match=r"list files of unequal length: .*image.txt has 4 lines, .*label.txt has 1"):
        train(config)


@pytest.mark.parametrize(
    ("missing", "other", "told"),
    [
        ("wandb", {"loggers": ["wandb"]}, "loggers: wandb needs wandb, which is not installed; pip install "),
        ("lightning", {}, "training needs lightning, which is not installed; pip install 'lesionforge[training]'"),
        ("torchio", {"data": {"augment": {"rotate_deg": 5}}}, "training needs torchio, which is not installed"),
    ],
)
def test_a_package_is_missing(
    known: KnownCases,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    other: dict[str, Any],
    told: str,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    assert refused(known, tmp_path, "vq", **other).startswith(told)


def test_a_folder_that_is_not_a_training(known: KnownCases, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    config = write(tmp_path / "train.yaml", training(known, "vq", output))
    with pytest.raises(UsageError, match=r"is not empty \(notes.txt, ...\) and holds no training"):
        train(config)


def test_a_second_driver_is_kept_out(known: KnownCases, tmp_path: Path) -> None:
    config = write(tmp_path / "train.yaml", training(known, "vq", tmp_path / "out"))
    lease = Lease.acquire(open_output(str(tmp_path / "out")), heartbeat_s=5)
    try:
        with pytest.raises(RunConflictError, match="another driver is at work on this output"):
            train(config)
    finally:
        lease.release()


@pytest.mark.parametrize("path", sorted((ROOT / "configs/train").glob("*.yaml")), ids=lambda path: path.name)
def test_configurations_that_ship_are_valid(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the lesions, which are the user's, and lie nowhere here."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"lists/img_list.txt|lesions.parquet|runs/phantom-lesions holds no run"):
        train(str(path))


@pytest.mark.cluster
def test_a_gpu_for_which_torch_is_not_built(known: KnownCases, tmp_path: Path) -> None:
    settings = training(known, "vq", tmp_path / "out", workers={"num_gpus": 1})
    with loopback_cluster(cpus=1, gpus=1) as cluster:  # pretended, as wherever torch finds none
        settings["address"] = cluster.address
        ended = lesionforge("train", write(tmp_path / "train.yaml", settings), env=cluster.env)
    assert ended.returncode == EXIT_USAGE
    assert ended.stderr.splitlines()[-1].startswith(
        "lesionforge: workers.num_gpus: torch finds no CUDA where the workers'"
    )
    assert "Traceback" not in ended.stderr
