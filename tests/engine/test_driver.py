"""The driver's loop without Ray: what it commits, what it sends again, how it stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engine.core.errors import OutputError
from engine.core.sample import Status
from engine.core.wire import from_table
from engine.driver import Driver, Ending
from engine.io.cases import open_cases
from engine.io.lease import Lease
from engine.io.ledger import Ledger
from engine.io.storage import open_output
from engine.planner import make_plan
from engine.run import Run
from engine.settings import parse_settings
from engine.stages.result import RESULT, result_row

Execute = Callable[[pa.Table], Iterator[pa.Table]]


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.again = self.out = 0

    def started(self, total: int, committed: dict[str, int]) -> None: ...

    def handed_out(self, samples: int) -> None:
        self.out += samples

    def returned(self, statuses: dict[str, int], again: int, lesions: int) -> None:
        self.again += again
        self.out -= sum(statuses.values()) + again

    def waiting(self, line: str) -> None:
        self.lines.append(line)

    def stopping(self) -> None:
        self.lines.append("stopping")


class Bench:
    """A run of twelve samples in a folder, driven by any function."""

    def __init__(self, folder: Path, **execution: Any) -> None:
        (folder / "cases.jsonl").write_text(
            "".join(f'{{"case_id": "c{i:02d}", "ct": "c{i}.nii.gz"}}\n' for i in range(12))
        )
        self.settings = parse_settings(
            {
                "output": str(folder / "run"),
                "cases": {"source": str(folder / "cases.jsonl")},
                "lesions": {"mix": [{"organ": "liver"}]},
                "execution": {"wave_samples": 5, **execution},
            }
        )
        self.plan = make_plan(open_cases(self.settings.cases), 1)
        self.heard = Heard()
        self.seen: list[tuple[str, int]] = []

    def drive(self, outcome: Callable[[str, int], tuple[Status, str]], *, stop_after: int | None = None) -> Ending:
        output = open_output(self.settings.output)
        lease = Lease.acquire(output, heartbeat_s=5)
        try:
            run = Run(self.settings, "", output.fence(lease.token), code_version="test")
            ledger = Ledger(run.output)

            def execute(wave: pa.Table) -> Iterator[pa.Table]:
                for sample in from_table(wave):
                    self.seen.append((sample.sample_id, sample.attempt))
                    if stop_after is not None and len(self.seen) > stop_after:
                        driver.stop()
                        time.sleep(0.6)
                    row = result_row(sample.ended(*_where(outcome(sample.sample_id, sample.attempt))), run)
                    yield pa.Table.from_pylist([row], schema=RESULT)

            driver = Driver(run, self.plan, ledger, lease, execute, lambda: "2 of 2 CPU free", self.heard)
            return driver.work()
        finally:
            lease.release()

    def rows(self) -> list[dict[str, Any]]:
        return list(Ledger(open_output(self.settings.output)).rows())


def _where(outcome: tuple[Status, str]) -> tuple[Status, str, str]:
    status, reason = outcome
    return status, "check", reason


def test_every_sample_is_committed_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.drive(lambda *_: (Status.DONE, "")) is Ending.COMPLETE
    assert [r["ordinal"] for r in bench.rows()] == list(range(12))


def test_a_missed_gate_is_drawn_again_until_its_attempts_are_used(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def outcome(sample_id: str, attempt: int) -> tuple[Status, str]:
        if sample_id == "c03-v000" or (sample_id == "c07-v000" and attempt == 0):
            return Status.REJECTED, f"attempt {attempt} missed"
        return Status.DONE, ""

    assert bench.drive(outcome) is Ending.COMPLETE
    rows = {r["sample_id"]: r for r in bench.rows()}
    assert len(rows) == 12
    assert (rows["c03-v000"]["status"], rows["c03-v000"]["attempts"]) == ("rejected", 3)
    assert rows["c03-v000"]["reason"] == "attempt 2 missed"
    assert (rows["c07-v000"]["status"], rows["c07-v000"]["attempts"]) == ("done", 2)
    assert bench.heard.again == 3
    assert bench.heard.out == 0, "what is handed out comes back"


def test_a_full_output_stops_the_run_and_keeps_what_is_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(OutputError, match="no space left"):
        bench.drive(lambda s, _: (Status.UNWRITABLE, "no space left") if s == "c04-v000" else (Status.DONE, ""))
    assert [r["case_id"] for r in bench.rows()] == ["c00", "c01", "c02", "c03"]
    assert bench.drive(lambda *_: (Status.DONE, "")) is Ending.COMPLETE
    assert len(bench.rows()) == 12


def test_a_bug_is_raised_and_what_is_back_is_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def outcome(sample_id: str, attempt: int) -> tuple[Status, str]:
        if sample_id == "c05-v000":
            raise ZeroDivisionError("planted")
        return Status.DONE, ""

    with pytest.raises(ZeroDivisionError, match="planted"):
        bench.drive(outcome)
    assert len(bench.rows()) == 5


def test_a_stop_commits_and_the_next_driver_does_only_the_rest(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.drive(lambda *_: (Status.DONE, ""), stop_after=6) is Ending.INTERRUPTED
    done = {r["sample_id"] for r in bench.rows()}
    assert 0 < len(done) < 12
    bench.seen.clear()
    assert bench.drive(lambda *_: (Status.DONE, "")) is Ending.COMPLETE
    assert {s for s, _ in bench.seen}.isdisjoint(done)
    assert len(bench.rows()) == 12


def test_silence_is_noticed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, watchdog_s=0.3)

    def outcome(sample_id: str, attempt: int) -> tuple[Status, str]:
        if sample_id == "c02-v000":
            time.sleep(1.5)
        return Status.DONE, ""

    bench.drive(outcome)
    assert bench.heard.lines
    assert "2 of 2 CPU free" in bench.heard.lines[0]
