"""DICOM series: geometry and values against SimpleITK, and the series that are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.uid import generate_uid

from engine.core.errors import VolumeError
from engine.core.geometry import Box
from engine.io.nifti import encode_nifti
from engine.io.volumes import read_volume

AXIAL = np.array([[-0.7, 0, 0, 90], [0, -0.8, 0, 110], [0, 0, 2.5, -300], [0, 0, 0, 1.0]])


def sitk_series(folder: Path) -> Any:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def assert_is_what_simpleitk_sees(folder: Path) -> None:
    volume, image = read_volume(str(folder)), sitk_series(folder)
    assert volume.raw.dtype == np.int16
    assert np.array_equal(volume.raw.T, sitk.GetArrayFromImage(image))
    for corner in Box.whole(volume.raw.shape).corners():
        x, y, z = image.TransformContinuousIndexToPhysicalPoint(corner)
        assert np.allclose(volume.grid.to_world(corner), (-x, -y, z), atol=0.01)


def test_a_real_series_is_what_simpleitk_sees(shared_data: Path) -> None:
    assert_is_what_simpleitk_sees(shared_data / "dcmqi_ct3slice" / "dicom")


@pytest.mark.parametrize("degrees", [0, 16])
def test_a_series_is_what_simpleitk_sees(volumes: Any, degrees: float) -> None:
    turn = np.eye(4)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[1:3, 1:3] = [[c, -s], [s, c]]
    hu = volumes.ct((9, 8, 7))
    folder = volumes.dicom(hu, turn @ AXIAL)
    assert_is_what_simpleitk_sees(folder)
    volume = read_volume(str(folder))
    assert np.array_equal(volume.raw, hu)
    assert np.allclose(volume.grid.affine, turn @ AXIAL, atol=1e-4)
    assert volume.raw.flags.f_contiguous


def test_a_series_stored_from_the_head_down_is_sorted_along_its_normal(volumes: Any) -> None:
    hu = volumes.ct((9, 8, 7))
    down = AXIAL @ np.diag([1, 1, -1, 1])
    volume = read_volume(str(volumes.dicom(hu, down)))
    assert np.array_equal(volume.raw, hu[:, :, ::-1])
    assert np.allclose(volume.grid.to_world((0, 0, 0)), down @ [0, 0, 6, 1] @ np.eye(4)[:, :3], atol=1e-3)


def test_no_patient_reaches_the_output(volumes: Any) -> None:
    folder = volumes.dicom(volumes.ct((9, 8, 7)), AXIAL)
    assert b"Doe^Jane" in next(folder.iterdir()).read_bytes()
    volume = read_volume(str(folder))
    (volumes.folder / "ct.nii.gz").write_bytes(encode_nifti(volume.header, volume.raw))
    assert b"Doe" not in volume.header
    assert read_volume(str(volumes.folder / "ct.nii.gz")).grid.same_space(volume.grid, tolerance_mm=1e-3)


def test_a_rescaling_that_is_not_whole_is_kept_as_float(volumes: Any) -> None:
    hu = volumes.ct((9, 8, 7)).astype(float) / 4
    volume = read_volume(str(volumes.dicom(hu, AXIAL, slope=0.25, intercept=-512)))
    assert volume.raw.dtype == np.float32
    assert np.allclose(volume.raw, hu)


def test_the_digest_does_not_depend_on_file_names(volumes: Any) -> None:
    folder = volumes.dicom(volumes.ct((9, 8, 7)), AXIAL)
    before = read_volume(str(folder))
    for i, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"IM{10 - i}")
    after = read_volume(str(folder))
    assert after.sha256 == before.sha256
    assert np.array_equal(after.raw, before.raw)


def test_gantry_tilt_is_straightened(volumes: Any) -> None:
    tilted = AXIAL.copy()
    tilted[1, 2] = 2.5 * np.tan(np.radians(15))
    volume = read_volume(str(volumes.dicom(volumes.ct((9, 8, 7)), tilted)))
    assert volume.resampled_from_shear
    assert volume.grid.is_orthogonal
    assert volume.raw.dtype == np.int16


def edited(change: Callable[[Any], None]) -> Callable[[Path], None]:
    """Change one slice (the fourth from the feet) and store it again."""

    def apply(folder: Path) -> None:
        slices = {p: pydicom.dcmread(p) for p in folder.iterdir()}
        path = sorted(slices, key=lambda p: slices[p].ImagePositionPatient[2])[3]
        change(slices[path])
        slices[path].save_as(path)

    return apply


def move(data: Any) -> None:
    data.ImagePositionPatient = [*data.ImagePositionPatient[:2], data.ImagePositionPatient[2] + 1]


def other_series(data: Any) -> None:
    data.SeriesInstanceUID = generate_uid()


def smaller(data: Any) -> None:
    data.Rows, data.PixelData = 4, data.PixelData[: len(data.PixelData) // 2]


def turned(data: Any) -> None:
    data.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]


def finer(data: Any) -> None:
    data.PixelSpacing = [0.5, 0.7]


def magnetic(data: Any) -> None:
    data.Modality = "MR"


def unplaced(data: Any) -> None:
    del data.ImagePositionPatient


def shortened(data: Any) -> None:
    data.PixelData = data.PixelData[:40]


def missing(folder: Path) -> None:
    slices = {p: pydicom.dcmread(p) for p in folder.iterdir()}
    sorted(slices, key=lambda p: slices[p].ImagePositionPatient[2])[3].unlink()


def doubled(folder: Path) -> None:
    path = sorted(folder.iterdir())[0]
    (folder / "copy.dcm").write_bytes(path.read_bytes())


def alone(folder: Path) -> None:
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()


def cut(folder: Path) -> None:
    path = sorted(folder.iterdir())[0]
    path.write_bytes(path.read_bytes()[:400])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (missing, r"slice gaps are uneven: 2\.50 to 5\.00 mm \(median 2\.50\), widest between"),
        (edited(move), r"slice gaps are uneven: 1\.50 to 3\.50 mm"),
        (edited(other_series), r"holds 2 series \(of 1 and 6 slices\)"),
        (doubled, "holds the same place twice: .* and .*"),
        (edited(smaller), "mixes slices of 8x9 pixels with .* of 4x9"),
        (edited(turned), "mixes orientations"),
        (edited(finer), r"mixes pixel spacings: 0\.8 mm and, in .*, 0\.5 mm"),
        (edited(magnetic), "is of modality MR; CT is needed"),
        (edited(unplaced), "has no ImagePositionPatient"),
        (edited(shortened), "its pixels do not decode"),
        (alone, r"is 2-D \(9x8x1\)"),
        (cut, "truncated|its pixels are missing"),
    ],
)
def test_series_that_are_no_even_stack_are_refused(volumes: Any, spoil: Any, message: str) -> None:
    folder = volumes.dicom(volumes.ct((9, 8, 7)), AXIAL)
    spoil(folder)
    with pytest.raises(VolumeError, match=message) as caught:
        read_volume(str(folder))
    assert str(caught.value).startswith("series: ")


def test_positions_rounded_to_a_tenth_are_even(volumes: Any) -> None:
    fine = AXIAL @ np.diag([1, 1, 0.5, 1])  # 1.25 mm
    folder = volumes.dicom(volumes.ct((9, 8, 7)), fine)
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        data.ImagePositionPatient = [f"{v:.1f}" for v in data.ImagePositionPatient]
        data.save_as(path)
    assert read_volume(str(folder)).grid.same_space(read_volume(str(folder)).grid)
    assert np.allclose(read_volume(str(folder)).grid.spacing_mm[2], 1.25, atol=0.02)
