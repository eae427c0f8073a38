"""Parquet files of rows sorted by `ordinal`, read as one: merged by row group, each ordinal once, in flat memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

KEY = "ordinal"
ROW_GROUP = 1024
"""Rows decoded at a time from each file that a merge reads."""
_WRITER = {
    "compression": "zstd",
    "write_statistics": [KEY],  # ranges of digests and reports would only swell the footer
    "use_dictionary": ["case_id", "status", "stage", "reason", "config_hash", "weights", "code_version", "worker"],
}


def encode(tables: Iterable[pa.Table], schema: pa.Schema) -> tuple[bytes, int]:
    """One Parquet file and its number of rows. Equal rows give equal bytes, however they were cut into tables."""
    sink, rows = pa.BufferOutputStream(), 0
    with pq.ParquetWriter(sink, schema, **_WRITER) as writer:
        for table in of_size(tables, ROW_GROUP):
            writer.write_table(table, row_group_size=ROW_GROUP)
            rows += table.num_rows
    return sink.getvalue().to_pybytes(), rows


def of_size(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of so many rows, one chunk a column; the last may be shorter."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        while count >= rows:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, rows).combine_chunks()
            waiting, count = [joined.slice(rows)], count - rows
    if count:
        yield pa.concat_tables(waiting).combine_chunks()


def unique(table: pa.Table) -> pa.Table:
    """Rows by ascending ordinal, the first of each. Rows of one ordinal are equal, wherever they come from."""
    ordinals = ordinals_of(table)
    if (np.diff(ordinals) > 0).all():
        return table
    _, first = np.unique(ordinals, return_index=True)
    return table.take(pa.array(first))


def ordinals_of(table: pa.Table) -> NDArray[np.int64]:
    """(n,)"""
    ordinals: NDArray[np.int64] = table.column(KEY).to_numpy()
    return ordinals


@dataclass(frozen=True)
class Chunk:
    """A stretch of sorted rows that need not be read yet: ordinals `first` to `last`, both included."""

    first: int
    last: int
    load: Callable[[], pa.Table]


def chunks(file: Callable[[], Any], columns: Sequence[str], start: int, stop: int | None) -> Iterator[Chunk]:
    """Row groups of a file with ordinals in [start, stop), in order. Opened at the first one, closed after the last."""
    with file() as handle, pq.ParquetFile(handle) as parquet:
        meta = parquet.metadata
        key = parquet.schema_arrow.names.index(KEY)  # a leaf of the flat columns that come before `lesions`
        for group in range(meta.num_row_groups):
            stats = meta.row_group(group).column(key).statistics
            if stats.max < start or (stop is not None and stats.min >= stop):
                continue
            yield Chunk(stats.min, stats.max, partial(parquet.read_row_group, group, columns, use_threads=False))


def merged(sources: Iterable[Iterator[Chunk]]) -> Iterator[pa.Table]:
    """All rows of sorted sources by ascending ordinal, each once. Holds at most one row group a source."""
    heads = [head for source in sources if (head := _Head.of(source))]
    while heads:
        # Below the nearest end of a loaded stretch no other source can still have rows to offer.
        limit = min(head.last for head in heads)
        yield unique(pa.concat_tables([head.take(limit) for head in heads if head.first <= limit]))
        heads = [head for head in heads if head.refilled()]


class _Head:
    """What is next of one source."""

    def __init__(self, chunk: Chunk, rest: Iterator[Chunk]) -> None:
        self.first, self.last = chunk.first, chunk.last
        self._load, self._rest = chunk.load, rest
        self._table: pa.Table | None = None

    @classmethod
    def of(cls, source: Iterator[Chunk]) -> Self | None:
        chunk = next(source, None)
        return None if chunk is None else cls(chunk, source)

    def take(self, limit: int) -> pa.Table:
        """Rows up to and with this ordinal; there is at least one."""
        table = self._load() if self._table is None else self._table
        ordinals = ordinals_of(table)
        split = int(np.searchsorted(ordinals, limit, side="right"))
        self._table = table.slice(split)
        self.first = int(ordinals[split]) if split < len(ordinals) else self.last + 1
        return table.slice(0, split)

    def refilled(self) -> bool:
        """Whether rows are left, after going on to the next stretch if this one is used up."""
        if self.first > self.last:
            chunk = next(self._rest, None)
            if chunk is None:
                return False
            self.first, self.last, self._load, self._table = chunk.first, chunk.last, chunk.load, None
        return True
