"""Which samples have ended, and how: the manifest while a run goes on, and the shards it becomes at the end.

    manifest/part-*.parquet         appended by the driver, in the order of work
    manifest/shard-NNNNN.parquet    after `compact`: by ordinal, one row a sample, equal bytes for equal runs
    metrics/part-*.parquet          what it cost

Between the first shard and the last deleted part both are there, and rows are read once each all the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.core.errors import LesionForgeError, RunConflictError
from engine.core.failpoints import reached
from engine.core.schema import MANIFEST_SCHEMA, METRICS_SCHEMA
from engine.io.part_log import PartLog
from engine.io.sorted_rows import KEY, Chunk, encode, merged, ordinals_of
from engine.io.storage import OutputFolder

_FOLDER = "manifest"
_SHARD = re.compile(rf"{_FOLDER}/shard-(\d+)\.parquet")


class Ledger:
    """The manifest and metrics of one output folder. One process appends and compacts; any may read."""

    def __init__(self, out: OutputFolder) -> None:
        self.out = out
        self._manifest = PartLog(out, _FOLDER, MANIFEST_SCHEMA)
        self._metrics = PartLog(out, "metrics", METRICS_SCHEMA)

    def append(self, rows: pa.Table, metrics: pa.Table | None = None) -> None:
        """Commit rows of `MANIFEST_SCHEMA`: once this returns they outlive anything. Raises `OutputError`."""
        self._manifest.append(rows)
        if metrics is not None:
            self._metrics.append(metrics)

    def committed(self, total: int, statuses: Collection[str] | None = None) -> NDArray[np.bool_]:
        """(total,) by ordinal: has a row, and one of these statuses where given.

        Raises `RunConflictError` if the manifest holds ordinals of a larger run.
        """
        done = np.zeros(total, np.bool_)
        for table in self._read([KEY] if statuses is None else [KEY, "status"]):
            if statuses is not None:
                table = table.filter(pc.is_in(table.column("status"), pa.array(sorted(statuses), pa.string())))
            ordinals = ordinals_of(table)
            if len(ordinals) and ordinals.max() >= total:
                raise RunConflictError(f"{self.out.uri} holds more samples than the {total} of this run")
            done[ordinals] = True
        return done

    def counts(self) -> dict[str, int]:
        """Samples by status."""
        seen, counts = np.zeros(0, np.bool_), Counter[str]()
        for table in self._read([KEY, "status"]):
            ordinals = ordinals_of(table)
            seen = np.pad(seen, (0, max(0, int(ordinals.max(initial=-1)) + 1 - len(seen))))
            fresh = table.column("status").filter(pa.array(~seen[ordinals]))
            seen[ordinals] = True
            counts.update({v["values"]: v["counts"] for v in pc.value_counts(fresh).to_pylist()})
        return dict(sorted(counts.items()))

    def tables(
        self, columns: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[pa.Table]:
        """Rows with ordinals in [start, stop) by ascending ordinal, each once, some at a time in flat memory."""
        wanted = list(columns or MANIFEST_SCHEMA.names)
        read = wanted if KEY in wanted else [*wanted, KEY]
        shards = self._manifest.sources(self._shard_names(), read, start, stop)
        sources = [_chained(shards), *self._manifest.sources(self._manifest.names(), read, start, stop)]
        for table in merged(sources):
            first, last = np.searchsorted(ordinals_of(table), [start, np.iinfo(np.int64).max if stop is None else stop])
            if last > first:
                yield table.slice(first, last - first).select(wanted)

    def rows(
        self, columns: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """As `tables`, a row at a time."""
        for table in self.tables(columns, start, stop):
            yield from table.to_pylist()

    def parts(self) -> int:
        """Manifest files that are not shards yet."""
        return len(self._manifest.names())

    def compact(self, shard_size: int, total: int) -> None:
        """Turn the parts of a run whose `total` samples are all committed into shards of `shard_size` ordinals.

        Every shard is in place before the first part goes, so this may be killed anywhere and called again.
        """
        parts = self._manifest.names()
        shards = [range(start, min(start + shard_size, total)) for start in range(0, total, shard_size)]
        present = frozenset(self._shard_names())
        missing = [n for n, span in enumerate(shards) if not self._is_whole(_shard_name(n), span, present)]
        if missing:
            self._write_shards(missing, shards)
        reached("compaction")
        self.out.delete(parts)

    def _write_shards(self, missing: Sequence[int], shards: Sequence[range]) -> None:
        wanted = set(missing)
        rows = _Cut(self.tables(start=shards[missing[0]].start, stop=shards[missing[-1]].stop))
        for number in range(missing[0], missing[-1] + 1):
            table = rows.until(shards[number].stop)
            if not np.array_equal(ordinals_of(table), shards[number]):
                raise LesionForgeError(f"{self.out.uri}: the manifest lacks rows of {_shard_name(number)}")
            if number in wanted:
                self.out.put(_shard_name(number), encode([table], MANIFEST_SCHEMA)[0], durable=True)

    def _is_whole(self, name: str, span: range, present: Collection[str]) -> bool:
        """Whether this shard exists. A shard is put whole, so its length tells that it was cut as it would be now."""
        if name not in present:
            return False
        with self.out.open(name) as handle, pq.ParquetFile(handle) as file:
            return bool(file.metadata.num_rows == len(span))

    def _shard_names(self) -> list[str]:
        matches = (_SHARD.fullmatch(name) for name in self.out.names(_FOLDER))
        return [m[0] for m in sorted((m for m in matches if m), key=lambda m: int(m[1]))]

    def _read(self, columns: list[str]) -> Iterator[pa.Table]:
        """Some columns of each file; an ordinal may come twice, and so may what a running driver merges meanwhile."""
        read: set[str] = set()
        while True:
            for name in [n for n in (*self._shard_names(), *self._manifest.names()) if n not in read]:
                try:
                    table = self._columns(name, columns)
                except FileNotFoundError:
                    break  # its rows are in a part that was not there yet: list anew
                read.add(name)
                yield table
            else:
                return

    def _columns(self, name: str, columns: list[str]) -> pa.Table:
        with self.out.open(name) as handle, pq.ParquetFile(handle) as file:
            return file.read(columns)


class _Cut:
    """Sorted tables, handed out by ranges of ordinals."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._left = MANIFEST_SCHEMA.empty_table()

    def until(self, stop: int) -> pa.Table:
        """Every further row below this ordinal."""
        pieces = [self._left]
        while not self._left.num_rows or ordinals_of(self._left)[-1] < stop:
            table = next(self._tables, None)
            if table is None:
                break
            pieces.append(table)
            self._left = table
        split = int(np.searchsorted(ordinals_of(pieces[-1]), stop))
        self._left = pieces[-1].slice(split)
        return pa.concat_tables([*pieces[:-1], pieces[-1].slice(0, split)])


def _shard_name(number: int) -> str:
    return f"{_FOLDER}/shard-{number:05d}.parquet"


def _chained(sources: Sequence[Iterator[Chunk]]) -> Iterator[Chunk]:
    """Sources that follow one another, as one: opened one at a time."""
    for source in sources:
        yield from source
