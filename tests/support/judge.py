"""Judges a finished run from its files alone. Shares nothing with the engine: nibabel, scipy, numpy, pyarrow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
from scipy import ndimage


@dataclass(frozen=True)
class Verdict:
    """What was found wrong with one sample, and how much of it was right."""

    sample_id: str
    far_voxels_changed: int
    lesion_voxels: int
    lesion_voxels_changed: int
    wrong_signs: int
    header_differences: tuple[str, ...]
    centroid_error_vox: float

    @property
    def exact(self) -> bool:
        return (
            self.far_voxels_changed == 0
            and self.lesion_voxels_changed > 0
            and self.wrong_signs == 0
            and not self.header_differences
            and self.centroid_error_vox <= 0.5
        )


def manifest(run: Path) -> list[dict]:
    """Every row of a complete run, in ordinal order."""
    files = sorted((run / "manifest").glob("shard-*.parquet"))
    return [row for f in files for row in pq.read_table(f).to_pylist()]


def dataset(run: Path) -> Path:
    (folder,) = (run / "nnUNet_raw").iterdir()
    return folder


def judge_sample(row: dict, run: Path, sources: Path, margin_mm: float) -> Verdict:
    """One done row of `write.form: volume` against its source file."""
    source = nib.load(sources / row["source_uri"])
    image = nib.load(dataset(run) / row["image_uri"])
    label = nib.load(dataset(run) / row["label_uri"])
    before, after = source.dataobj.get_unscaled(), image.dataobj.get_unscaled()
    lesion = np.asarray(label.dataobj) == 2
    spacing = np.linalg.norm(source.affine[:3, :3], axis=0)
    far = ndimage.distance_transform_edt(~lesion, sampling=spacing) > margin_mm + 1e-4
    changed = before != after
    slope = source.header["scl_slope"]
    scale = float(slope) if np.isfinite(slope) and slope else 1.0

    wrong, worst = 0, 0.0
    for item in row["lesions"]:
        i0, j0, k0, i1, j1, k1 = item["box"]
        box = np.zeros_like(lesion)
        box[i0:i1, j0:j1, k0:k1] = True
        mine = lesion & box
        shift = (after[mine].astype(float) - before[mine].astype(float)).mean() * scale
        asked = json.loads(item["report"])["contrast_hu"]
        wrong += abs(asked) >= 1 and np.sign(shift) != np.sign(asked)
        centre = np.argwhere(mine).mean(axis=0)
        told = np.linalg.inv(source.affine) @ [*item["centroid_mm"], 1]
        worst = max(worst, float(np.abs(centre - told[:3]).max()))
    return Verdict(
        row["sample_id"],
        int((changed & far).sum()),
        int(lesion.sum()),
        int((changed & lesion).sum()),
        int(wrong),
        tuple(header_differences(source, image) + header_differences(source, label, voxels=False)),
        worst,
    )


def header_differences(a: nib.Nifti1Image, b: nib.Nifti1Image, *, voxels: bool = True) -> list[str]:
    """Names of geometry fields (and, for `voxels`, of storage fields) that are not equal."""
    names = ["qform_code", "sform_code", "pixdim", "quatern_b", "quatern_c", "quatern_d"]
    names += ["qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "dim", "xyzt_units"]
    if voxels:
        names += ["datatype", "bitpix", "scl_slope", "scl_inter"]
    out = [n for n in names if not np.array_equal(a.header[n], b.header[n], equal_nan=a.header[n].dtype.kind == "f")]
    if not np.array_equal(a.affine, b.affine):
        out.append("affine")
    if a.shape != b.shape:
        out.append("shape")
    if voxels and a.get_data_dtype() != b.get_data_dtype():
        out.append("dtype")
    return out


def free_text(image: nib.Nifti1Image) -> list[str]:
    """Header fields that could carry text of the source."""
    names = ("descrip", "aux_file", "intent_name", "db_name")
    found = [n for n in names if n in image.header and bytes(image.header[n]).strip(b"\0 ")]
    return found + (["extensions"] if len(image.header.extensions) else [])
