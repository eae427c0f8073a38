"""What the engine itself costs: planning a million cases, committing a million rows, and null work through Ray.

python -m benchmarks.orchestration [--cases 1000000] [--small 10000] [--large 50000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from actors.masker import MaskActor
from actors.painter import PaintActor
from benchmarks.measure import cost_of
from engine.core.requests import Services
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
    """A listener that counts rows and notes how memory goes."""

    began: float = field(default_factory=time.monotonic)
    rows: int = 0
    rss_bytes: list[int] = field(default_factory=list)
    parts: int = 0

    def started(self, total: int, committed: dict[str, int]) -> None:
        pass

    def handed_out(self, samples: int) -> None:
        pass

    def returned(self, statuses: dict[str, int], again: int, lesions: int) -> None:
        before, self.rows = self.rows, self.rows + sum(statuses.values())
        if self.rows // 500 > before // 500:
            self.rss_bytes.append(psutil.Process().memory_info().rss)

    def waiting(self, line: str) -> None:
        raise RuntimeError(line)

    def stopping(self) -> None:
        pass


def null_row(sample: Any, run: Run) -> dict[str, Any]:
    return result_row(replace(sample, status=Status.DONE), run)


def null_work(block: pa.Table, wave: Wave, run: Run, services: Services, masker: Any, painter: Any) -> pa.Table:
    """What `run_whole` does around its stages, without the stages."""
    return pa.Table.from_pylist([null_row(s, run) for s in wave.samples(block)], schema=RESULT)


@contextmanager
def held(settings: Settings) -> Iterator[tuple[Run, Ledger, Lease]]:
    """The output, as a driver holds it."""
    output = open_output(settings.output)
    lease = Lease.acquire(output, heartbeat_s=5)
    output = output.fence(lease.token)
    try:
        yield Run(settings, "", output, code_version="benchmark"), Ledger(output), lease
    finally:
        lease.release()


def commit_prefix(folder: Path, share: float) -> None:
    """A ledger in which the first rows of the list are committed, a thousand to a part. No Ray."""
    settings = settings_for(folder, "resume")
    plan = make_plan(open_cases(settings.cases), 1)
    with held(settings) as (run, ledger, lease):
        watch, rows = Watch(), int(plan.total * share)

        def execute(wave: pa.Table) -> Iterator[pa.Table]:
            template = null_row(from_table(wave.slice(0, 1))[0], run)
            for start in range(0, min(wave.num_rows, rows - watch.rows), 1024):
                part = wave.slice(start, min(1024, rows - watch.rows))
                blank = pa.Table.from_pylist([template] * part.num_rows, schema=RESULT)
                for name in ("sample_id", "case_id", "ordinal"):
                    blank = blank.set_column(blank.schema.get_field_index(name), name, part.column(name))
                yield blank
                watch.parts = max(watch.parts, ledger.parts())

        Driver(run, plan, ledger, lease, execute, lambda: "", watch).work()
    took = time.monotonic() - watch.began
    print(
        f"committing {watch.rows:,} rows: {watch.rows / took:,.0f} rows/s, at most {watch.parts} parts, "
        f"driver RSS {max(watch.rss_bytes) / 1e6:.0f} MB"
    )


def resume(folder: Path) -> None:
    """From nothing to the first row of a run with most rows committed; Ray's own start counted apart."""
    settings = settings_for(folder, "resume")
    with connected(settings), held(settings) as (run, ledger, _):
        watch = Watch()
        plan = make_plan(open_cases(settings.cases), 1)
        committed = ledger.committed(plan.total)
        pipeline = Pipeline(run, ProceduralMasker, ProceduralPainter, MaskActor, PaintActor, whole=null_work)
        wave = next(plan.waves(committed, settings.execution.wave_samples))
        planned_s = time.monotonic() - watch.began
        next(pipeline.execute(wave))
        first_s = time.monotonic() - watch.began
        print(
            f"resume of {plan.total:,} samples, {int(committed.sum()):,} committed: planned after {planned_s:.1f} s, "
            f"first row back after {first_s:.1f} s, driver RSS {_rss_mb():.0f} MB, {ledger.parts()} parts"
        )


def steady(folder: Path, samples: int) -> None:
    """Null work through the whole pipeline and the commit, in a warm cluster."""
    settings = settings_for(folder, f"steady-{samples}")
    plan = make_plan(open_cases(settings.cases), 1)
    with connected(settings), held(settings) as (run, ledger, lease):
        first = np.arange(plan.total) < samples
        pipeline = Pipeline(run, ProceduralMasker, ProceduralPainter, MaskActor, PaintActor, whole=null_work)
        list(pipeline.execute(next(plan.waves(~first, 64))))
        watch = Watch()
        part = Part(plan.total, lambda _, size: plan.waves(~first, size))
        Driver(run, part, ledger, lease, pipeline.execute, lambda: waiting_for(settings.execution), watch).work()
    took = time.monotonic() - watch.began
    rss = [b / 1e6 for b in watch.rss_bytes]
    print(
        f"{watch.rows:,} null samples, block {settings.execution.block_size}: {took / watch.rows * 1000:.2f} ms a "
        f"sample, driver RSS {rss[len(rss) // 5]:.0f} MB after a fifth, {rss[-1]:.0f} MB at the end"
    )


@dataclass(frozen=True)
class Part:
    """A plan cut to some of its samples."""

    total: int
    waves: Callable[[Any, int], Iterator[pa.Table]]


def _rss_mb() -> float:
    return float(psutil.Process().memory_info().rss / 1e6)


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
    from benchmarks.orchestration import main as run  # workers look the functions up by this name

    run()
