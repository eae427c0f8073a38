"""SIGINT, SIGTERM and a run that hangs: what is back is kept, and a person is told."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine.core.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED
from heads import LoopbackCluster
from killed_runs import DriverProcess, assert_same, rows_committed

pytestmark = pytest.mark.alone


@pytest.fixture
def driver(restless: Path, tmp_path: Path) -> Callable[..., DriverProcess]:
    def waiting(*overrides: str, env: dict[str, str] | None = None) -> DriverProcess:
        return DriverProcess.waiting(
            restless, f"output={tmp_path / 'run'}", *overrides, log=tmp_path / "log.txt", env=env
        )

    return waiting


def test_signals_leave_a_run_that_continues(
    driver: Callable[..., DriverProcess], head: LoopbackCluster, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"

    def on_head() -> DriverProcess:
        return driver(f"execution.address={head.address}", env=head.env)

    following = on_head()
    for number in (signal.SIGINT, signal.SIGTERM):
        started, before = following.go(), rows_committed(run)
        following = on_head()
        assert started.until(lambda before=before: rows_committed(run) > before), started.text
        started.process.send_signal(number)
        assert started.wait(30) == EXIT_INTERRUPTED
        assert started.text.endswith(f"stopped; the same command continues {run}\n")
        assert rows_committed(run) > before
        assert not (run / "lease").exists()
        assert not (run / ".inflight").exists()
    last = following.go()
    assert last.wait() == EXIT_SOME_FAILED, last.text
    assert_same(undisturbed, run)
    assert unexpected_lines(last.text) == []


def test_second_signal_ends_at_once(driver: Callable[..., DriverProcess], tmp_path: Path) -> None:
    """It does not wait for Ray, and so lets go of nothing; the next driver sees that it is dead."""
    started = driver().go()
    assert started.until(lambda: rows_committed(tmp_path / "run") > 0), started.text
    (raylet,) = (p for p in psutil.Process(started.process.pid).children() if p.name() == "raylet")
    raylet.suspend()  # Ray cannot go down, so the first signal alone would take long
    try:
        started.process.send_signal(signal.SIGTERM)
        assert started.until(lambda: "stopping: " in started.text), started.text
        started.process.send_signal(signal.SIGTERM)
        assert started.wait(2) == -signal.SIGTERM
    finally:
        raylet.resume()
    assert "stopped;" not in started.text
    assert (tmp_path / "run" / "lease").exists()


def test_watchdog_says_what_a_hanging_run_waits_for(
    driver: Callable[..., DriverProcess], head: LoopbackCluster, undisturbed: Path, tmp_path: Path
) -> None:
    run, patience = tmp_path / "run", ("execution.watchdog_s=2", "execution.workers=1")
    started = driver(*patience, f"execution.address={head.address}", env=head.env).go()
    stopped = started.at_work(lambda: rows_committed(run) > 0, below=head.nodes[0].pid)
    assert stopped, started.text
    for worker in stopped:
        worker.suspend()
    try:
        assert started.until(lambda: "no sample came back" in started.text, 60), started.text
    finally:
        for worker in stopped:
            worker.resume()
    said = next(line for line in started.text.splitlines() if "no sample came back" in line)
    assert re.search(r"no sample came back for \d+ s; 1 of 2 CPU free; wanted: CPU tasks 1 CPU each", said)
    assert started.wait() == EXIT_SOME_FAILED, started.text
    assert_same(undisturbed, run)


def unexpected_lines(text: str) -> list[str]:
    """What a log holds besides progress, the table of the summary, what comes below it, and Ray's core going down."""
    words = ("samples", "resuming", "stopping", "stopped", "dataset", "picture", "preview", "folds", "  1 failed")
    lines = [line for line in text.splitlines() if line and not line.startswith("[20") and line[0] not in "┏┃┡│└/"]
    return [line for line in lines if not line.startswith(words)]
