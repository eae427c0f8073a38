"""Case lists: every kind of list, read as the same stream of rows.

A list is streamed and re-iterable: it is never held as Python objects, however long it is. What contradicts itself is
refused with one line (`CaseListError`); what is wrong with a single case is found later, and fails that case alone.
Ids that come twice are found by `engine.planner`, which sees all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import CaseListError
from engine.io.case_id import PathNaming, check_case_ids
from engine.io.case_lines import AlignedCases
from engine.io.case_rows import CaseSource
from engine.io.case_tables import JSON_SUFFIXES, PARQUET_SUFFIXES, JsonLineCases, ParquetCases, parquet_files
from engine.io.case_uris import VOLUME_SUFFIXES, absolute, filesystem, folder_of, name_of, reading
from engine.io.case_volumes import OrganTemplate, is_volume, one_volume, volumes_in, volumes_matching
from engine.settings import Cases

_GLOB_MARKS = "*?["


class CaseList:
    """The cases of a run, in the order of their list. Every iteration starts anew and yields the same rows."""

    def __init__(self, source: CaseSource, *, limit: int | None = None) -> None:
        """`limit`: keep the cases with that many smallest ids, which does not depend on the list's order."""
        self._source = source
        self._limit = limit

    @property
    def origin(self) -> str:
        """What messages call the list."""
        return self._source.origin

    @property
    def base(self) -> str:
        """Folder that relative URIs of the rows start from; absolute."""
        return self._source.base

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batches of `CASE_SCHEMA`, every row with a checked id. Raises `CaseListError`, also for an empty list."""
        last = self._last_id
        for batch in self._named():
            kept = batch if last is None else batch.filter(pc.less_equal(batch.column("case_id"), last))
            if kept.num_rows:
                yield kept

    def places(self, case_ids: Collection[str]) -> dict[str, list[str]]:
        """Id -> "row 3 (a/ct.nii.gz)" of each row of the whole list that has it, rows counted from 1."""
        found: dict[str, list[str]] = {case_id: [] for case_id in case_ids}
        sought = pa.array(list(case_ids), pa.string())
        start = 1
        for batch in self._named():
            hits = pc.indices_nonzero(pc.is_in(batch.column("case_id"), value_set=sought)).to_pylist()
            for row in hits:
                uri = batch.column("ct_uri")[row].as_py()
                found[batch.column("case_id")[row].as_py()].append(f"row {start + row} ({uri})")
            start += batch.num_rows
        return found

    def _named(self) -> Iterator[pa.RecordBatch]:
        """The source's rows, every one with a checked id. Raises `CaseListError` if there is none."""
        first_row = 0
        for batch in self._source.rows():
            ids = batch.column("case_id")
            if ids.null_count:
                derived = self._naming.ids(batch.column("ct_uri"))
                ids = pc.if_else(pc.is_null(ids), derived, ids)
                batch = batch.set_column(0, batch.schema.field(0), ids)
            check_case_ids(ids, origin=self.origin, first_row=first_row)
            first_row += batch.num_rows
            yield batch
        if first_row == 0:
            raise CaseListError(f"{self.origin}: the list is empty")

    @cached_property
    def _naming(self) -> PathNaming:
        """How rows without an id get theirs."""
        return PathNaming.over(
            lambda: (b.column("ct_uri").filter(b.column("case_id").is_null()) for b in self._source.rows())
        )

    @cached_property
    def _last_id(self) -> str | None:
        """The largest id within `limit`."""
        if self._limit is None:
            return None
        smallest = pa.array([], pa.string())
        for batch in self._named():
            ids = pa.concat_arrays([smallest, batch.column("case_id")])
            smallest = ids.take(pc.sort_indices(ids)[: self._limit])
        last: str = smallest[-1].as_py()
        return last


def open_cases(cases: Cases) -> CaseList:
    """The list that the settings name. Raises `CaseListError` where it is missing, or of no known kind."""
    return CaseList(_source(cases), limit=cases.limit)


def _source(cases: Cases) -> CaseSource:
    if cases.lists is not None:
        _no_template(cases)
        return AlignedCases.of(cases.lists)
    assert cases.source is not None  # noqa: S101 - Cases holds exactly one of the two
    uri = absolute(cases.source)
    organs = None if cases.organs is None else OrganTemplate.parse(cases.organs)
    fs, path = filesystem(uri)
    with reading(uri):
        if not fs.exists(path):
            if any(mark in uri for mark in _GLOB_MARKS):
                return _globbed(cases, uri, organs)
            raise FileNotFoundError(uri)
        folder = fs.isdir(path)
        tables = parquet_files(uri) if folder else [uri]
    if folder and not tables:
        return volumes_in(uri, organs)
    if not folder and is_volume(uri):
        return one_volume(uri, organs)
    return _tables(cases, uri, tables, folder=uri if folder else folder_of(uri))


def _globbed(cases: Cases, pattern: str, organs: OrganTemplate | None) -> CaseSource:
    """A glob of list files, or of volumes."""
    if not pattern.lower().endswith(PARQUET_SUFFIXES + JSON_SUFFIXES):
        return volumes_matching(pattern, organs)
    folder = folder_of(pattern)
    if any(mark in folder for mark in _GLOB_MARKS):
        raise CaseListError(f"{pattern}: the list files of a glob should lie in one folder, as URIs are relative to it")
    fs, path = filesystem(pattern)
    with reading(pattern):
        files = [f"{folder}/{name_of(found)}" for found in sorted(fs.glob(path))]
    if not files:
        raise CaseListError(f"{pattern}: no such file")
    return _tables(cases, pattern, files, folder=folder)


def _tables(cases: Cases, origin: str, files: list[str], *, folder: str) -> CaseSource:
    _no_template(cases)
    name = files[0].lower()
    if name.endswith(PARQUET_SUFFIXES):
        return ParquetCases(origin, tuple(files), folder)
    if name.endswith(JSON_SUFFIXES):
        return JsonLineCases(origin, tuple(files), folder)
    raise CaseListError(
        f"{origin}: neither a list (.parquet, .jsonl) nor a volume ({', '.join(VOLUME_SUFFIXES)}), a folder or a glob; "
        "text files with a path a line go under cases.lists"
    )


def _no_template(cases: Cases) -> None:
    if cases.organs is not None:
        raise CaseListError("cases.organs is for a folder, a glob or one volume; a list names its organ maps itself")
