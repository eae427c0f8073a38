"""Stages as Ray Data tasks: rows in, rows out, held to their boundary schemas. Those with a model are in `actors`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from engine import chain
from engine.core import wire
from engine.core.errors import LesionForgeError
from engine.core.requests import Masker, Painter, Services
from engine.core.sample import Sample
from engine.io.reader import CaseReader
from engine.run import Run
from engine.stages.result import RESULT

MaskerFactory = Callable[[], Masker]
PainterFactory = Callable[[], Painter]


@dataclass(frozen=True)
class Wave:
    """Rows handed to Ray at one time. Blocks carry row numbers; the rows themselves lie once in the object store."""

    rows: ray.ObjectRef[pa.Table]
    count: int

    @classmethod
    def of(cls, listed: pa.Table) -> Wave:
        return cls(ray.put(listed.cast(wire.LISTED)), listed.num_rows)

    def samples(self, block: pa.Table) -> list[Sample]:
        """The samples of a block of row numbers."""
        rows: pa.Table = ray.get(self.rows)
        return wire.from_table(rows.take(block.column("id")))


def run_whole(
    block: pa.Table, wave: Wave, run: Run, services: Services, masker: MaskerFactory, painter: PainterFactory
) -> pa.Table:
    """{row number} -> RESULT, every stage in this task. One row in, one out."""
    samples, reader = wave.samples(block), CaseReader(run)
    return _results(samples, list(chain.whole(samples, run, reader, services, masker(), painter())))


def run_prepare(block: pa.Table, wave: Wave, run: Run, services: Services) -> pa.Table:
    """{row number} -> PLACED. One row in, one out."""
    placed = chain.prepare_all(wave.samples(block), run, CaseReader(run), services)
    return wire.to_table(list(placed), wire.PLACED)


def run_finish(block: pa.Table, run: Run) -> pa.Table:
    """PAINTED -> RESULT. One row in, one out."""
    reader, samples = CaseReader(run), wire.from_table(block)
    return _results(samples, [chain.finish(s, run, reader) for s in samples])


def _results(samples: list[Sample], rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a table, after making sure that none was lost, doubled or renamed."""
    if [s.sample_id for s in samples] != [r["sample_id"] for r in rows]:
        raise LesionForgeError("a stage returned other samples than it was given")
    return pa.Table.from_pylist(rows, schema=RESULT)
