"""`lesionforge inspect` on runs put together by hand: what it prints, what it draws, and that it only reads."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from engine.core.errors import EXIT_DONE, UsageError
from engine.core.schema import MANIFEST_SCHEMA
from engine.io.ledger import Ledger
from engine.io.local_store import LocalStore
from engine.io.runfile import RunFile
from engine.io.storage import open_output
from engine.settings import parse_settings
from jobs import cli
from jobs.inspect import inspect
from jobs.plots import grouped_reasons, spread
from jobs.tally import Tally

ENDINGS = (
    ("done", "", ""),
    ("done", "", ""),
    ("rejected", "check", "lesion 0: mean shift is -3.2 HU, it should rise (hyperdense lesion, +20 HU)"),
    ("rejected", "check", "lesion 1: mean shift is -4.0 HU, it should rise (hyperdense lesion, +31 HU)"),
    ("failed", "place", "pancreas is absent [v1 id 10]"),
)
"""Status, stage and reason of each sample."""


def lesion(organ: str, kind: str, volume_mm3: float, asked_hu: float, measured_hu: float) -> dict[str, Any]:
    return {
        "organ": organ,
        "lesion_type": kind,
        "volume_mm3": volume_mm3,
        "shift_hu": measured_hu,
        "report": f'{{"contrast_hu":{asked_hu}}}',
    }


@pytest.fixture
def hand_made_run(tmp_path: Path) -> Callable[..., Path]:
    """Makes a complete run of these endings whose `done` samples hold two lesions each."""

    def make(endings: tuple[tuple[str, str, str], ...] = ENDINGS) -> Path:
        folder = tmp_path / "run"
        settings = parse_settings({"output": str(folder), "cases": {"source": "list.jsonl"}})
        output = open_output(str(folder))
        file = RunFile.of(settings, cases=1, samples=len(endings), fingerprint="", code_version="test", weights="")
        RunFile(**{**file.__dict__, "complete": True}).write(output)
        rows = [
            {"sample_id": f"case-v{i:03d}", "case_id": "case", "ordinal": i, "status": status, "stage": stage}
            | {"reason": reason, "image_uri": "", "label_uri": ""}
            | {"lesions": [lesion("liver", "cyst", 900.0 + i, -40, -38), lesion("kidney_left", "stone", 20, 400, 380)]}
            for i, (status, stage, reason) in enumerate(endings)
        ]
        Ledger(output).append(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA))
        return folder

    return make


def test_counts_and_every_reason_are_printed(hand_made_run: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(str(hand_made_run()), verify=True) == EXIT_DONE
    printed = capsys.readouterr().out
    assert "samples: 2 done, 2 rejected, 1 failed; 4 lesions in 2 organs, from 1 cases" in printed
    assert "1 failed at place: pancreas is absent [v1 id 10] (case-v004)" in printed
    assert printed.count("1 rejected at check: lesion") == 2
    assert "run: complete" in printed
    assert "verified 5 rows: 0 problems" in printed


def test_a_read_only_run_can_be_looked_at(
    hand_made_run: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = hand_made_run()

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EROFS, "Read-only file system")

    for writing in ("check_writable", "put", "create", "delete", "fence", "sweep"):
        monkeypatch.setattr(LocalStore, writing, refuse)
    before = {path: path.stat().st_mtime_ns for path in [run, *run.rglob("*")]}
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert inspect(str(run), verify=True, plots=str(tmp_path / "plots.png")) == EXIT_DONE
    finally:
        for path in before:
            path.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in [run, *run.rglob("*")]} == before


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
@pytest.mark.parametrize("endings", [ENDINGS, ENDINGS[:2], ENDINGS[2:]], ids=["all", "only-done", "none-done"])
def test_plots_are_drawn(hand_made_run: Callable, tmp_path: Path, suffix: str, endings: Any) -> None:
    picture = tmp_path / f"plots{suffix}"
    assert inspect(str(hand_made_run(endings)), plots=str(picture)) == EXIT_DONE
    assert picture.stat().st_size > 5_000
    if suffix == ".png":
        with Image.open(picture) as image:
            assert image.width > 1000
            assert np.asarray(image.convert("L")).std() > 5


@pytest.mark.parametrize("name", ["plots.gif", "plots", "nowhere/plots.png"])
def test_plots_of_no_use_are_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--plots"):
        inspect(str(tmp_path / "no-run"), plots=str(tmp_path / name))


def test_a_folder_without_a_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(["inspect", str(tmp_path)])
    assert ending.value.code == UsageError("").exit_code
    assert capsys.readouterr().err == f"lesionforge: {tmp_path} holds no run: there is no run.json in it\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be read"):
        inspect(str(tmp_path / "file"))


def test_reasons_that_differ_in_numbers_are_one_bar(hand_made_run: Callable) -> None:
    grouped = grouped_reasons(Tally.of(Ledger(open_output(str(hand_made_run())))))
    assert sorted(grouped.values()) == [1, 2]


@pytest.mark.parametrize("count", [0, 1, 2999, 3000, 3001, 1_000_000])
def test_what_is_drawn_is_spread_over_all(count: int) -> None:
    drawn = spread(np.arange(count, dtype=float))
    assert len(drawn) <= 3000
    assert count == 0 or (drawn[0] == 0 and drawn[-1] >= count - 1 - count / 1000)
