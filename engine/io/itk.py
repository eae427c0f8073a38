"""NRRD and MetaImage volumes, decoded by SimpleITK."""

from __future__ import annotations

import hashlib
import math
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the package's own abbreviation
from numpy.typing import DTypeLike

from engine.core.errors import VolumeError
from engine.core.geometry import Affine, Grid
from engine.io.decoded import Decoded, require_room, spatial_shape
from engine.io.itk_stream import is_compressed, require_whole_stream
from engine.io.nifti_header import new_header
from engine.io.streams import on_this_machine, opened
from engine.settings import Input

_DTYPES: Mapping[int, DTypeLike] = {
    sitk.sitkInt8: np.int8,
    sitk.sitkUInt8: np.uint8,
    sitk.sitkInt16: np.int16,
    sitk.sitkUInt16: np.uint16,
    sitk.sitkInt32: np.int32,
    sitk.sitkUInt32: np.uint32,
    sitk.sitkInt64: np.int64,
    sitk.sitkUInt64: np.uint64,
    sitk.sitkFloat32: np.float32,
    sitk.sitkFloat64: np.float64,
}
_DATA_FILE = re.compile(r"^(?:ElementDataFile|data ?file)\s*[=:]\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_HEADER_BYTES = 1 << 16


def read_itk(uri: str, rules: Input) -> Decoded:
    """.nrrd, .nhdr, .mha or .mhd as a NIfTI on its own grid: int16, or the source's type where that is wider.

    A detached data file must lie beside its header; the digest is then over both files' digests. Raises `VolumeError`.
    """
    header = _header(uri)
    uris = [uri, *_detached(uri, header)]
    with tempfile.TemporaryDirectory() as folder:
        files = [on_this_machine(each, Path(folder)) for each in uris]
        reader = _reader(files[0][0])
        stored, shape = _require_scalars(reader)
        require_room(shape, np.promote_types(stored, np.int16), rules)
        if is_compressed(header):
            require_whole_stream(files[-1][0], math.prod(shape) * stored.itemsize)
        image = _decode(reader, files[0][0])
    voxels = sitk.GetArrayViewFromImage(image)
    raw = np.array(voxels, dtype=np.promote_types(stored, np.int16)).T
    grid = Grid(raw.shape, _ras_affine(image))
    digests = [sha256 for _, sha256 in files]
    sha256 = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    placed = not np.array_equal(np.abs(grid.affine), np.eye(4))
    return Decoded(raw, grid, 1.0, 0.0, new_header(grid, raw.dtype), sha256, placed)


def _header(uri: str) -> str:
    with opened(uri) as file:
        head = file.read(_HEADER_BYTES)
    if not head:
        raise VolumeError("the file is empty")
    text = head.decode("latin-1").replace("\r\n", "\n")
    return text.partition("\n\n")[0] if text.startswith("NRRD") else text


def _detached(uri: str, header: str) -> list[str]:
    """URI of the data file that a header names, if it does."""
    named = _DATA_FILE.search(header)
    if named is None or named[1].upper() == "LOCAL":
        return []
    name = named[1]
    if not name or re.search(r"[/\\%\s]", name) or name.upper() == "LIST":
        raise VolumeError(f"names its data file as '{name}'; one file in the same folder is read")
    return [f"{uri.rpartition('/')[0]}/{name}" if "/" in uri else name]


def _reader(path: Path) -> sitk.ImageFileReader:
    """With the file's header read, and nothing else."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if path.suffix.lower() in (".nrrd", ".nhdr") else "MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise VolumeError(f"its header does not decode{_detail(error, path)}") from None
    return reader


def _require_scalars(reader: sitk.ImageFileReader) -> tuple[np.dtype[Any], tuple[int, int, int]]:
    """(type as stored, shape) of a volume. Raises `VolumeError` for what is none."""
    shape = spatial_shape(reader.GetSize())
    stored = _DTYPES.get(reader.GetPixelID())
    if stored is None or reader.GetNumberOfComponents() != 1:
        kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
        raise VolumeError(f"its voxels are of the unsupported type '{kind}'; one number a voxel is read")
    return np.dtype(stored), shape


def _decode(reader: sitk.ImageFileReader, path: Path) -> sitk.Image:
    """The 3-D image."""
    reader.SetExtractSize([*spatial_shape(reader.GetSize()), *[0] * (reader.GetDimension() - 3)])
    try:
        image: sitk.Image = reader.Execute()
    except RuntimeError as error:
        raise VolumeError(f"its voxels do not decode: the file is truncated or corrupt{_detail(error, path)}") from None
    return image


def _detail(error: RuntimeError, path: Path) -> str:
    """` (what happened)`: of the many lines in which ITK explains itself, the last. For MetaImage that says nothing."""
    line = str(error).strip().rpartition("\n")[2].replace(str(path), path.name)
    return "" if line.startswith("Reason:") else f" ({line})"


def _ras_affine(image: sitk.Image) -> Affine:
    """SimpleITK's LPS geometry in RAS millimetres."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
