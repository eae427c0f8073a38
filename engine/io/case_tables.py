"""Case lists with named columns: Parquet files and JSON lines.

Names: `case_id` (may be left out), `ct` | `ct_uri` | `image`, `organs` | `organs_uri` | `seg`, `lesions` | `attributes`
| `wanted`, `variants`. Parquet columns of other names are ignored; in JSON lines another key is a lesion attribute
("organ type": "liver"), and one that is neither is refused, since a mistyped attribute would be lost in silence.
Notes go under `meta`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.core.errors import CaseListError, ReportError
from engine.core.report import Wanted
from engine.core.suggest import did_you_mean
from engine.io.case_rows import BATCH_ROWS, CASE_SCHEMA, COLUMN_NAMES, parse_json, wanted_column, wanted_text
from engine.io.case_uris import filesystem, name_of, reading

JSON_SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")
MAX_INT32 = 2**31 - 1


@dataclass(frozen=True)
class ParquetCases:
    """Parquet files with the same columns, one after the other."""

    origin: str
    files: Sequence[str]
    base: str

    def rows(self) -> Iterator[pa.RecordBatch]:
        for uri in self.files:
            fs, path = filesystem(uri)
            with (
                reading(uri),
                fs.open(path, "rb") as stream,
                pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20) as file,
            ):
                columns = _columns(file.schema_arrow.names, uri)
                first_row = 0
                for batch in file.iter_batches(BATCH_ROWS, columns=list(columns.values()), use_threads=False):
                    yield _case_batch(batch, columns, uri, first_row)
                    first_row += batch.num_rows


def _columns(names: Sequence[str], where: str) -> dict[str, str]:
    """Column of `CASE_SCHEMA` -> its name among `names`. Raises `CaseListError`: no CT, or two names for one thing."""
    found: dict[str, str] = {}
    for column, aliases in COLUMN_NAMES.items():
        present = [name for name in names if name in aliases]
        if len(present) > 1:
            raise CaseListError(f"{where}: '{present[0]}' and '{present[1]}' mean the same; keep one")
        if present:
            found[column] = present[0]
    if "ct_uri" not in found:
        near = next((hint for name in names if (hint := did_you_mean(name, COLUMN_NAMES["ct_uri"]))), "")
        raise CaseListError(
            f"{where}: no column 'ct' with the volume's URI among {', '.join(names) or 'none'}"
            f"{near or '; rename the one that holds it'}"
        )
    return found


def _case_batch(batch: pa.RecordBatch, columns: Mapping[str, str], uri: str, first_row: int) -> pa.RecordBatch:
    def where(row: int) -> str:
        return f"{uri}, row {first_row + row + 1}"

    def column(name: str, kind: pa.DataType) -> pa.Array:
        if name not in columns:
            return pa.nulls(batch.num_rows, kind)
        return _cast(batch.column(columns[name]), kind, columns[name], uri)

    if "wanted" in columns and pa.types.is_nested(batch.schema.field(columns["wanted"]).type):
        values = batch.column(columns["wanted"]).to_pylist(maps_as_pydicts="strict")
        wanted = pa.array([wanted_text(_without_nulls(v), where(row)) for row, v in enumerate(values)], pa.string())
    else:
        wanted = wanted_column(column("wanted", pa.string()), where)
    ct = column("ct_uri", pa.string()).fill_null("")
    if (missing := pc.index(ct, "").as_py()) >= 0:
        raise CaseListError(f"{where(missing)}: '{columns['ct_uri']}' is empty")
    variants = column("variants", pa.int32()).fill_null(0)
    if (negative := pc.index(pc.less(variants, 0), True).as_py()) >= 0:
        raise CaseListError(f"{where(negative)}: 'variants' is below 0")
    ids, organs = column("case_id", pa.string()), column("organs_uri", pa.string()).fill_null("")
    return pa.RecordBatch.from_arrays([ids, ct, organs, wanted, variants], schema=CASE_SCHEMA)


def _cast(array: pa.Array, to: pa.DataType, column: str, where: str) -> pa.Array:
    try:
        return array.cast(to)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise CaseListError(f"{where}: column '{column}' is {array.type}, should be {to}") from None


def _without_nulls(value: Any) -> Any:
    """Parquet structs hold every key in every row; those without a value are not set."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value if v is not None]
    return value


@dataclass(frozen=True)
class JsonLineCases:
    """Files with one JSON object a line; blank lines are skipped."""

    origin: str
    files: Sequence[str]
    base: str

    def rows(self) -> Iterator[pa.RecordBatch]:
        for uri in self.files:
            with reading(uri), fsspec.open(uri, "rt", encoding="utf-8-sig", compression="infer") as stream:
                lines = ((number, line) for number, line in enumerate(stream, 1) if not line.isspace())
                layouts: dict[tuple[str, ...], _Layout] = {}
                while chunk := list(islice(lines, BATCH_ROWS)):
                    rows = [_json_row(line, f"{uri}:{number}", layouts) for number, line in chunk]
                    yield pa.RecordBatch.from_arrays(
                        [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), CASE_SCHEMA, strict=True)],
                        schema=CASE_SCHEMA,
                    )


@dataclass(frozen=True)
class _Layout:
    """How the keys of a JSON object are to be read."""

    columns: Mapping[str, str]
    """Column of `CASE_SCHEMA` -> key."""
    attributes: tuple[str, ...]
    """Keys that are attributes of the row's one lesion."""

    @classmethod
    def of(cls, keys: Sequence[str], where: str) -> _Layout:
        """Raises `CaseListError` for a key that means nothing, or two that mean the same."""
        columns = _columns(keys, where)
        others = tuple(key for key in keys if key not in columns.values() and key != "meta")
        for key in others:
            _check_attribute_name(key, where)
        if others and "wanted" in columns:
            raise CaseListError(f"{where}: '{others[0]}' belongs within '{columns['wanted']}', which is given too")
        return cls(columns, others)


def _json_row(line: str, where: str, layouts: dict[tuple[str, ...], _Layout]) -> tuple[str | None, str, str, str, int]:
    """A line as a row of `CASE_SCHEMA`. `layouts` remembers the sets of keys met so far, of which there are few."""
    data = parse_json(line, where)
    if not isinstance(data, dict):
        raise CaseListError(f'{where}: should be a JSON object such as {{"case_id": "p1", "ct": "p1/ct.nii.gz"}}')
    keys = tuple(data)
    layout = layouts.get(keys) or layouts.setdefault(keys, _Layout.of(keys, where))
    row = {column: data[key] for column, key in layout.columns.items()}
    lesions = {key: data[key] for key in layout.attributes} if layout.attributes else row.get("wanted")
    return (
        _text(row.get("case_id"), "case_id", where) or None,
        _text(row["ct_uri"], layout.columns["ct_uri"], where, needed=True),
        _text(row.get("organs_uri"), layout.columns.get("organs_uri", "organs"), where),
        wanted_text(lesions, where),
        _variants(row.get("variants"), where),
    )


def _check_attribute_name(key: str, where: str) -> None:
    if key == "type_json":
        return
    try:
        Wanted.from_json({key: None})
    except ReportError:
        known = [*(name for names in COLUMN_NAMES.values() for name in names), *(f.name for f in fields(Wanted))]
        hint = did_you_mean(key, known) or "; your own notes go under meta"
        raise CaseListError(f"{where}: unknown key '{key}'{hint}") from None


def _text(value: Any, key: str, where: str, *, needed: bool = False) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or isinstance(value, str):
        if needed and not value:
            raise CaseListError(f"{where}: '{key}' is empty")
        return value or ""
    raise CaseListError(f"{where}: '{key}' should be text, is {type(value).__name__}")


def _variants(value: Any, where: str) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INT32:
        raise CaseListError(f"{where}: 'variants' should be a whole number from 0 (the run's default), is {value!r}")
    return value


def parquet_files(folder: str) -> list[str]:
    """URIs of the Parquet files in a folder (not below it), sorted; hidden ones and those named `_...` left out."""
    fs, path = filesystem(folder)
    names = sorted(name_of(found) for found in fs.ls(path, detail=False))
    return [f"{folder}/{name}" for name in names if name.endswith(PARQUET_SUFFIXES) and name[0] not in "._"]
