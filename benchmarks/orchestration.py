"""What the engine itself costs: planning a million cases, committing a million rows, and null work through Ray.

python -m benchmarks.orchestration [--cases 1000000] [--small 10000] [--large 50000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.measure import cost_of
from engine.core.sample import Status
from engine.core.wire import from_table
from engine.driver import Driver
from engine.io.cases import open_cases
from engine.io.lease import Lease
from engine.io.ledger import Ledger
from engine.io.storage import open_output
from engine.pipeline import Pipeline, waiting_for
from engine.planner import make_plan
from engine.procedural.mask import ProceduralMasker
from engine.procedural.paint import ProceduralPainter
from engine.run import Run
from engine.settings import Settings, parse_settings
from engine.stage import Wave
from engine.stages.result import RESULT, result_row
from jobs.cluster import connected

DONE_SHARE = 0.9


def make_list(path: Path, cases: int) -> None:
    """A Parquet list with URIs of a realistic length."""
    ids = [f"patient-{i:07d}" for i in range(cases)]
    base = "s3://a-hospital-archive/healthy-ct/portal-venous/2019"
    table = {
        "case_id": ids,
        "ct": [f"{base}/{i}/ct.nii.gz" for i in ids],
        "organs": [f"{base}/{i}/organs.nii.gz" for i in ids],
    }
    pq.write_table(pa.table(table), path, row_group_size=65536)


def settings_for(folder: Path, output: str, workers: int = 2) -> Settings:
    return parse_settings(
        {
            "output": str(folder / output),
            "cases": {"source": str(folder / "cases.parquet")},
            "lesions": {"mix": [{"organ": "liver"}]},
            "execution": {"workers": workers},
        }
    )


@dataclass
class Watch:
    """A listener that notes when the first row came back and how memory went."""

    began: float = field(default_factory=time.monotonic)
    first_s: float = 0.0
    rows: int = 0
    rss_bytes: list[int] = field(default_factory=list)
    parts: int = 0

    def started(self, total: int, committed: dict[str, int]) -> None:
        pass

    def returned(self, statuses: dict[str, int], again: int) -> None:
        self.first_s = self.first_s or time.monotonic() - self.began
        before, self.rows = self.rows, self.rows + sum(statuses.values())
        if self.rows // 1000 > before // 1000:
            self.rss_bytes.append(psutil.Process().memory_info().rss)

    def waiting(self, line: str) -> None:
        raise RuntimeError(line)


def null_row(sample: Any, run: Run) -> dict[str, Any]:
    return result_row(replace(sample, status=Status.DONE), run)


def null_work(block: pa.Table, wave: Wave, run: Run, masker: Any, painter: Any) -> pa.Table:
    """What `run_whole` does around its stages, without the stages."""
    return pa.Table.from_pylist([null_row(s, run) for s in wave.samples(block)], schema=RESULT)


def commit_prefix(folder: Path, share: float) -> None:
    """A ledger in which the first rows of the list are committed, a thousand to a part."""
    settings = settings_for(folder, "resume")
    plan = make_plan(open_cases(settings.cases), 1)
    ledger = Ledger(open_output(settings.output).fence("benchmark"))
    rows = int(plan.total * share)
    watch = _drive_without_ray(settings, plan, ledger, rows)
    print(
        f"committing {watch.rows:,} rows: {watch.rows / (time.monotonic() - watch.began):,.0f} rows/s, "
        f"at most {watch.parts} parts, driver RSS {max(watch.rss_bytes) / 1e6:.0f} MB"
    )


def _drive_without_ray(settings: Settings, plan: Any, ledger: Ledger, rows: int) -> Watch:
    run = Run(settings, "", ledger.out, code_version="benchmark")
    watch, done = Watch(), 0
    template: dict[str, Any] = {}

    def execute(wave: pa.Table) -> Iterator[pa.Table]:
        nonlocal done
        if not template:
            template.update(null_row(from_table(wave.slice(0, 1))[0], run))
        for start in range(0, wave.num_rows, 1024):
            if done >= rows:
                return
            part = wave.slice(start, min(1024, rows - done))
            done += part.num_rows
            blank = pa.Table.from_pylist([template] * part.num_rows, schema=RESULT)
            for name in ("sample_id", "case_id", "ordinal"):
                blank = blank.set_column(blank.schema.get_field_index(name), name, part.column(name))
            watch.parts = max(watch.parts, ledger.parts())
            yield blank

    lease = Lease.acquire(ledger.out, heartbeat_s=5)
    Driver(run, plan, ledger, lease, execute, lambda: "", watch).work()
    lease.release()
    return watch


def resume(folder: Path) -> None:
    """From nothing to the first row of a run with most rows committed, Ray started already."""
    settings = settings_for(folder, "resume")
    with connected(settings.execution):
        watch = Watch()
        plan = make_plan(open_cases(settings.cases), 1)
        ledger = Ledger(open_output(settings.output).fence("resume"))
        run = Run(settings, "", ledger.out, code_version="benchmark")
        pipeline = Pipeline(run, ProceduralMasker, ProceduralPainter, whole=null_work)
        committed = ledger.committed(plan.total)
        wave = next(plan.waves(committed, settings.execution.wave_samples))
        next(pipeline.execute(wave))
        watch.returned({"done": 1}, 0)
        rss = psutil.Process().memory_info().rss
        print(
            f"resume of {plan.total:,} samples with {int(committed.sum()):,} committed: first row after "
            f"{watch.first_s:.1f} s, driver RSS {rss / 1e6:.0f} MB, {ledger.parts()} parts"
        )


def steady(folder: Path, samples: int) -> None:
    """Null work through the whole pipeline and the commit."""
    settings = settings_for(folder, f"steady-{samples}")
    plan = make_plan(open_cases(settings.cases), 1)
    ledger = Ledger(open_output(settings.output).fence("steady"))
    run = Run(settings, "", ledger.out, code_version="benchmark")
    committed = np.ones(plan.total, bool)
    committed[:samples] = False
    with connected(settings.execution):
        pipeline = Pipeline(run, ProceduralMasker, ProceduralPainter, whole=null_work)
        warm = next(plan.waves(committed, 64))
        list(pipeline.execute(warm))
        watch = Watch()
        lease = Lease.acquire(ledger.out, heartbeat_s=5)

        class Rest:
            total = plan.total

            def waves(self, _: Any, size: int) -> Iterator[pa.Table]:
                yield from plan.waves(committed, size)

        driver = Driver(run, Rest(), ledger, lease, pipeline.execute, lambda: waiting_for(settings.execution), watch)
        driver.work()
        lease.release()
        took = time.monotonic() - watch.began
        rss = [b / 1e6 for b in watch.rss_bytes]
        print(
            f"{watch.rows:,} null samples, block {settings.execution.block_size}: {took / watch.rows * 1000:.2f} ms a "
            f"sample, driver RSS {rss[len(rss) // 5]:.0f} MB at a fifth, {rss[-1]:.0f} MB at the end"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=50_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_list(folder / "cases.parquet", arguments.cases)
        table = Table("part", "CPU s", "wall s", "peak MB over start")
        for name, function, *rest in (
            ("commit", commit_prefix, DONE_SHARE),
            ("resume", resume),
            ("steady small", steady, arguments.small),
            ("steady large", steady, arguments.large),
        ):
            cost = cost_of(function, folder, *rest)
            table.add_row(name, f"{cost.cpu_s:.1f}", f"{cost.wall_s:.1f}", f"{cost.peak_bytes / 1e6:.0f}")
        Console().print(table)


if __name__ == "__main__":
    main()
