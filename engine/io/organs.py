"""Organ maps: class ids of any scheme and grid -> v1 ids on the CT's grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.anatomy import OrganMap, to_v1
from engine.core.errors import OrganMapError, VolumeError
from engine.core.geometry import Box, Grid, iter_blocks
from engine.core.resample import resample
from engine.io.decoded import DEFAULT_RULES, Decoded
from engine.io.streams import name_of
from engine.io.volumes import decode
from engine.settings import Input

_SLAB_VOX = 32
_LEAST_OVERLAP = 0.5


def read_organ_map(
    uri: str, like: Grid, table: NDArray[np.uint8], rules: Input = DEFAULT_RULES
) -> tuple[OrganMap, str]:
    """(uint8 v1 ids of shape `like.shape`, sha256 of the file as stored).

    `table` translates the map's ids (`anatomy.table_for`). On the CT's own grid the voxels are taken as they are, on
    another that overlaps they are resampled to the nearest. Raises `OrganMapError`, headed by the file's name.
    """
    try:
        decoded = decode(uri, rules)
    except VolumeError as error:
        raise OrganMapError(f"organ map {error}") from None
    try:
        return _on_grid(decoded, like, table), decoded.sha256
    except OrganMapError as error:
        raise OrganMapError(f"organ map {name_of(uri)}: {error}") from None


def _on_grid(decoded: Decoded, like: Grid, table: NDArray[np.uint8]) -> OrganMap:
    if not decoded.raw.any():
        raise OrganMapError("holds no organ: every voxel is 0")
    same_shape = decoded.grid.shape == like.shape
    if not same_shape and _unplaced(decoded):
        raise OrganMapError(
            f"says nothing about its place in the world, and its shape {_x(decoded.grid.shape)} "
            f"is not the CT's {_x(like.shape)}"
        )
    if decoded.grid.same_space(like) or (same_shape and not decoded.placed):
        organs = _translated(decoded, Box.whole(like.shape), table)
    else:
        _require_overlap(decoded.grid, like)
        box = like.cover(Box.whole(like.shape), decoded.grid, margin=1)
        ids = _translated(decoded, box, table)
        organs = resample(ids, decoded.grid.crop(box), like, interpolation="nearest").astype(np.uint8, copy=False)
    if not organs.any():
        raise OrganMapError("holds no known organ inside the CT; are its ids those of organs.labels?")
    return organs


def _unplaced(decoded: Decoded) -> bool:
    """No affine, or the identity that software writes where it has none."""
    return not decoded.placed or np.array_equal(np.abs(decoded.grid.affine), np.eye(4))


def _translated(decoded: Decoded, box: Box, table: NDArray[np.uint8]) -> OrganMap:
    """v1 ids in `box` of the map, by slabs: maps are often stored as int64 or float64."""
    out = np.empty(box.shape, np.uint8, order="F")
    values = decoded.raw[box.slices]
    for slab in iter_blocks(box.shape, _SLAB_VOX):
        ids: NDArray[Any] = values[slab.slices]
        if (decoded.slope, decoded.intercept) != (1.0, 0.0):
            ids = ids * np.float64(decoded.slope) + decoded.intercept
        if ids.dtype.kind == "f" and not np.isfinite(ids).all():
            raise OrganMapError("holds NaN or infinity; it should hold class ids")
        out[slab.slices] = to_v1(ids, table)
    return out


def _require_overlap(grid: Grid, like: Grid) -> None:
    """Raises `OrganMapError` where less than half of the smaller of the two extents is shared."""
    edges_vox = like.to_index(_edges_mm(grid))
    low = np.maximum(edges_vox.min(axis=0), -0.5)
    high = np.minimum(edges_vox.max(axis=0), np.asarray(like.shape) - 0.5)
    shared_mm3 = float(np.prod(np.maximum(high - low, 0))) * like.voxel_mm3
    smaller_mm3 = min(Box.whole(g.shape).voxels * g.voxel_mm3 for g in (grid, like))
    if shared_mm3 >= _LEAST_OVERLAP * smaller_mm3:
        return
    theirs, ours = (g.to_world(Box.whole(g.shape).centre).round().astype(int).tolist() for g in (grid, like))
    raise OrganMapError(
        f"lies in another space: its centre is at {theirs} mm, the CT's at {ours} mm, "
        f"and they share {shared_mm3 / smaller_mm3:.0%} of the smaller one"
    )


def _edges_mm(grid: Grid) -> NDArray[np.float64]:
    """World positions (8, 3) of the outer corners of the corner voxels."""
    corners = Box.whole(grid.shape).corners()
    return grid.to_world(corners + np.where(corners > 0, 0.5, -0.5))


def _x(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)
