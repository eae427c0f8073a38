"""Stored tables: the manifest, one row a sample, and the metrics beside it.

Columns are only ever added, and then `SCHEMA_VERSION` rises. Text that does not apply is empty, never null, so that a
column cannot be null in every row. No clock times in the manifest: equal runs have equal manifests.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 2

LESION = pa.struct(
    [
        ("index", pa.int32()),
        ("organ", pa.string()),
        ("organ_id", pa.int32()),
        ("lesion_type", pa.string()),
        ("box", pa.list_(pa.int32())),
        ("centroid_mm", pa.list_(pa.float64())),
        ("volume_mm3", pa.float64()),
        ("mean_hu", pa.float64()),
        ("surround_hu", pa.float64()),
        ("shift_hu", pa.float64()),
        ("report", pa.string()),
        ("seed", pa.int64()),
        ("mask_backend", pa.string()),
        ("paint_backend", pa.string()),
        ("report_writer", pa.string()),
    ]
)
"""`box` half-open on the native grid, i0 j0 k0 i1 j1 k1; `centroid_mm` world RAS; `report` JSON.

`report_writer` (since version 2): "template", "llm", "llm repaired", or "template for llm: " and why.
"""

MANIFEST_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("case_id", pa.string()),
        ("variant", pa.int32()),
        ("ordinal", pa.int64()),
        ("status", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("source_uri", pa.string()),
        ("source_sha256", pa.string()),
        ("organs_uri", pa.string()),
        ("organs_sha256", pa.string()),
        ("image_uri", pa.string()),
        ("image_sha256", pa.string()),
        ("image_voxels_sha256", pa.string()),
        ("label_uri", pa.string()),
        ("label_sha256", pa.string()),
        ("label_voxels_sha256", pa.string()),
        ("resampled", pa.bool_()),
        ("lesions", pa.list_(LESION)),
        ("attempts", pa.int32()),
        ("seed", pa.int64()),
        ("config_hash", pa.string()),
        ("weights", pa.string()),
        ("code_version", pa.string()),
        ("schema_version", pa.int32()),
    ]
)
"""One row a sample. `ordinal` is its place in the run and the key; image and label URIs start at the dataset folder."""

METRICS_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("ordinal", pa.int64()),
        ("attempt", pa.int32()),
        ("worker", pa.string()),
        ("seconds", pa.list_(pa.struct([("stage", pa.string()), ("seconds", pa.float64())]))),
        ("devices", pa.list_(pa.struct([("part", pa.string()), ("device", pa.string())]))),
        ("peak_rss_bytes", pa.int64()),
    ]
)
"""One row a finished sample: what it cost and where. `worker` is host:pid; `seconds` CPU time by stage.

`devices` where resident models ran: node, then the GPU on it or "cpu".
"""
