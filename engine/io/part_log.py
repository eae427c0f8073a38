"""An append-only table in one folder: durable parts, merged 32 at a time so that they stay few.

A merged part is written before those it replaces are deleted, so a kill in between leaves rows twice, never not at
all; whoever reads takes each ordinal once.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import pyarrow as pa

from engine.io.sorted_rows import Chunk, chunks, encode, merged, unique
from engine.io.storage import OutputFolder

FAN_IN = 32
MERGED_ROWS = 65_536
"""Parts that would make more rows than this are left as they are: a commit never waits long for a merge."""
_NAME = re.compile(r"part-L(?P<level>\d+)-(?P<epoch>\d+)-(?P<writer>[0-9a-f]+)-(?P<number>\d+)-(?P<rows>\d+)\.parquet")


@dataclass(frozen=True, order=True)
class Part:
    """What a part's name tells. `writer` is drawn anew by each process, so no two ever write the same name."""

    level: int
    rows: int
    epoch: int
    writer: str
    number: int

    @property
    def name(self) -> str:
        return f"part-L{self.level}-{self.epoch:06d}-{self.writer}-{self.number:08d}-{self.rows}.parquet"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        return cls(int(match["level"]), int(match["rows"]), int(match["epoch"]), match["writer"], int(match["number"]))


class PartLog:
    """The parts of `folder`. One process appends, the holder of the run's lease; any may read."""

    def __init__(self, out: OutputFolder, folder: str, schema: pa.Schema) -> None:
        self._out, self._folder, self._schema = out, folder, schema
        self._epoch = int(out.token.partition("-")[0] or 0)
        self._writer = uuid.uuid4().hex[:8]
        self._written = 0
        self._known: list[Part] | None = None

    def append(self, table: pa.Table) -> None:
        """Write rows as one durable part, then merge what has become many. Raises `OutputError`."""
        if not table.num_rows:
            return
        parts = self._parts()
        self._write([unique(table)], level=0)
        level = 0
        while level <= max(p.level for p in parts):
            self._merge(level)
            level += 1

    def names(self) -> list[str]:
        """Names of all parts in the output folder, listed anew."""
        listed = self._out.names(self._folder)
        return [n for n in listed if Part.parse(n.removeprefix(f"{self._folder}/"))]

    def sources(
        self, names: Sequence[str], columns: Sequence[str], start: int = 0, stop: int | None = None
    ) -> list[Iterator[Chunk]]:
        """Sorted rows of some files, a source each, for `merged`."""
        return [chunks(partial(self._out.open, name), columns, start, stop) for name in names]

    def _parts(self) -> list[Part]:
        if self._known is None:
            found = (Part.parse(n.removeprefix(f"{self._folder}/")) for n in self.names())
            self._known = [part for part in found if part]
        return self._known

    def _merge(self, level: int) -> None:
        parts = self._parts()
        smallest = sorted(p for p in parts if p.level == level)[:FAN_IN]
        if len(smallest) < FAN_IN or sum(p.rows for p in smallest) > MERGED_ROWS:
            return
        names = [self._path(p) for p in smallest]
        self._write(merged(self.sources(names, self._schema.names)), level=level + 1)
        self._out.delete(names)
        for part in smallest:
            parts.remove(part)

    def _write(self, tables: Sequence[pa.Table] | Iterator[pa.Table], *, level: int) -> None:
        data, rows = encode(tables, self._schema)
        part = Part(level, rows, self._epoch, self._writer, self._written)
        self._out.put(self._path(part), data, durable=True)
        self._written += 1
        self._parts().append(part)

    def _path(self, part: Part) -> str:
        return f"{self._folder}/{part.name}"
