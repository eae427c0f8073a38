"""NIfTI volumes in and out.

In: one pass over the stored bytes into one buffer of the voxels' size. Out: equal voxels give equal bytes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.errors import VolumeError
from engine.core.geometry import Shape3
from engine.io.decoded import Decoded, require_room
from engine.io.gzip_out import GzipOut
from engine.io.layers import Layered
from engine.io.nifti_header import (
    HEAD_BYTES,
    crop_header,
    dtype_of,
    grid_of,
    is_placed,
    label_header,
    output_header,
    parse_header,
    scaling_of,
    shape_of,
)
from engine.io.streams import SourceFile, opened
from engine.settings import Input

__all__ = ["crop_header", "encode_label", "encode_nifti", "read_nifti"]


def read_nifti(uri: str, rules: Input) -> Decoded:
    """.nii or .nii.gz of version 1 or 2, either byte order.

    What the header rules out is refused before the voxels are read. Raises `VolumeError`.
    """
    with opened(uri) as file:
        head = file.read(HEAD_BYTES)
        header = parse_header(head)
        shape, dtype = shape_of(header), dtype_of(header)
        slope, intercept = scaling_of(header)
        grid = grid_of(header, rules.forms)
        require_room(shape, dtype, rules)
        raw = _voxels(file, head, int(header["vox_offset"]), shape, dtype)
        sha256 = file.finish()
    return Decoded(raw, grid, slope, intercept, output_header(header), sha256, is_placed(header))


def _voxels(file: SourceFile, head: bytes, offset: int, shape: Shape3, dtype: np.dtype[Any]) -> NDArray[np.generic]:
    """(i, j, k) in Fortran order, as the file has them."""
    early = head[offset:]
    file.skip(offset - len(head))
    buffer = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
    start = min(len(early), buffer.size)
    buffer[:start] = np.frombuffer(early[:start], np.uint8)
    found = start + file.fill(buffer[start:])
    if found < buffer.size:
        raise VolumeError(f"the file is too short: its header promises {buffer.size} bytes of voxels, it holds {found}")
    return buffer.view(dtype).reshape(shape, order="F")


def encode_nifti(header: bytes, voxels: Layered | NDArray[Any]) -> bytes:
    """.nii.gz of voxels (i, j, k) behind a header made by this package; the same input gives the same bytes.

    Fortran-ordered voxels are compressed where they lie. Raises `ValueError` where header and array disagree.
    """
    layered = voxels if isinstance(voxels, Layered) else Layered(voxels)
    described = parse_header(header)
    stored = dtype_of(described)
    if shape_of(described) != layered.shape or not np.can_cast(layered.dtype, stored, "equiv"):
        raise ValueError(f"header of {shape_of(described)} {stored}, array of {layered.shape} {layered.dtype}")
    gzip = GzipOut()
    gzip.write(header)
    for slab in layered.slabs():
        gzip.write(np.asfortranarray(slab, stored).T.reshape(-1).view(np.uint8).data)
    return gzip.finish()


def encode_label(header: bytes, labels: Layered | NDArray[np.uint8]) -> bytes:
    """.nii.gz of uint8 `labels` (i, j, k) on the grid of a volume, given by the volume's own header."""
    return encode_nifti(label_header(header), labels)
