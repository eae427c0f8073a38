"""Parts of a training that need no cluster: files that are whole, rooms for workers, items made ahead."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.core.errors import LayoutError, RunConflictError, UsageError
from engine.io.local_store import TakenOverError
from engine.io.storage import open_output
from engine.training.settings import TrainSettings, Workers, parse_training
from jobs.training import checkpoints
from jobs.training.board import News, _Board
from jobs.training.checkpoints import file_system
from jobs.training.layout import bundles_of, require_room
from jobs.training.loading import ahead
from jobs.training.loop import _ways
from jobs.training.paths import with_absolute_paths
from jobs.training.pictures import one_above_the_other
from jobs.training.progress import TrainingProgress
from jobs.training.trainfile import TrainFile

NODES = [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 2.0}]


@pytest.mark.parametrize(
    ("precision", "multiplies", "lightning"),
    [
        ("auto", True, "bf16-mixed"),
        ("auto", False, "32-true"),
        ("float32", True, "32-true"),
        ("bfloat16", False, "bf16-mixed"),
    ],
)
def test_precision(precision: str, multiplies: bool, lightning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.device.multiplies_bfloat16", lambda _device: multiplies)
    assert _ways(settings(precision=precision))["precision"] == lightning


def settings(**other: object) -> TrainSettings:
    data = {"table": "nowhere.parquet"} | dict(other.pop("data", {}))  # type: ignore[call-overload]
    return parse_training({"network": "vq", "output": "nowhere", "data": data, **other})


@pytest.mark.parametrize(
    "workers",
    [
        {"min": 6, "max": 6},
        {"min": 2, "max": 8, "num_gpus": 1},
        {"min": 4, "max": 4, "num_gpus": 0.5, "num_cpus": 0.5},
        {"min": 3, "max": 3, "num_cpus": 2},
        {"min": 100, "max": 100, "num_cpus": 0},
    ],
)
def test_there_is_room(workers: dict[str, float]) -> None:
    require_room(Workers(**workers), NODES)


@pytest.mark.parametrize(
    ("workers", "told"),
    [
        ({"min": 7, "max": 7}, "workers.min 7: a worker needs 1 CPUs of one node, and there is room for 6; nodes: "),
        ({"min": 3, "max": 3, "num_gpus": 1}, "needs 1 CPUs and 1 GPUs of one node, and there is room for 2"),
        ({"num_cpus": 5}, "and there is room for 0; nodes: 4 CPUs, 0 GPUs; 2 CPUs, 2 GPUs"),
    ],
)
def test_there_is_no_room(workers: dict[str, float], told: str) -> None:
    with pytest.raises(LayoutError) as raised:
        require_room(Workers(**workers), NODES)
    assert told in str(raised.value)


def test_what_an_autoscaler_is_asked_for() -> None:
    assert bundles_of(Workers(min=2, max=4, num_gpus=1)) == [{"CPU": 1.0, "GPU": 1.0}] * 2


def test_a_file_of_a_checkpoint_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = open_output(str(tmp_path / "out")).fence("me")
    store, path = pickle.loads(pickle.dumps(file_system(output)))  # noqa: S301
    store.create_dir(f"{path}/checkpoints")
    with store.open_output_stream(f"{path}/checkpoints/a") as stream:
        stream.write(b"whole")
        assert not (tmp_path / "out/checkpoints/a").exists()
    assert (tmp_path / "out/checkpoints/a").read_bytes() == b"whole"

    stream = store.open_output_stream(f"{path}/checkpoints/a")
    stream.write(b"half")
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(OSError, match="full"):
        stream.close()
    assert (tmp_path / "out/checkpoints/a").read_bytes() == b"whole"
    assert not list((tmp_path / "out/.inflight/me").iterdir())


def _full(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "full")


def test_a_deposed_driver_puts_no_checkpoint_in_place(tmp_path: Path) -> None:
    output = open_output(str(tmp_path / "out"))
    store, path = file_system(output.fence("first"))
    store.create_dir(path)
    output.fence("second")
    with pytest.raises((FileNotFoundError, TakenOverError)):
        store.open_output_stream(f"{path}/a")


def test_a_place_that_only_one_process_sees_is_refused() -> None:
    with pytest.raises(UsageError, match="seen by one process alone"):
        file_system(open_output("memory://somewhere/training"))


def test_checkpoints_sort_by_their_names() -> None:
    names = [checkpoints.name_of(step) for step in (2, 10, 1000, 20_000)]
    assert names == sorted(names)


def test_items_come_in_order_and_are_made_before_they_are_asked_for() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(6):
            made.append(number)
            yield number

    stream = ahead(items(), 3)
    assert next(stream) == 0
    assert [*stream] == [1, 2, 3, 4, 5]
    assert made == [0, 1, 2, 3, 4, 5]


def test_an_error_comes_where_its_item_was_due() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("no third")

    stream = ahead(items(), 5)
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(ValueError, match="no third"):
        next(stream)


def test_pictures_of_any_width_make_one_sheet() -> None:
    sheet = one_above_the_other([np.zeros((4, 6), np.uint8), np.zeros((3, 9), np.uint8)])
    assert sheet.shape == (4 + 2 + 3, 9)
    assert (sheet == 255).sum() == 4 * 3 + 2 * 9


def test_lines_of_a_training_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the start took is not counted among the steps."""
    clock = iter([0.0, 30.0, 32.0, 34.0])
    monkeypatch.setattr("jobs.training.progress.time.monotonic", lambda: next(clock))
    with TrainingProgress(100, 4) as progress:
        progress.show(News(metrics={}, lines=["skipped: case-2: ct.nii.gz: no such file"]))
        progress.show(News(step=6, metrics={"train/loss": 0.5, "train/noise": 3.0}))
        progress.show(News(step=8, metrics={"train/loss": 0.25, "val/dice": 0.75}, workers=2))
        progress.show(News(step=10, metrics={"train/loss": 0.25}, workers=2))
    assert capsys.readouterr().err.splitlines() == [
        "resuming: 4 of 100 steps are done",
        "skipped: case-2: ct.nii.gz: no such file",
        "steps 6/100: train/loss 0.5",
        "steps 10/100: train/loss 0.25, 1 steps/s, 2 workers, 1 min 30 s left",
    ]


def test_the_board_counts_every_example_once() -> None:
    board = _Board()
    board.skip(7, "case-2", "case-2: gone")
    board.skip(9, "case-2", "case-2: gone")
    board.skip(7, "case-2", "case-2: gone")
    assert board.news().lines == ["skipped: case-2: gone"]
    assert board.news().lines == []
    following = _Board()
    following.recall(board.skipped())
    following.skip(9, "case-2", "case-2: gone")
    assert following.news().lines == []
    assert following.bad_cases() == [{"case_id": "case-2", "examples": 2, "reason": "case-2: gone"}]


def test_the_first_verdict_stands() -> None:
    board = _Board()
    board.end("case-2: gone", 2)
    board.end("connection lost", 4)
    assert board.over()
    assert board.news().verdict == ("case-2: gone", 2)


def file_of(asked: TrainSettings, weights: str = "") -> TrainFile:
    return TrainFile.of(asked, [], [], weights=weights, code_version="1")


@pytest.mark.parametrize(
    "change",
    [
        {"workers": {"min": 1, "max": 1, "num_gpus": 1}},
        {"address": "10.0.0.1:6379"},
        {"log_every": 7},
        {"data": {"cache": "/cache"}},
        {"max_failures": 0},
        {"compile": True},
    ],
)
def test_where_and_how_fast_may_change(change: dict[str, object]) -> None:
    file_of(settings()).require_same(file_of(settings(**change)), "out")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, "out holds a training with seed=0, this one has 1; choose another output or the same settings"),
        ({"data": {"random_sample": True}}, "with data.random_sample=False, this one has True"),
        ({"data": {"augment": {"shift_hu": 5}}}, "with data.augment.shift_hu=0.0, this one has 5.0"),
        ({"batch": 2}, "with batch=1, this one has 2"),
    ],
)
def test_what_comes_out_may_not(change: dict[str, object], told: str) -> None:
    with pytest.raises(RunConflictError) as raised:
        file_of(settings()).require_same(file_of(settings(**change)), "out")
    assert told in str(raised.value)


def test_other_weights_are_another_training() -> None:
    with pytest.raises(RunConflictError, match="started from other weights"):
        file_of(settings(), "a").require_same(file_of(settings(), "b"), "out")


def test_a_stray_file_is_no_training(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(RunConflictError, match="is not a training of this program"):
        TrainFile.read(open_output(str(tmp_path)))


def test_paths_are_made_absolute_and_hub_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tower").mkdir()
    asked = parse_training(
        {
            "network": "linet",
            "output": "out",
            "vq": "VQ.ckpt",
            "start_from": "s3://bucket/LINet.ckpt",
            "data": {"table": "t.parquet", "cache": "cache"},
            "text": {"source": "tower"},
        }
    )
    placed = with_absolute_paths(asked)
    assert (placed.vq, placed.start_from) == (f"{tmp_path}/VQ.ckpt", "s3://bucket/LINet.ckpt")
    assert (placed.data.cache, placed.text.source) == (f"{tmp_path}/cache", f"{tmp_path}/tower")
    named = asked.model_copy(update={"text": asked.text.model_copy(update={"source": "owner/model"})})
    assert with_absolute_paths(named).text.source == "owner/model"
