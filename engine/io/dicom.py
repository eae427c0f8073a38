"""A folder of DICOM slices as one volume.

Slices are sorted along their normal and must be evenly spaced. A table that moved at an angle to the normal (gantry
tilt) gives a sheared grid. Nothing but geometry and pixels is taken over, so no patient's data reach an output.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import CTImageStorage

from engine.core.errors import VolumeError
from engine.core.geometry import Affine, Grid
from engine.io.decoded import Decoded, require_room, spatial_shape
from engine.io.nifti_header import new_header
from engine.io.streams import filesystem_of, reported
from engine.settings import Input

_SLICE_NAME = re.compile(r"[^.]+|[^.].*\.(?:dcm|dicom|ima|\d+)", re.IGNORECASE)
_FILES_AT_A_TIME = 32
_NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
_EVEN_SHARE = 0.05
_ROUNDING_MM = 0.06
"""Positions are often rounded to 0.1 mm."""
_STRAIGHT_MM = 0.1
"""A stack that leaves its normal by less than this over its whole length is not tilted."""

_DAMAGE = (
    EOFError, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, NotImplementedError,
    struct.error, BytesLengthException,
)  # fmt: skip
"""What pydicom raises where a file is not as it should be."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class _Slice:
    """One image of the series, all in the scanner's LPS millimetres."""

    name: str
    data: Any  # pydicom.FileDataset
    series: str
    position: Vector
    rows_and_columns: tuple[int, int]
    spacing: Vector
    """(between rows, between columns)"""
    orientation: Vector
    """(6,): direction in which the column index grows, then the row index."""
    rescaling: tuple[float, float]
    """(slope, intercept)"""

    @property
    def normal(self) -> Vector:
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def height_mm(self) -> float:
        return float(self.position @ self.normal)


def read_dicom(uri: str, rules: Input) -> Decoded:
    """The series in a folder, in HU: int16 (int32 where needed), or float32 where the rescaling is not whole.

    Raises `VolumeError` for mixed series, duplicate or missing slices, uneven gaps, and anything but single-frame CT.
    """
    slices: list[_Slice] = []
    digests: list[str] = []
    for name, stored in _files(uri):
        digests.append(hashlib.sha256(stored).hexdigest())
        one = _parse(name, stored)
        if one is not None:
            slices.append(one)
            require_room((*one.rows_and_columns, len(slices)), np.int16, rules)
    if not slices:
        raise VolumeError("holds no DICOM images")
    _require_one_series(slices)
    slices.sort(key=lambda s: s.height_mm)
    rows, columns = slices[0].rows_and_columns
    shape = spatial_shape((columns, rows, len(slices)))
    grid = Grid(shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ _lps_affine(slices))
    raw = _stacked(slices)
    sha256 = hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
    return Decoded(raw, grid, 1.0, 0.0, new_header(grid, raw.dtype), sha256)


def _files(uri: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file of the folder that may be a slice, in order of name."""
    filesystem, folder = filesystem_of(uri)
    with reported():
        found = {
            str(f["name"]).rpartition("/")[2]: f["name"]
            for f in filesystem.ls(folder, detail=True)
            if f["type"] == "file"
        }
        names = sorted(n for n in found if _SLICE_NAME.fullmatch(n) and n.upper() != "DICOMDIR")
        for start in range(0, len(names), _FILES_AT_A_TIME):
            some = names[start : start + _FILES_AT_A_TIME]
            contents = filesystem.cat([found[n] for n in some])
            for name in some:
                yield name, contents.pop(found[name])


def _parse(name: str, stored: bytes) -> _Slice | None:
    """The slice in a file, None where it is not a DICOM image."""
    try:
        data = pydicom.dcmread(io.BytesIO(stored))
        return _slice_of(name, data)
    except InvalidDicomError:
        return None
    except _DAMAGE as error:  # elements are decoded when they are first looked at
        what = str(error).partition(". ")[0]  # further sentences quote the file, which may name a patient
        raise VolumeError(f"{name} is truncated or corrupt ({what})") from None


def _slice_of(name: str, data: Any) -> _Slice | None:
    if "PixelData" not in data:
        if "Rows" in data or data.file_meta.get("MediaStorageSOPClassUID") == CTImageStorage:
            raise VolumeError(f"{name} is truncated: its pixels are missing")
        return None
    modality = str(data.get("Modality", "CT"))
    if modality != "CT":
        raise VolumeError(f"{name} is of modality {modality}; CT is needed")
    if int(data.get("NumberOfFrames") or 1) != 1:
        raise VolumeError(f"{name} holds {data.NumberOfFrames} frames; series of one frame a file are read")
    missing = [key for key in _NEEDED if data.get(key) is None]
    if missing:
        raise VolumeError(f"{name} has no {missing[0]}")
    return _Slice(
        name,
        data,
        series=str(data.get("SeriesInstanceUID", "")),
        position=_numbers(data.ImagePositionPatient, 3),
        rows_and_columns=(int(data.Rows), int(data.Columns)),
        spacing=_numbers(data.PixelSpacing, 2),
        orientation=_right_angled(_numbers(data.ImageOrientationPatient, 6)),
        rescaling=(float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))),
    )


def _numbers(element: Any, count: int) -> Vector:
    numbers = np.asarray(element, float)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{element} should be {count} numbers")
    return numbers


def _right_angled(orientation: Vector) -> Vector:
    """Rounded direction cosines made exactly perpendicular and of length one."""
    row = orientation[:3] / np.linalg.norm(orientation[:3])
    column = orientation[3:] - (orientation[3:] @ row) * row
    return np.concatenate([row, column / np.linalg.norm(column)])


def _require_one_series(slices: Sequence[_Slice]) -> None:
    series: dict[str, int] = {}
    for one in slices:
        series[one.series] = series.get(one.series, 0) + 1
    if len(series) > 1:
        counts = " and ".join(str(n) for n in sorted(series.values()))
        raise VolumeError(f"holds {len(series)} series (of {counts} slices); give each a folder of its own")
    first = slices[0]
    for one in slices[1:]:
        if one.rows_and_columns != first.rows_and_columns:
            theirs, ours = ("x".join(map(str, s.rows_and_columns)) for s in (one, first))
            raise VolumeError(f"mixes slices of {ours} pixels with {one.name} of {theirs}")
        if not np.allclose(one.orientation, first.orientation, atol=1e-3):
            raise VolumeError(f"mixes orientations: {one.name} is turned against {first.name}")
        if not np.allclose(one.spacing, first.spacing, rtol=1e-3):
            raise VolumeError(
                f"mixes pixel spacings: {first.spacing[0]:g} mm and, in {one.name}, {one.spacing[0]:g} mm"
            )


def _lps_affine(slices: Sequence[_Slice]) -> Affine:
    """(column, row, slice) index -> LPS mm, of sorted slices."""
    first = slices[0]
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[:3] * first.spacing[1]
    affine[:3, 1] = first.orientation[3:] * first.spacing[0]
    affine[:3, 2] = _step(slices)
    affine[:3, 3] = first.position
    return affine


def _step(slices: Sequence[_Slice]) -> Vector:
    """From one slice to the next. Raises `VolumeError` unless every slice lies where this step puts it."""
    positions = np.stack([s.position for s in slices])
    heights = np.array([s.height_mm for s in slices])
    gaps = np.diff(heights)
    if gaps.min(initial=np.inf) < 0.01:
        at = int(gaps.argmin())
        raise VolumeError(
            f"holds the same place twice: {slices[at].name} and {slices[at + 1].name}, {heights[at]:.2f} mm"
        )
    whole = positions[-1] - positions[0]
    step = whole / (len(slices) - 1)
    tolerance = max(_EVEN_SHARE * float(np.median(gaps)), _ROUNDING_MM)
    off = np.linalg.norm(positions - positions[0] - np.arange(len(slices))[:, None] * step, axis=1)
    if off.max() > tolerance:
        at = int(gaps.argmax())
        raise VolumeError(
            f"its slice gaps are uneven: {gaps.min():.2f} to {gaps.max():.2f} mm (median {np.median(gaps):.2f}), "
            f"widest between {slices[at].name} and {slices[at + 1].name}; slices are missing or the table jumped"
        )
    along = (whole @ slices[0].normal) * slices[0].normal
    straight = np.linalg.norm(whole - along) < _STRAIGHT_MM
    return np.asarray(along / (len(slices) - 1) if straight else step)


def _stacked(slices: list[_Slice]) -> NDArray[Any]:
    """(column, row, slice) in Fortran order. Empties `slices`, so that pixels are not held twice."""
    scaling = [s.rescaling for s in slices]
    whole = all(slope.is_integer() and intercept.is_integer() for slope, intercept in scaling)
    stored: list[NDArray[Any]] = []
    for slope, intercept in scaling:
        pixels = _pixels(slices.pop(0))
        if whole:
            hu = pixels.astype(np.int32) * int(slope) + int(intercept)
            fits = np.iinfo(np.int16).min <= hu.min() and hu.max() <= np.iinfo(np.int16).max
            stored.append(hu.astype(np.int16 if fits else np.int32, copy=False))
        else:
            stored.append((pixels * slope + intercept).astype(np.float32))
    volume = np.empty((len(stored), *stored[0].shape), np.result_type(*{s.dtype for s in stored}))
    for k in range(len(stored)):
        volume[k] = stored.pop(0)
    return volume.T


def _pixels(one: _Slice) -> NDArray[Any]:
    """Stored values (row, column)."""
    try:
        pixels = np.asarray(one.data.pixel_array)
    except (*_DAMAGE, RuntimeError, ImportError) as error:
        raise VolumeError(f"{one.name}: its pixels do not decode ({error})") from None
    if pixels.shape != one.rows_and_columns:
        raise VolumeError(f"{one.name}: holds an array of shape {pixels.shape}; one number a pixel is read")
    return pixels
