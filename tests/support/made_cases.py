"""Small CT-like volumes with organ maps, good and bad, written with nibabel and pydicom alone."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

LIVER, SPLEEN, KIDNEY_LEFT = 5, 1, 3
SHAPE = (72, 64, 48)
SPACING = (2.0, 2.0, 3.0)


@dataclass
class MadeCases:
    """A growing case list in a folder of its own."""

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def list_file(self) -> Path:
        path = self.folder / "cases.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in self.rows))
        return path

    def add(self, case_id: str, **row: Any) -> Path:
        """A row, and the folder for its files; `ct` and `organs` default to the usual names."""
        folder = self.folder / case_id
        folder.mkdir(parents=True, exist_ok=True)
        usual = {"case_id": case_id, "ct": f"{case_id}/ct.nii.gz", "organs": f"{case_id}/organs.nii.gz"}
        self.rows.append(usual | row)
        return folder

    def good(
        self, case_id: str, *, seed: int = 0, affine: np.ndarray | None = None, dtype: Any = np.int16, **row: Any
    ) -> Path:
        """A body with a liver, a spleen and a left kidney."""
        folder = self.add(case_id, **row)
        hu, organs = body(seed)
        affine = np.diag([-SPACING[0], SPACING[1], SPACING[2], 1.0]) if affine is None else affine
        save(folder / "ct.nii.gz", hu.astype(dtype), affine)
        save(folder / "organs.nii.gz", organs, affine)
        return folder


def body(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """(HU float64, organ ids uint8), both (i, j, k); ellipsoids in fat and muscle with a little noise."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    hu = np.full(shape, -1000.0)
    hu[x**2 / 0.9 + y**2 / 0.8 < 1] = 30
    organs = np.zeros(shape, np.uint8)
    for organ, centre, radii, value in (
        (LIVER, (-0.4, 0.1, 0.2), (0.42, 0.5, 0.6), 60),
        (SPLEEN, (0.5, -0.2, 0.3), (0.28, 0.3, 0.45), 50),
        (KIDNEY_LEFT, (0.4, -0.3, -0.5), (0.25, 0.28, 0.35), 35),
    ):
        inside = sum(((a - c) / r) ** 2 for a, c, r in zip((x, y, z), centre, radii, strict=True)) < 1
        hu[inside], organs[inside] = value, organ
    return hu + rng.normal(0, 8, shape), organs


def save(path: Path, data: np.ndarray, affine: np.ndarray, *, sform: int = 1, qform: int = 1) -> nib.Nifti1Image:
    """A NIfTI with both forms coded (qform only where the affine allows it)."""
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, sform)
    image.set_qform(affine if qform else None, qform)
    image.header["descrip"] = b"DOE^JANE 1950"
    nib.save(image, path)
    return image


def oblique(degrees: float, spacing: tuple[float, float, float] = SPACING) -> np.ndarray:
    """Tilted about the left-right axis, with a second smaller turn about the long axis."""
    a, b = np.deg2rad(degrees), np.deg2rad(degrees / 3)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-spacing[0], spacing[1], spacing[2]])
    affine[:3, 3] = (60, -50, -300)
    return affine


def sheared(degrees: float, spacing: tuple[float, float, float] = SPACING) -> np.ndarray:
    """Gantry tilt: the slices step sideways as they go up."""
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[1, 2] = spacing[2] * np.tan(np.deg2rad(degrees))
    return affine


def spoil(path: Path, change: Callable[[bytes], bytes]) -> None:
    """A file's stored bytes changed."""
    path.write_bytes(change(path.read_bytes()))


def revalue(path: Path, change: Callable[[np.ndarray], np.ndarray], *, affine: np.ndarray | None = None) -> None:
    """A NIfTI's values changed (type and shape may change with them), or its place."""
    image = nib.load(path)
    save(path, change(np.asarray(image.dataobj)), image.affine if affine is None else affine)


def edit_header(path: Path, **fields: Any) -> None:
    """Fields of a .nii.gz header overwritten, sensible or not."""

    def edited(stored: bytes) -> bytes:
        data = gzip.decompress(stored)
        header = nib.Nifti1Header(data[:348], check=False)
        for name, value in fields.items():
            header[name] = value
        return gzip.compress(header.binaryblock + data[348:], 1)

    spoil(path, edited)


def dicom_series(folder: Path, heights_mm: Sequence[float], size: int = 32) -> Path:
    """Axial slices of noisy soft tissue, one at each height, 1 mm pixels."""
    folder.mkdir(parents=True)
    rng, series = np.random.default_rng(0), generate_uid()
    for number, height_mm in enumerate(heights_mm):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.SeriesInstanceUID, data.Modality = series, "CT"
        data.Rows = data.Columns = size
        data.PixelSpacing, data.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [0, 0, height_mm]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.PixelData = rng.normal(40, 10, (size, size)).astype("<i2").tobytes()
        data.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
    return folder
