"""{sample, native lesions, files} -> {manifest row, metrics row}: the last thing a stage returns."""

from __future__ import annotations

import os
import resource
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from engine.core.sample import Sample
from engine.core.schema import MANIFEST_SCHEMA, METRICS_SCHEMA, SCHEMA_VERSION
from engine.core.seeds import SAMPLE_LEVEL, seed_for
from engine.run import Run
from engine.stages.check import Pasted

RESULT = pa.schema(
    [
        *MANIFEST_SCHEMA,
        ("ct_uri", pa.string()),
        ("wanted", pa.string()),
        ("attempt", pa.int32()),
        ("metrics", pa.struct(list(METRICS_SCHEMA))),
    ]
)
"""PAINTED -> {manifest columns, what a further attempt needs, metrics}."""


def result_row(
    sample: Sample, run: Run, pasted: Sequence[Pasted] = (), files: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A sample that has ended, or is to be tried again, as one row of `RESULT`."""
    source = sample.source
    row: dict[str, Any] = {
        "sample_id": sample.sample_id,
        "case_id": sample.case_id,
        "variant": sample.variant,
        "ordinal": sample.ordinal,
        "status": sample.status.value,
        "stage": sample.stage,
        "reason": sample.reason,
        "source_uri": sample.ct_uri,
        "source_sha256": source.sha256 if source else "",
        "organs_uri": sample.organs_uri,
        "organs_sha256": source.organs_sha256 if source else "",
        "lesions": [_lesion_row(p) for p in pasted],
        "attempts": sample.attempt + 1,
        "seed": seed_for(run.settings.seed, sample.sample_id, SAMPLE_LEVEL, sample.attempt, "sample"),
        "config_hash": run.config_hash,
        "weights": run.weights,
        "code_version": run.code_version,
        "schema_version": SCHEMA_VERSION,
        "ct_uri": sample.ct_uri,
        "wanted": sample.wanted,
        "attempt": sample.attempt,
        "metrics": _metrics(sample),
    }
    nothing = {name: "" for kind in ("image", "label") for name in _file_columns(kind)}
    return {"resampled": False} | row | nothing | dict(files or {})


def _file_columns(kind: str) -> tuple[str, ...]:
    return f"{kind}_uri", f"{kind}_sha256", f"{kind}_voxels_sha256"


def _lesion_row(p: Pasted) -> dict[str, Any]:
    report = p.lesion.report
    return {
        "index": p.lesion.index,
        "organ": report.organ,
        "organ_id": p.lesion.organ_id,
        "lesion_type": report.lesion_type.text,
        "box": p.native.label_box.flat,
        "centroid_mm": list(p.centroid_mm),
        "volume_mm3": p.volume_mm3,
        "mean_hu": p.mean_hu,
        "surround_hu": p.surround_hu,
        "shift_hu": p.shift_hu,
        "report": report.dumps(),
        "seed": p.lesion.seed,
        "mask_backend": p.lesion.backends.get("mask", ""),
        "paint_backend": p.lesion.backends.get("paint", ""),
        "report_writer": p.lesion.backends.get("report", ""),
    }


def _metrics(sample: Sample) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "sample_id": sample.sample_id,
        "ordinal": sample.ordinal,
        "attempt": sample.attempt,
        "worker": f"{socket.gethostname()}:{os.getpid()}",
        "seconds": list(sample.seconds.items()),
        "devices": list(sample.devices.items()),
        "peak_rss_bytes": peak if sys.platform == "darwin" else peak * 1024,  # macOS counts bytes, Linux KiB
    }
