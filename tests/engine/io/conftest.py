"""Odd volumes, made by nibabel, SimpleITK and pydicom: code that shares nothing with the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Volumes:
    """Writes volumes into a folder of the test."""

    folder: Path

    def ct(self, shape: Sequence[int] = (12, 11, 10), seed: int = 0) -> np.ndarray[Any, Any]:
        """int16 HU: air, fat and soft tissue with noise."""
        rng = np.random.default_rng(seed)
        tissue = rng.choice([-1000, -100, 40, 60], size=shape, p=[0.3, 0.2, 0.3, 0.2])
        return (tissue + rng.normal(0, 8, shape)).astype(np.int16)

    def affine(self, seed: int = 0, *, shear: float = 0.0) -> np.ndarray[Any, Any]:
        """Oblique, anisotropic, of any handedness; `shear` leans axis 2 towards axis 1."""
        rng = np.random.default_rng(seed)
        axes = Rotation.random(random_state=rng).as_matrix() * rng.choice([-1, 1], 3)
        axes[:, 2] += shear * axes[:, 1]
        affine = np.eye(4)
        affine[:3, :3] = axes / np.linalg.norm(axes, axis=0) * rng.uniform(0.4, 5, 3)
        affine[:3, 3] = rng.uniform(-300, 300, 3)
        return affine

    def nifti(
        self,
        values: np.ndarray[Any, Any] | None = None,
        affine: np.ndarray[Any, Any] | None = None,
        name: str = "ct.nii.gz",
        *,
        sform: int = 1,
        qform: int = 0,
        q_affine: np.ndarray[Any, Any] | None = None,
        order: str = "<",
        version: int = 1,
        edit: Callable[[Any], None] | None = None,
    ) -> Path:
        values = self.ct() if values is None else values
        affine = np.diag([0.8, 0.9, 2.0, 1.0]) if affine is None else affine
        kind, header = {
            1: (nib.Nifti1Image, nib.Nifti1Header(endianness=order)),
            2: (nib.Nifti2Image, nib.Nifti2Header(endianness=order)),
        }[version]
        header.set_data_dtype(values.dtype.newbyteorder(order))
        header.set_data_shape(values.shape)
        header.set_qform(affine if q_affine is None else q_affine, qform)
        header.set_sform(affine, sform)
        image = kind(values, None, header)
        if edit is not None:
            edit(image.header)
        nib.save(image, self.folder / name)
        return self.folder / name

    def dicom(
        self, hu: np.ndarray[Any, Any], affine: np.ndarray[Any, Any], *, slope: float = 1, intercept: float = -1024
    ) -> Path:
        """A series of `hu` (i, j, k) at a RAS `affine`, in a random order of names; the patient has a name."""
        folder = self.folder / "series"
        folder.mkdir()
        names = np.random.default_rng(1).permutation(hu.shape[2])
        lps = np.diag([-1, -1, 1, 1]) @ affine
        series = generate_uid()
        for k in range(hu.shape[2]):
            data = pydicom.Dataset()
            data.file_meta = pydicom.dataset.FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
            data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
            data.SeriesInstanceUID, data.Modality, data.PatientName = series, "CT", "Doe^Jane"
            data.Columns, data.Rows = hu.shape[:2]
            spacing = np.linalg.norm(lps[:3, :3], axis=0)
            cosines = lps[:3, :2] / spacing[:2]
            data.PixelSpacing = [f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"]
            data.ImageOrientationPatient = [f"{c:.10f}" for c in (*cosines[:, 0], *cosines[:, 1])]
            data.ImagePositionPatient = [f"{c:.6f}" for c in lps[:3] @ [0, 0, k, 1]]
            data.RescaleSlope, data.RescaleIntercept = str(slope), str(intercept)
            data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
            data.BitsAllocated = data.BitsStored = 16
            data.HighBit, data.PixelRepresentation = 15, 1
            data.PixelData = np.rint((hu[:, :, k].T - intercept) / slope).astype("<i2").tobytes()
            data.save_as(folder / f"{names[k]:04d}.dcm", enforce_file_format=True)
        return folder


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return Volumes(tmp_path)
