"""What the reader of any format hands over, and the limits that all formats share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.core.errors import VolumeError
from engine.core.geometry import Grid, Shape3
from engine.settings import Input

DEFAULT_RULES = Input()


@dataclass(frozen=True)
class Decoded:
    """One volume as its file has it.

    `raw`        on-disk values (i, j, k), dtype and byte order as on disk
    `grid`       where they lie; may still be sheared
    `slope`, `intercept`   HU = raw * slope + intercept
    `header`     NIfTI header for the output, up to the voxels, without free text
    `sha256`     of the source as stored
    `placed`     False where the file says nothing about its place in the world
    """

    raw: NDArray[np.generic]
    grid: Grid
    slope: float
    intercept: float
    header: bytes
    sha256: str
    placed: bool = True

    def __post_init__(self) -> None:
        self.raw.setflags(write=False)


def spatial_shape(dims: Sequence[int]) -> Shape3:
    """The three spatial sizes of an array of `dims`; frames beyond them must be one. Raises `VolumeError`."""
    text = "x".join(str(int(d)) for d in dims)
    if any(d < 1 for d in dims):
        raise VolumeError(f"holds no voxels: its shape is {text}")
    if len(dims) < 3 or 1 in dims[:3]:
        raise VolumeError(f"is 2-D ({text}); a volume needs at least two slices")
    frames = math.prod(int(d) for d in dims[3:])
    if frames != 1:
        raise VolumeError(f"is {len(dims)}-D with {frames} frames ({text}); give each frame as a volume of its own")
    i, j, k = (int(d) for d in dims[:3])
    return i, j, k


def require_room(shape: Sequence[int], dtype: DTypeLike, rules: Input) -> None:
    """Raises `VolumeError` where the decoded volume would exceed `input.max_volume_gb`. To be asked before decoding."""
    size_gb = math.prod(int(n) for n in shape) * np.dtype(dtype).itemsize / 1e9
    if size_gb > rules.max_volume_gb:
        text = "x".join(str(int(n)) for n in shape)
        raise VolumeError(
            f"is too large: {text} voxels of {np.dtype(dtype).name} are {size_gb:.3g} GB, "
            f"the limit input.max_volume_gb is {rules.max_volume_gb:g}"
        )
