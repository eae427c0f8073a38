"""Finished runs of one small body, put together without running anything: files by nibabel, rows by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow as pa
import pytest

from engine.core.geometry import Box
from engine.core.schema import MANIFEST_SCHEMA
from engine.io import patch
from engine.io.layers import Layered, Overlay
from engine.io.ledger import Ledger
from engine.io.storage import open_output
from engine.run import Run
from engine.settings import parse_settings
from made_cases import LIVER, body, save

SPACING_MM, SHIFT_HU = (2.0, 2.0, 3.0), -60
LESION = (slice(18, 26), slice(30, 38), slice(26, 32))
"""In the liver; 16 x 16 x 18 mm, and off centre on every axis."""
REPORT: dict[str, Any] = {
    "organ": "liver",
    "lesion_type": "cyst",
    "enhancement_status": "enhanced CT",
    "shape": ["round-like"],
    "density": "hypoattenuating fluid-like lesion",
    "density_variations": "homogeneous",
    "surface_characteristics": "well-defined margin",
    "adjacent_organs": "no close relationship with surrounding organs",
    "specific_features": [],
    "cavity": "within the parenchymal organ",
    "size_mm": [18, 16, 16],
    "contrast_hu": -60,
}


@dataclass(frozen=True)
class FinishedRun:
    """A run and its ledger; `before`, `after` and `label` are the body's arrays in RAS order on `affine`."""

    run: Run
    ledger: Ledger
    before: np.ndarray
    after: np.ndarray
    label: np.ndarray
    affine: np.ndarray


@pytest.fixture
def finished_run(tmp_path: Path) -> Callable[..., FinishedRun]:
    """Makes a run of `samples` samples whose files lie in the given axis order and form."""

    def make(
        axes: str = "RAS", *, form: str = "volume", samples: int = 1, preview: int = 12, where: str = "", **report: Any
    ) -> FinishedRun:
        folder = tmp_path / f"{axes}-{form}-{samples}-{len(report)}"
        folder.mkdir(exist_ok=True)
        hu, organs = (np.ascontiguousarray(a[::-1]) for a in body(3))  # the liver on the patient's right
        hu = np.rint(hu).astype(np.int16)
        affine = np.diag([*SPACING_MM, 1.0])
        affine[:3, 3] = -70, -60, 400
        lesion = (slice(72 - LESION[0].stop, 72 - LESION[0].start), *LESION[1:])
        after, label = hu.copy(), np.zeros_like(organs)
        after[lesion] += SHIFT_HU
        label[organs == LIVER], label[lesion] = 1, 2
        stored = {"ct": hu, "organs": organs, "image": after, "label": label}
        ready = {name: _ordered(values, affine, axes) for name, values in stored.items()}
        for name in ("ct", "organs"):
            save(folder / f"{name}.nii.gz", *ready[name])

        settings = parse_settings(
            {
                "output": where or str(folder / "run"),
                "cases": {"source": "recorded"},
                "lesions": {"mix": [{"organ": "liver"}]},
                "write": {"form": form, "preview": preview},
            }
        )
        output = open_output(settings.output)
        run, ledger = Run(settings, str(folder), output, code_version="test"), Ledger(output)
        inside = np.argwhere(ready["label"][0] == 2)
        box = [*inside.min(axis=0), *(inside.max(axis=0) + 1)]
        rows = []
        for ordinal in range(samples):
            names = _put(run, folder, ordinal, ready, box)
            rows.append(_row(ordinal, names, box, inside, ready["label"][1], REPORT | report))
        ledger.append(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA))
        return FinishedRun(run, ledger, hu, after, label, affine)

    return make


def _ordered(values: np.ndarray, affine: np.ndarray, axes: str) -> tuple[np.ndarray, np.ndarray]:
    image = nib.Nifti1Image(values, affine)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes))
    turned = image.as_reoriented(turn)
    return np.asarray(turned.dataobj), turned.affine


def _put(run: Run, folder: Path, ordinal: int, ready: dict[str, tuple[np.ndarray, np.ndarray]], box: Any) -> dict:
    stem = f"shard-00000/case-v{ordinal:03d}"
    dataset = run.settings.write.dataset_folder
    if run.settings.write.form == "patch":
        place = Box.from_flat(box)
        layers = [
            Layered(ready[name][0], (Overlay(place, ready[name][0][place.slices]),)) for name in ("image", "label")
        ]
        run.output.put(f"{dataset}/{stem}.parquet", patch.encode(stem, [place], *layers))
        return {"image_uri": f"{stem}.parquet", "label_uri": ""}
    names = {"image": f"{stem}_0000.nii.gz", "label": f"{stem}.nii.gz"}
    for kind, name in names.items():
        save(folder / f"{kind}.nii.gz", *ready[kind])
        run.output.put(f"{dataset}/{name}", (folder / f"{kind}.nii.gz").read_bytes())
    return {f"{kind}_uri": name for kind, name in names.items()}


def _row(ordinal: int, names: dict, box: Any, inside: np.ndarray, affine: np.ndarray, report: dict) -> dict[str, Any]:
    centroid = affine[:3, :3] @ inside.mean(axis=0) + affine[:3, 3]
    lesion = {
        "index": 0,
        "organ": report["organ"],
        "organ_id": LIVER,
        "lesion_type": report["lesion_type"],
        "box": box,
        "centroid_mm": centroid.tolist(),
        "volume_mm3": float(len(inside) * np.prod(SPACING_MM)),
        "mean_hu": 0.0,
        "surround_hu": 60.0,
        "shift_hu": float(SHIFT_HU),
        "report": json.dumps(report),
        "mask_backend": "procedural",
        "paint_backend": "procedural",
    }
    return names | {
        "sample_id": f"case-v{ordinal:03d}",
        "case_id": "case",
        "variant": ordinal,
        "ordinal": ordinal,
        "status": "done",
        "source_uri": "ct.nii.gz",
        "organs_uri": "organs.nii.gz",
        "lesions": [lesion],
    }
