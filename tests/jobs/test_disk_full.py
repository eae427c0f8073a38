"""A full disk stops a run cleanly; once there is room, the same command makes it what it would have been."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import engine.finish
from engine.core.errors import EXIT_OUTPUT, EXIT_SOME_FAILED, OutputError
from engine.io.lease import Lease
from engine.io.ledger import Ledger
from jobs.generate import generate
from runs import differences, files, lesionforge

pytestmark = pytest.mark.cluster

NO_SPACE = "no space left on device; free some and run the same command again"


@dataclass(frozen=True)
class Disk:
    """A file system of a few MB."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", self.folder], check=True)

    def fill(self) -> None:
        """With a file beside the run, to the last byte."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def free(self) -> None:
        (self.folder / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small file system here: {mounted.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


def assert_nothing_is_half_written(run: Path, undisturbed: Path) -> int:
    """How many samples are committed. Every file that is there is whole, and what it would have been."""
    whole = files(undisturbed)
    there = {name: digest for name, digest in files(run).items() if name.startswith("nnUNet_raw/")}
    assert there.items() <= whole.items()
    for name in there:
        if name.endswith(".gz"):
            gzip.decompress((run / name).read_bytes())
    assert not (run / ".inflight").exists()
    assert not (run / "lease").exists()
    (dataset,) = (undisturbed / "nnUNet_raw").iterdir()
    rows = [row for part in sorted((run / "manifest").glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
    for row in rows:
        for kind in ("image", "label"):
            if row[f"{kind}_uri"]:
                data = (run / "nnUNet_raw" / dataset.name / row[f"{kind}_uri"]).read_bytes()
                assert hashlib.sha256(data).hexdigest() == row[f"{kind}_sha256"]
    return len({row["sample_id"] for row in rows})


def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(disk: Disk, restless: Path, undisturbed: Path) -> None:
    answer = lesionforge("generate", restless, f"output={disk.run}")
    assert answer.returncode == EXIT_OUTPUT
    *progress, line = answer.stderr.splitlines()
    assert line == f"lesionforge: {disk.run}: {NO_SPACE}"
    assert all(said.startswith("samples ") for said in progress)
    assert assert_nothing_is_half_written(disk.run, undisturbed) < 25
    disk.resize("200m")
    assert generate(str(restless), [f"output={disk.run}"]) == EXIT_SOME_FAILED
    assert differences(undisturbed, disk.run) == []


FULL_AT: dict[str, tuple[object, str]] = {
    "start": (Lease, "acquire"),
    "first-commit": (Ledger, "append"),
    "compaction": (Ledger, "compact"),
    "last-words": (engine.finish, "write_splits"),
}
"""What the disk is full at -> where that is."""


@pytest.mark.parametrize("point", FULL_AT)
def test_a_disk_that_fills_at_any_moment(
    point: str, disk: Disk, restless: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.resize("100m")
    holder, name = FULL_AT[point]
    work: Callable[..., Any] = getattr(holder, name)

    def on_a_full_disk(*arguments: Any, **options: Any) -> Any:
        disk.fill()
        return work(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(holder, name, on_a_full_disk)
        with pytest.raises(OutputError, match=NO_SPACE):
            generate(str(restless), [f"output={disk.run}"])
    committed = assert_nothing_is_half_written(disk.run, undisturbed)
    assert (committed == 25) == (point in ("compaction", "last-words"))
    disk.free()
    assert generate(str(restless), [f"output={disk.run}"]) == EXIT_SOME_FAILED
    assert differences(undisturbed, disk.run) == []
