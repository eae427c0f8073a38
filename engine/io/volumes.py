"""Volumes: reading one of any format, HU in and out of it, resampling.

The voxels stay as they are on disk, in one array of the on-disk type; HU exist only for the box that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.errors import VolumeError
from engine.core.geometry import Box, Grid, iter_blocks
from engine.core.intensity import AIR_HU
from engine.core.resample import resample
from engine.io.decoded import DEFAULT_RULES, Decoded, require_room
from engine.io.dicom import read_dicom
from engine.io.hounsfield import require_hu
from engine.io.nifti import read_nifti
from engine.io.nifti_header import placed_header
from engine.io.streams import filesystem_of, name_of, reported
from engine.settings import Input


def _read_itk(uri: str, rules: Input) -> Decoded:
    """NRRD and MetaImage. Imported here: SimpleITK takes 95 MB of every worker, and most runs need none of it."""
    from engine.io.itk import read_itk

    return read_itk(uri, rules)


_READERS: Mapping[str, Callable[[str, Input], Decoded]] = {
    ".nii.gz": read_nifti,
    ".nii": read_nifti,
    ".nrrd": _read_itk,
    ".nhdr": _read_itk,
    ".mha": _read_itk,
    ".mhd": _read_itk,
}
_SLAB_VOX = 16
_SEEN_VOXELS = 500_000
"""How many voxels are enough to tell HU from other values."""
_CREDIBLE_MM = (0.001, 1000.0)
"""Size of a voxel, from microscopy to a single slab."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT as it lies on disk. `grid` is never sheared.

    `raw`          on-disk values (i, j, k), read-only, on-disk dtype and byte order
    `slope`, `intercept`   HU = raw * slope + intercept
    `header`       the output's NIfTI header, up to the voxels
    `sha256`       of the source as stored (DICOM: over the sorted digests of its files)
    `resampled_from_shear`  whether the source's grid was sheared, so that `raw` is not its own voxels
    """

    raw: NDArray[np.generic]
    grid: Grid
    slope: float
    intercept: float
    header: bytes
    sha256: str
    resampled_from_shear: bool = False

    def hu(self, box: Box) -> NDArray[np.float32]:
        """HU in a box that lies inside the volume, shape `box.shape`."""
        return self.to_hu(self.raw[box.slices])

    def to_hu(self, raw: NDArray[np.generic]) -> NDArray[np.float32]:
        """On-disk values of any shape -> HU."""
        if self.slope == 1 and self.intercept == 0:
            return raw.astype(np.float32)
        # Up to 16 bits float32 is exact enough and half the memory.
        hu: NDArray[Any] = raw.astype(np.float32 if raw.dtype.itemsize <= 2 else np.float64)
        hu *= self.slope
        hu += self.intercept
        return hu.astype(np.float32, copy=False)

    def to_raw(self, hu: NDArray[np.floating]) -> NDArray[np.generic]:
        """HU of any shape -> on-disk values: integers rounded (halves to even) and clipped to the type."""
        dtype: np.dtype[Any] = self.raw.dtype
        values = (np.asarray(hu, np.float64) - self.intercept) / self.slope
        if dtype.kind == "f":
            return values.astype(dtype)
        limits = np.iinfo(dtype)
        high = float(limits.max)
        if int(high) > limits.max:  # 64 bits: the nearest float lies above the type's maximum
            high = math.nextafter(high, 0)
        return np.rint(values).clip(float(limits.min), high).astype(dtype)

    def resampled(self, target: Grid, *, fill: float = AIR_HU) -> NDArray[np.float32]:
        """HU on another grid, linearly; `fill` where the volume has no voxel. Reads no more than it needs."""
        box = target.cover(Box.whole(target.shape), self.grid, margin=1)
        if box.voxels == 0:
            return np.full(target.shape, fill, np.float32)
        return np.asarray(resample(self.hu(box), self.grid.crop(box), target, fill=fill), np.float32)


def read_volume(uri: str, rules: Input = DEFAULT_RULES) -> Volume:
    """NIfTI, NRRD, MetaImage or a DICOM series folder, local or at any fsspec URI.

    A sheared grid is resampled to the nearest orthogonal one or refused, as `rules.sheared` says. Raises `VolumeError`,
    its message headed by the file's name.
    """
    decoded = decode(uri, rules)
    volume = Volume(decoded.raw, decoded.grid, decoded.slope, decoded.intercept, decoded.header, decoded.sha256)
    if volume.grid.is_orthogonal:
        return volume
    if rules.sheared == "reject":
        raise VolumeError(
            f"{name_of(uri)}: its grid is sheared by {tilt_degrees(volume.grid):.1f} degrees (gantry tilt); "
            "input.sheared: resample accepts it"
        )
    require_room(volume.grid.orthogonalised().shape, volume.raw.dtype, rules)
    return _straightened(volume)


def decode(uri: str, rules: Input = DEFAULT_RULES) -> Decoded:
    """A volume as its file has it, sheared or not. Raises `VolumeError`, headed by the file's name."""
    with of_file(uri):
        decoded = _reader_of(uri)(uri, rules)
        _require_credible(decoded.grid)
    return decoded


@contextmanager
def of_file(uri: str) -> Iterator[None]:
    """Heads a `VolumeError` with the name of the file that it is about."""
    try:
        yield
    except VolumeError as error:
        raise VolumeError(f"{name_of(uri)}: {error}") from None


def _reader_of(uri: str) -> Callable[[str, Input], Decoded]:
    name = name_of(uri)
    for suffix, reader in _READERS.items():
        if name.lower().endswith(suffix):
            return reader
    filesystem, path = filesystem_of(uri)
    with reported():
        if filesystem.isdir(path):
            return read_dicom
        if not filesystem.exists(path):
            raise VolumeError("no such file")
    if name.lower().endswith(".dcm"):
        raise VolumeError("is a single DICOM slice; give the folder of its series")
    raise VolumeError(f"is of no format that is read: {', '.join(_READERS)} or a folder of DICOM slices")


def looks_like_ct(volume: Volume) -> None:
    """Raises `VolumeError` where the values, sampled evenly over the volume, are not HU."""
    step = math.ceil((volume.raw.size / _SEEN_VOXELS) ** (1 / 3))
    require_hu(volume.to_hu(volume.raw[::step, ::step, ::step]))


def finite_or_raise(values: NDArray[Any]) -> NDArray[Any]:
    """The same array. Raises `VolumeError` where it holds NaN or infinity."""
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise VolumeError(f"holds NaN or infinite values in the region used ({bad} of {values.size} voxels)")
    return values


def _require_credible(grid: Grid) -> None:
    """Raises `VolumeError` for voxel sizes out of a damaged header, or in metres."""
    low_mm, high_mm = _CREDIBLE_MM
    if not all(low_mm <= mm <= high_mm for mm in grid.spacing_mm):
        sizes = " x ".join(f"{mm:.3g}" for mm in grid.spacing_mm)
        raise VolumeError(f"its voxels measure {sizes} mm; {low_mm:g} to {high_mm:g} mm are read")


def tilt_degrees(grid: Grid) -> float:
    """How far the two least perpendicular voxel axes are from a right angle."""
    cosines = np.abs(grid.directions.T @ grid.directions - np.eye(3))
    return math.degrees(math.asin(min(float(cosines.max()), 1.0)))


def _straightened(volume: Volume) -> Volume:
    """On the nearest orthogonal grid, same dtype and scaling, slab by slab so that HU of the whole never exist."""
    grid = volume.grid.orthogonalised()
    raw = np.empty(grid.shape, volume.raw.dtype, order="F")
    for slab in iter_blocks(grid.shape, _SLAB_VOX):
        raw[slab.slices] = volume.to_raw(volume.resampled(grid.crop(slab)))
    raw.setflags(write=False)
    header = placed_header(volume.header, grid)
    return Volume(raw, grid, volume.slope, volume.intercept, header, volume.sha256, resampled_from_shear=True)
