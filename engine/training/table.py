"""Lesions listed in Parquet: a file, or a folder of files with the same columns; one row a lesion.

case_id   text; may be left out, and is then made of the image's path
image_uri, label_uri, organs_uri   text; relative ones start at the file's own folder
report   JSON text, our form of one lesion or the reference's `type.json`
healthy_organs_uri   text, may be left out or empty
centroid_mm   three numbers, world RAS, may be left out or empty: which lesion of the label is meant, else the largest
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.core.errors import CaseListError
from engine.core.suggest import did_you_mean
from engine.io.case_id import check_case_ids
from engine.io.case_tables import PARQUET_SUFFIXES, parquet_files
from engine.io.case_uris import absolute, filesystem, folder_of, normal, reading
from engine.io.uris import resolve
from engine.training.known import KnownLesion, Point
from engine.training.lists import case_ids_of, indices_of

_NEEDED = ("image_uri", "label_uri", "organs_uri", "report")
_TEXTS = ("case_id", *_NEEDED, "healthy_organs_uri")
_POINT = pa.list_(pa.float64())
_ROWS = 16384


def lesions_in_table(uri: str, scheme: str) -> list[KnownLesion]:
    """Every row, in order; `scheme` of the organ maps' ids.

    Raises `CaseListError`: no such file, not Parquet, a column missing or of another type, an empty cell, a bad id.
    """
    origin = absolute(uri)
    rows = [row for file in _files(origin) for row in _rows(file)]
    ids = _ids(origin, rows)
    return [
        KnownLesion(
            case_id=case_id,
            index=index,
            image_uri=row["image_uri"],
            label_uri=row["label_uri"],
            organs_uri=row["organs_uri"],
            healthy_organs_uri=row["healthy_organs_uri"] or None,
            report=row["report"],
            centroid_mm=row["centroid_mm"],
            scheme=scheme,
        )
        for row, case_id, index in zip(rows, ids, indices_of(ids), strict=True)
    ]


def _files(origin: str) -> list[str]:
    fs, path = filesystem(origin)
    with reading(origin):
        folder = fs.isdir(path)
        files = parquet_files(origin) if folder else [origin]
    if not files:
        raise CaseListError(f"{origin}: no {' or '.join(PARQUET_SUFFIXES)} file in it")
    return files


def _rows(uri: str) -> Iterator[dict[str, Any]]:
    """Rows with every column, URIs such as can be opened."""
    fs, path = filesystem(uri)
    with reading(uri), fs.open(path, "rb") as stream, pq.ParquetFile(stream) as file:
        present = _require_columns(file.schema_arrow, uri)
        first = 1
        for batch in file.iter_batches(_ROWS, columns=present, use_threads=False):
            for number, row in enumerate(_cast(batch, uri).to_pylist(), first):
                yield _parsed(row, uri, number)
            first += batch.num_rows


def _require_columns(schema: pa.Schema, uri: str) -> list[str]:
    """Names of the columns that are read, among those there are."""
    for name in _NEEDED:
        if name not in schema.names:
            near = next((hint for other in schema.names if (hint := did_you_mean(other, [name]))), "")
            raise CaseListError(f"{uri}: no column '{name}' among {', '.join(schema.names) or 'none'}{near}")
    return [name for name in (*_TEXTS, "centroid_mm") if name in schema.names]


def _cast(batch: pa.RecordBatch, uri: str) -> pa.RecordBatch:
    columns = []
    for name in batch.schema.names:
        to = _POINT if name == "centroid_mm" else pa.string()
        try:
            columns.append(batch.column(name).cast(to))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            kind = batch.schema.field(name).type
            raise CaseListError(f"{uri}: column '{name}' is {kind}, should be {to}") from None
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _parsed(row: Mapping[str, Any], uri: str, number: int) -> dict[str, Any]:
    parsed: dict[str, Any] = {name: row.get(name) or "" for name in _TEXTS}
    for name in _NEEDED:
        if not parsed[name]:
            raise CaseListError(f"{uri}, row {number}: '{name}' is empty")
    for name in _TEXTS:
        if name.endswith("_uri") and parsed[name]:
            parsed[name] = normal(resolve(parsed[name], folder_of(uri)))
    return parsed | {"centroid_mm": _point(row.get("centroid_mm"), f"{uri}, row {number}")}


def _point(values: Sequence[float | None] | None, where: str) -> Point | None:
    if not values:
        return None
    numbers = [value for value in values if value is not None]
    if len(numbers) != 3 or len(values) != 3:
        raise CaseListError(f"{where}: 'centroid_mm' should be three numbers, world RAS in mm")
    x, y, z = numbers
    return x, y, z


def _ids(origin: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Given ids, checked; ids made of the images' paths where none is given."""
    unnamed = [row["image_uri"] for row in rows if not row["case_id"]]
    made = dict(zip(unnamed, case_ids_of(unnamed), strict=True)) if unnamed else {}
    ids = [row["case_id"] or made[row["image_uri"]] for row in rows]
    check_case_ids(pa.array(ids, pa.string()), origin=origin, first_row=0)
    return ids
