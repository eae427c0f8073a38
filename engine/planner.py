"""Which samples a run has, and which of them are still to be made.

A sample's `ordinal` is its place among all samples sorted by case id (bytewise) and variant, so it follows from the
set of cases and never from the order of their list. Two passes over the list: the first holds ids only as long as it
takes to rank them, the second streams what is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.core.errors import CaseListError
from engine.core.wire import LISTED
from engine.io.case_rows import BATCH_ROWS
from engine.io.cases import CaseList

_SHOWN = 3
"""Doubled ids that a message names."""
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Plan:
    """Every sample of a run. Built by `make_plan`.

    `fingerprint` 32 hex digits over the content of all case rows: equal for the same rows in another order, and for a
    list that moved together with its data.
    """

    total: int
    cases: int
    fingerprint: str
    _list: CaseList
    _first: NDArray[np.int64]
    """Ordinal of each case's variant 0, in list order."""
    _variants: NDArray[np.int32]
    """Samples of each case, in list order."""

    def waves(self, committed: NDArray[np.bool_], wave_samples: int) -> Iterator[pa.Table]:
        """Tables of `LISTED`, at most `wave_samples` rows each: what is not committed, in list order.

        `committed` (total,) by ordinal. The variants of a case are adjacent. A wave is yielded as soon as it is full.
        Raises `CaseListError` if the list has changed since the plan was made.
        """
        if committed.shape != (self.total,):
            raise ValueError(f"committed has shape {committed.shape}, should be ({self.total},)")
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in self._missing(committed):
            while rows + batch.num_rows >= wave_samples:
                head = batch.slice(0, wave_samples - rows)
                yield _wave([*waiting, head])
                batch = batch.slice(head.num_rows)
                waiting, rows = [], 0
            waiting.append(batch)
            rows += batch.num_rows
        if rows:
            yield _wave(waiting)

    def _missing(self, committed: NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
        """Small batches of `LISTED`; only a case with very many variants makes a large one."""
        start = 0
        for batch in self._list.batches():
            stop = start + batch.num_rows
            if stop > self.cases:
                raise self._changed()
            for piece in _pieces(self._variants[start:stop], BATCH_ROWS):
                of_list = slice(start + piece.start, start + piece.stop)
                cases = batch.slice(piece.start, piece.stop - piece.start)
                yield _samples(cases, self._first[of_list], self._variants[of_list], committed)
            start = stop
        if start != self.cases:
            raise self._changed()

    def _changed(self) -> CaseListError:
        return CaseListError(f"{self._list.origin}: the list has changed while it was being read; start again")


def make_plan(cases: CaseList, default_variants: int) -> Plan:
    """First pass: rank, count and digest every case. Raises `CaseListError`, also for ids that come twice."""
    ids, counts, digests = [], [], 0
    for batch in cases.batches():
        ids.append(batch.column("case_id"))
        counts.append(batch.column("variants").to_numpy())
        digests += _digest_sum(batch)
    order = _order(pa.concat_arrays(ids), cases)
    given = np.concatenate(counts)
    variants = np.where(given == 0, np.int32(default_variants), given).astype(np.int32)
    in_order = variants[order].astype(np.int64)
    ends = np.cumsum(in_order)
    first = np.empty(len(order), np.int64)
    first[order] = ends - in_order
    # A sum does not depend on the order of its terms; the count keeps rows that cancel out from hiding.
    text = f"{len(order)}\n{digests % 2 ** (8 * _DIGEST_BYTES):x}"
    fingerprint = hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return Plan(int(ends[-1]), len(order), fingerprint, cases, first, variants)


def _order(ids: pa.Array, cases: CaseList) -> NDArray[np.uint64]:
    """Rows in the order of their ids, bytewise. Raises `CaseListError` for doubled ids, naming the rows."""
    order = pc.sort_indices(ids)
    doubled: list[str] = []
    # Stretch by stretch, each overlapping the next by one: a whole sorted copy would double the memory.
    for start in range(0, len(order), BATCH_ROWS):
        ordered = ids.take(order.slice(start, BATCH_ROWS + 1))
        doubled += ordered[1:].filter(pc.equal(ordered[1:], ordered[:-1])).to_pylist()
    if doubled:
        raise _doubled(sorted(set(doubled)), cases)
    numbers: NDArray[np.uint64] = order.to_numpy()
    return numbers


def _doubled(case_ids: Sequence[str], cases: CaseList) -> CaseListError:
    places = cases.places(case_ids[:_SHOWN])
    named = "; ".join(f"'{case_id}' in {' and '.join(rows[:2])}" for case_id, rows in places.items())
    more = f"; and {len(case_ids) - _SHOWN} more" if len(case_ids) > _SHOWN else ""
    return CaseListError(f"{cases.origin}: case ids that come twice: {named}{more}")


def _digest_sum(batch: pa.RecordBatch) -> int:
    """Sum of the digests of all rows of `CASE_SCHEMA`, as little-endian integers."""
    columns = [batch.column(name) for name in ("case_id", "ct_uri", "organs_uri", "wanted")]
    # Lengths in front make the joined text unambiguous, whatever the fields hold.
    numbers = [*(pc.binary_length(c) for c in columns), batch.column("variants")]
    rows = pc.binary_join_element_wise(*(n.cast(pa.string()) for n in numbers), *columns, "\n")
    ends = np.frombuffer(rows.buffers()[1], np.int32)[rows.offset : rows.offset + len(rows) + 1].tolist()
    data = rows.buffers()[2].to_pybytes()
    digests = b"".join(
        [hashlib.blake2b(data[start:end], digest_size=_DIGEST_BYTES).digest() for start, end in pairwise(ends)]
    )
    limbs = np.frombuffer(digests, "<u4").reshape(-1, _DIGEST_BYTES // 4).sum(axis=0, dtype=np.uint64)
    return sum(int(limb) << (32 * place) for place, limb in enumerate(limbs))


def _wave(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    # In one piece: rows of a wave are later taken by number, and a nearly done run has thousands of small batches.
    return pa.Table.from_batches(batches, LISTED).combine_chunks()


def _pieces(variants: NDArray[np.int32], limit: int) -> Iterator[slice]:
    """Runs of cases of about `limit` samples, at least one case each."""
    ends = np.cumsum(variants, dtype=np.int64)
    start, done = 0, 0
    while start < len(variants):
        stop = max(start + 1, int(np.searchsorted(ends, done + limit, side="right")))
        yield slice(start, stop)
        start, done = stop, int(ends[stop - 1])


def _samples(
    cases: pa.RecordBatch, first: NDArray[np.int64], variants: NDArray[np.int32], committed: NDArray[np.bool_]
) -> pa.RecordBatch:
    """{case} -> {sample}: each case repeated for its variants, those committed left out."""
    case = np.repeat(np.arange(len(variants)), variants)
    variant = np.arange(len(case)) - np.repeat(np.cumsum(variants, dtype=np.int64) - variants, variants)
    ordinal = first[case] + variant
    missing = ~committed[ordinal]
    case, variant, ordinal = case[missing], variant[missing], ordinal[missing]
    rows = cases.take(pa.array(case))
    columns = {
        "sample_id": _sample_ids(rows.column("case_id"), variant),
        "case_id": rows.column("case_id"),
        "variant": pa.array(variant, pa.int32()),
        "ordinal": pa.array(ordinal, pa.int64()),
        "ct_uri": rows.column("ct_uri"),
        "organs_uri": rows.column("organs_uri"),
        "wanted": rows.column("wanted"),
        "attempt": pa.array(np.zeros(len(case), np.int32)),
    }
    return pa.RecordBatch.from_pydict(columns, schema=LISTED)


def _sample_ids(case_ids: pa.Array, variant: NDArray[np.int64]) -> pa.Array:
    """`engine.core.sample.sample_id_of` for whole columns."""
    numbers = pc.utf8_lpad(pa.array(variant).cast(pa.string()), width=3, padding="0")
    return pc.binary_join_element_wise(case_ids, pa.scalar("-v"), numbers, "")
