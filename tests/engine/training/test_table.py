"""Lesions in Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.core.errors import CaseListError
from engine.training.known import KnownLesion
from engine.training.lesions import known_lesions
from engine.training.settings import TrainingData

ROW = {"image_uri": "p1/ct.nii.gz", "label_uri": "p1/label.nii.gz", "organs_uri": "p1/organs.nii.gz", "report": "{}"}


def put(path: Path, *rows: dict[str, Any], schema: pa.Schema | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
    return path


def known_in(path: Path) -> tuple[KnownLesion, ...]:
    return known_lesions(TrainingData(table=str(path)))


def test_a_row_a_lesion(tmp_path):
    rows = [
        ROW | {"case_id": "x", "centroid_mm": [1.0, 2.0, 3.0], "note": "of no matter"},
        ROW | {"case_id": "x", "healthy_organs_uri": "healthy.nii.gz"},
    ]
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("case_id", *ROW, "healthy_organs_uri", "note")),
            ("centroid_mm", pa.list_(pa.float32())),
        ]
    )
    first, second = known_in(put(tmp_path / "lesions.parquet", *rows, schema=schema))
    assert (first.case_id, first.index, second.case_id, second.index) == ("x", 0, "x", 1)
    assert first.image_uri == str(tmp_path / "p1/ct.nii.gz")
    assert first.centroid_mm == (1.0, 2.0, 3.0)
    assert first.others_mm is None
    assert second.centroid_mm is None
    assert second.healthy_organs_uri == str(tmp_path / "healthy.nii.gz")
    assert first.healthy_organs_uri is None


def test_a_folder_of_files_and_ids_out_of_paths(tmp_path):
    put(tmp_path / "part-0.parquet", ROW)
    put(tmp_path / "part-1.parquet", ROW | {"image_uri": "p2/ct.nii.gz"}, ROW)
    assert [(x.case_id, x.index) for x in known_in(tmp_path)] == [("p1", 0), ("p2", 0), ("p1", 1)]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"label_uri": None}, r"lesions.parquet: no column 'label_uri' among .*"),
        ({"label_uri": ""}, r"lesions.parquet, row 2: 'label_uri' is empty"),
        ({"report": {"organ": "liver"}}, r"lesions.parquet: column 'report' is struct<.*>, should be string"),
        ({"centroid_mm": [1.0, 2.0]}, r"lesions.parquet, row 2: 'centroid_mm' should be three numbers"),
        ({"case_id": "../p1"}, r"lesions.parquet, row 2: case id '../p1'"),
    ],
)
def test_bad_rows(tmp_path, change, line):
    rows = [{"centroid_mm": [0.0, 0.0, 0.0], "case_id": "p", **ROW}, {"centroid_mm": None, "case_id": "p", **ROW}]
    if None in change.values():
        for row in rows:
            del row["label_uri"]
    elif isinstance(change.get("report"), dict):
        for row in rows:
            row |= change
    else:
        rows[1] |= change
    with pytest.raises(CaseListError, match=line):
        known_in(put(tmp_path / "lesions.parquet", *rows))


def test_a_misnamed_column_is_guessed(tmp_path):
    row = {**ROW, "imageuri": ROW["image_uri"]}
    del row["image_uri"]
    with pytest.raises(CaseListError, match=r"no column 'image_uri' among .*; did you mean"):
        known_in(put(tmp_path / "lesions.parquet", row))


def test_unreadable(tmp_path):
    with pytest.raises(CaseListError, match="no such file"):
        known_in(tmp_path / "gone.parquet")
    (tmp_path / "text.parquet").write_text("this is none")
    with pytest.raises(CaseListError, match="not a readable Parquet file"):
        known_in(tmp_path / "text.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaseListError, match=r"empty: no \.parquet"):
        known_in(tmp_path / "empty")
