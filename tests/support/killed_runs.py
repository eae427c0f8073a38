"""Runs whose processes are killed: starting them, taking aim, and judging what is left. No engine code in here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from runs import ROOT, differences, lesionforge

_WAITING_DRIVER = """
import sys, jobs.cli, jobs.generate, jobs.drive, engine.finish
sys.stdin.readline()
jobs.cli.main(sys.argv[1:])
"""
"""Imports all it needs, then waits for a line: from that instant on it is the next driver, in milliseconds."""


@dataclass
class DriverProcess:
    """`lesionforge generate` in a process of its own, its words in a file: a pipe would be kept open by orphans."""

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def waiting(cls, config: Path, *overrides: str, log: Path, env: dict[str, str] | None = None) -> DriverProcess:
        """Ready to begin on `go`."""
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", _WAITING_DRIVER, "generate", str(config), *overrides],
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        return cls(process, log)

    def go(self) -> DriverProcess:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.close()
        return self

    def kill(self) -> None:
        """SIGKILL, to the driver alone."""
        self.process.kill()
        self.process.wait(30)

    def wait(self, timeout: float = 300) -> int:
        """Its exit code."""
        return self.process.wait(timeout)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def text(self) -> str:
        return self.log.read_text()

    def at_work(self, happened: Callable[[], bool], *, below: int | None = None) -> list[psutil.Process]:
        """The workers in the middle of a task at a moment after `happened`; none if the run ended before.

        They are children of the driver, which has started a local cluster, or of the node that is `below` them.
        """
        found: list[psutil.Process] = []

        def some_are() -> bool:
            if happened():
                found.extend(workers_below(below or self.process.pid, busy=True))
            return bool(found)

        self.until(some_are)
        return found

    def until(self, happened: Callable[[], bool], timeout: float = 180) -> bool:
        """Wait for something that the run does; False if it ended before."""
        limit = time.monotonic() + timeout
        while not happened():
            if not self.running:
                return False
            if time.monotonic() > limit:
                raise TimeoutError(f"the run did not get that far:\n{self.text}")
            time.sleep(0.005)
        return True


def workers_below(pid: int, *, busy: bool = False) -> list[psutil.Process]:
    """Ray's worker processes among the children of a process; `busy` ones are in the middle of a task."""
    found = []
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    for process in below:
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if title.startswith("ray::") and not (busy and "MapBatches" not in title):
            found.append(process)
    return found


def images_written(run: Path) -> int:
    """Images that are in place."""
    return len(list(run.glob("nnUNet_raw/*/shard-*/*_0000.nii.gz")))


def rows_committed(run: Path) -> int:
    """Samples with a manifest row, while a driver may be at work."""
    return len(Counter(_sample_ids(run)))


def _sample_ids(run: Path) -> list[str]:
    while True:
        ids: list[str] = []
        try:
            for file in (run / "manifest").glob("*.parquet"):
                ids += pq.read_table(file, columns=["sample_id"]).column("sample_id").to_pylist()
        except (FileNotFoundError, pa.ArrowInvalid):  # merged away meanwhile
            continue
        return ids


@dataclass(frozen=True)
class Outcome:
    """A finished run against one that nobody disturbed."""

    differences: tuple[str, ...]
    lost: int
    doubled: int
    strays: tuple[str, ...]
    """Files and folders that the undisturbed run does not have."""

    @property
    def identical(self) -> bool:
        return not (self.differences or self.lost or self.doubled or self.strays)


def outcome(reference: Path, run: Path) -> Outcome:
    asked, got = Counter(_sample_ids(reference)), Counter(_sample_ids(run))
    return Outcome(
        tuple(differences(reference, run)),
        lost=(asked - got).total(),
        doubled=(got - asked).total(),
        strays=tuple(sorted(_names(run) - _names(reference))),
    )


def assert_same(reference: Path, run: Path) -> None:
    """Nothing lost, doubled or left over, and every file is what its row says."""
    found = outcome(reference, run)
    assert found.identical, found
    verdict = lesionforge("inspect", run, "--verify")
    assert verdict.returncode == 0, verdict.stdout


def _names(run: Path) -> set[str]:
    """Everything in a run, empty and hidden folders too; parts of tables have names of their own."""
    names = {p.relative_to(run).as_posix() for p in run.rglob("*")}
    return {n for n in names if not (n.startswith(("metrics/part-", "reports/part-")) and n.endswith(".parquet"))}
