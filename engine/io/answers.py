"""What a language model answered in this run, so that nothing is asked twice: an append-only table in `reports/`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.core.dictation import Answer
from engine.core.report import Wanted
from engine.core.spent import Spent
from engine.io.part_log import PartLog
from engine.io.sorted_rows import ordinals_of, unique
from engine.io.storage import OutputFolder

FOLDER = "reports"
ANSWERS = pa.schema(
    [
        ("ordinal", pa.int64()),
        ("digest", pa.string()),
        ("writer", pa.string()),
        ("proposal", pa.string()),
        ("requests", pa.int32()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)
"""One row a question. `ordinal` is the head of its digest: what the log is sorted and merged by. `proposal` JSON."""

_COSTS = ("requests", "prompt_tokens", "completion_tokens")
_MOST_RECENT = 65_536


@dataclass(frozen=True)
class Kept:
    """An answer as it is kept. `digest` of its question, see `Question.digest`."""

    digest: str
    answer: Answer
    spent: Spent

    def row(self) -> dict[str, Any]:
        return {
            "ordinal": _ordinal(self.digest),
            "digest": self.digest,
            "writer": self.answer.writer,
            "proposal": json.dumps(self.answer.proposal.to_json(), sort_keys=True),
            "requests": self.spent.requests,
            "prompt_tokens": self.spent.prompt_tokens,
            "completion_tokens": self.spent.completion_tokens,
        }


class AnswerBook:
    """All answers of a run: on disk for good, in memory packed (about 0.4 GB a million). One process appends."""

    def __init__(self, out: OutputFolder) -> None:
        self._log = PartLog(out, FOLDER, ANSWERS)
        self._packed, self._recent = _read(out, self._log), dict[str, Kept]()
        self.spent = _total(self._packed)

    def find(self, digest: str) -> Answer | None:
        """The answer to a question, if there is one."""
        if digest in self._recent:
            return self._recent[digest].answer
        ordinals = ordinals_of(self._packed)
        at = int(np.searchsorted(ordinals, _ordinal(digest)))
        if at == len(ordinals) or self._packed["digest"][at].as_py() != digest:
            return None
        proposal = json.loads(self._packed["proposal"][at].as_py())
        return Answer(Wanted.from_json(proposal), self._packed["writer"][at].as_py())

    def append(self, answers: Sequence[Kept]) -> None:
        """Keep answers: once this returns they outlive anything. Raises `OutputError`."""
        self._log.append(_table(answers))
        self.spent = sum((kept.spent for kept in answers), self.spent)
        recent = self._recent | {kept.digest: kept for kept in answers}
        if len(recent) > _MOST_RECENT:
            self._packed = _sorted(pa.concat_tables([self._packed, _table(list(recent.values()))]))
            recent = {}
        self._recent = recent


def spent_in(out: OutputFolder) -> Spent:
    """What the language model of a run has cost so far."""
    return _total(_read(out, PartLog(out, FOLDER, ANSWERS), ["ordinal", *_COSTS]))


def _read(out: OutputFolder, log: PartLog, columns: Sequence[str] = tuple(ANSWERS.names)) -> pa.Table:
    tables = [pa.schema([ANSWERS.field(name) for name in columns]).empty_table()]
    for name in log.names():
        with out.open(name) as handle, pq.ParquetFile(handle) as file:
            tables.append(file.read(list(columns)))
    return _sorted(pa.concat_tables(tables))


def _table(answers: Sequence[Kept]) -> pa.Table:
    return _sorted(pa.Table.from_pylist([kept.row() for kept in answers], schema=ANSWERS))


def _sorted(table: pa.Table) -> pa.Table:
    """Each row once, in one chunk a column."""
    return unique(table).combine_chunks()


def _total(table: pa.Table) -> Spent:
    return Spent(*(pc.sum(table[name]).as_py() or 0 for name in _COSTS))


def _ordinal(digest: str) -> int:
    """63 bits of it."""
    return int(digest[:16], 16) >> 1
