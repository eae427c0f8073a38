"""Samples as Arrow rows: what crosses a process boundary, and the schema of each boundary.

Arrays travel as crops: organ ids compressed, HU as int16, soft masks as whole 254ths (so 0.5, the boundary, is
exact). A stage keeps to the same quantisation whether its neighbour runs in its own process or not, so the layout of a
run never shows in its output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from isal import isal_zlib
from numpy.typing import NDArray

from engine.core.geometry import Box, Grid
from engine.core.report import Report
from engine.core.sample import Crop, Lesion, Sample, Source, Status

MASK_STEPS = 254
"""Levels of a soft mask: even, so that the 0.5 boundary is one of them."""

LISTED = pa.schema(
    [
        ("sample_id", pa.string()),
        ("case_id", pa.string()),
        ("variant", pa.int32()),
        ("ordinal", pa.int64()),
        ("ct_uri", pa.string()),
        ("organs_uri", pa.string()),
        ("wanted", pa.string()),
        ("attempt", pa.int32()),
    ]
)
"""{} -> {sample_id .. attempt}: what the planner emits."""

_CROP = pa.struct([("box", pa.list_(pa.int32())), ("data", pa.large_binary())])
_LESION_BASE = [
    ("index", pa.int32()),
    ("report", pa.string()),
    ("seed", pa.int64()),
    ("organ_id", pa.int32()),
    ("box", pa.list_(pa.int32())),
    ("backends", pa.map_(pa.string(), pa.string())),
]
_SOURCE = pa.struct(
    [
        ("shape", pa.list_(pa.int32())),
        ("affine", pa.list_(pa.float64())),
        ("sha256", pa.string()),
        ("organs_sha256", pa.string()),
    ]
)


def _boundary(*crops: str) -> pa.Schema:
    lesion = pa.struct([*_LESION_BASE, *((name, _CROP) for name in crops)])
    return pa.schema(
        [
            *LISTED,
            ("status", pa.string()),
            ("stage", pa.string()),
            ("reason", pa.string()),
            ("source", _SOURCE),
            ("lesions", pa.list_(lesion)),
            ("seconds", pa.map_(pa.string(), pa.float64())),
            ("devices", pa.map_(pa.string(), pa.string())),
        ]
    )


PLACED = _boundary("organs", "ct")
"""LISTED -> + {status, source, lesions with box, organ crop and CT crop}."""
MASKED = _boundary("organs", "ct", "mask")
"""PLACED -> + {lesions.mask}."""
PAINTED = _boundary("mask", "delta")
"""MASKED -> + {lesions.delta} - {lesions.organs, lesions.ct}."""


def quantised(soft: NDArray[np.floating]) -> NDArray[np.float32]:
    """A soft mask in [0, 1], rounded to the levels that travel."""
    return np.asarray(np.rint(np.clip(soft, 0, 1) * np.float32(MASK_STEPS)) / np.float32(MASK_STEPS), np.float32)


def _crop_out(name: str, crop: Crop | None) -> dict[str, Any] | None:
    if crop is None:
        return None
    match name:
        case "organs":
            data = isal_zlib.compress(np.ascontiguousarray(crop.values, np.uint8), 1)
        case "mask":
            data = isal_zlib.compress(np.rint(crop.values * MASK_STEPS).astype(np.uint8), 1)
        case _:
            data = np.ascontiguousarray(crop.values, np.int16).tobytes()
    return {"box": crop.box.flat, "data": data}


def _crop_in(name: str, row: Mapping[str, Any] | None) -> Crop | None:
    if row is None:
        return None
    box = Box.from_flat(row["box"])
    match name:
        case "organs":
            values: NDArray[Any] = np.frombuffer(isal_zlib.decompress(row["data"]), np.uint8)
        case "mask":
            steps = np.frombuffer(isal_zlib.decompress(row["data"]), np.uint8)
            values = steps.astype(np.float32) / np.float32(MASK_STEPS)
        case _:
            values = np.frombuffer(row["data"], np.int16)
    return Crop(box, values.reshape(box.shape))


def to_table(samples: Sequence[Sample], schema: pa.Schema) -> pa.Table:
    """Samples -> rows of a boundary schema. Crops that the schema does not name are left behind."""
    crops = [f.name for f in schema.field("lesions").type.value_type if f.type == _CROP]
    return pa.Table.from_pylist([_sample_out(s, crops) for s in samples], schema=schema)


def _sample_out(sample: Sample, crops: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(sample, name) for name in LISTED.names}
    row |= {"status": sample.status.value, "stage": sample.stage, "reason": sample.reason}
    row["seconds"], row["devices"] = list(sample.seconds.items()), list(sample.devices.items())
    row["source"] = None
    if sample.source is not None:
        grid = sample.source.grid
        row["source"] = {
            "shape": grid.shape,
            "affine": grid.affine.ravel().tolist(),
            "sha256": sample.source.sha256,
            "organs_sha256": sample.source.organs_sha256,
        }
    kept = sample.lesions if sample.pending else ()
    row["lesions"] = [
        {
            "index": lesion.index,
            "report": lesion.report.dumps(),
            "seed": lesion.seed,
            "organ_id": lesion.organ_id,
            "box": lesion.box.flat if lesion.box else None,
            "backends": list(lesion.backends.items()),
            **{name: _crop_out(name, getattr(lesion, name)) for name in crops},
        }
        for lesion in kept
    ]
    return row


def from_table(table: pa.Table) -> list[Sample]:
    """Rows of any boundary, `LISTED` included -> samples."""
    return [_sample_in(row) for row in table.to_pylist()]


def _sample_in(row: Mapping[str, Any]) -> Sample:
    listed = {name: row[name] for name in LISTED.names}
    if "status" not in row:
        return Sample(**listed)
    source = None
    if row["source"] is not None:
        affine = np.asarray(row["source"]["affine"], float).reshape(4, 4)
        grid = Grid(tuple(row["source"]["shape"]), affine)
        source = Source(grid, row["source"]["sha256"], row["source"]["organs_sha256"])
    lesions = tuple(
        Lesion(
            index=item["index"],
            report=Report.loads(item["report"]),
            seed=item["seed"],
            organ_id=item["organ_id"],
            box=Box.from_flat(item["box"]) if item["box"] else None,
            backends=dict(item["backends"]),
            organs=_crop_in("organs", item.get("organs")),
            ct=_crop_in("ct", item.get("ct")),
            mask=_crop_in("mask", item.get("mask")),
            delta=_crop_in("delta", item.get("delta")),
        )
        for item in row["lesions"]
    )
    return Sample(
        **listed,
        status=Status(row["status"]),
        stage=row["stage"],
        reason=row["reason"],
        source=source,
        lesions=lesions,
        seconds=dict(row["seconds"]),
        devices=dict(row["devices"]),
    )
