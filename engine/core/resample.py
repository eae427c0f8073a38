"""Values of one grid read at the voxel centres of another.

Where the two grids' axes are parallel (any flip, permutation and spacing), each axis is interpolated by itself with
two taps a voxel, several times cheaper than a general affine transform; oblique pairs take scipy's. Both are linear or
nearest interpolation, clamp within half a voxel of the border and give `fill` beyond it. No BLAS is involved, so
the bits do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.geometry import Affine, Grid

Interpolation = Literal["linear", "nearest"]

_PARALLEL_TOLERANCE_VOX = 1e-3
_COORDINATE_DECIMALS = 6


def resample(
    values: NDArray[np.generic],
    source: Grid,
    target: Grid,
    *,
    interpolation: Interpolation = "linear",
    fill: float = 0.0,
) -> NDArray[Any]:
    """`values` on `source` (i j k) -> array of shape `target.shape`.

    Linear interpolation gives float32 whatever comes in; nearest keeps the dtype. Voxels of `target` whose centre is
    not in any voxel of `source` become `fill`.
    """
    if values.shape != source.shape:
        raise ValueError(f"array of shape {values.shape} on a grid of shape {source.shape}")
    index_map = target.index_map(source)
    partner = _parallel_axes(index_map, target)
    if 0 in source.shape or 0 in target.shape:
        dtype = values.dtype if interpolation == "nearest" else np.dtype(np.float32)
        return np.full(target.shape, fill, dtype)
    if partner is None:
        return _general(values, index_map, target, interpolation, fill)
    return _separable(values, index_map, partner, target, interpolation, fill)


def _parallel_axes(index_map: Affine, target: Grid) -> list[int] | None:
    """For each source axis the one target axis that moves it, or None where the grids are oblique to each other."""
    drift = np.abs(index_map[:3, :3]) * np.maximum(np.asarray(target.shape) - 1, 1)
    partner = [int(p) for p in drift.argmax(axis=1)]
    rest = drift.copy()
    rest[np.arange(3), partner] = 0
    if sorted(partner) != [0, 1, 2] or rest.sum(axis=1).max() > _PARALLEL_TOLERANCE_VOX:
        # One-voxel axes drift little and may tie: fall back to the directions themselves.
        partner = [int(p) for p in np.abs(index_map[:3, :3]).argmax(axis=1)]
        rest = drift.copy()
        rest[np.arange(3), partner] = 0
        if sorted(partner) != [0, 1, 2] or rest.sum(axis=1).max() > _PARALLEL_TOLERANCE_VOX:
            return None
    return partner


def _separable(
    values: NDArray[np.generic],
    index_map: Affine,
    partner: list[int],
    target: Grid,
    interpolation: Interpolation,
    fill: float,
) -> NDArray[np.generic]:
    inside: list[NDArray[np.bool_]] = []
    out = values
    for axis in range(3):
        n = values.shape[axis]
        steps = np.arange(target.shape[partner[axis]])
        at = np.round(index_map[axis, partner[axis]] * steps + index_map[axis, 3], _COORDINATE_DECIMALS)
        inside.append((at >= -0.5) & (at < n - 0.5))
        at = np.clip(at, 0, n - 1)
        if interpolation == "nearest":
            out = out.take(np.floor(at + 0.5).astype(np.intp), axis=axis)
            continue
        low = np.minimum(np.floor(at).astype(np.intp), max(n - 2, 0))
        weight = (at - low).astype(np.float32)
        lower = out.take(low, axis=axis).astype(np.float32, copy=False)
        if not weight.any():
            out = lower
            continue
        upper = out.take(np.minimum(low + 1, n - 1), axis=axis).astype(np.float32, copy=False)
        upper -= lower
        upper *= weight.reshape([-1 if a == axis else 1 for a in range(3)])
        upper += lower
        out = upper
    out = np.ascontiguousarray(out.transpose(np.argsort(partner)))
    if interpolation == "linear":
        out = out.astype(np.float32, copy=False)
    for axis in range(3):
        outside = ~inside[axis]
        if outside.any():
            index: list[slice | NDArray[np.bool_]] = [slice(None)] * 3
            index[partner[axis]] = outside
            out[tuple(index)] = fill
    return out


def _general(
    values: NDArray[np.generic], index_map: Affine, target: Grid, interpolation: Interpolation, fill: float
) -> NDArray[np.generic]:
    linear = interpolation == "linear"
    out = ndimage.affine_transform(
        values.astype(np.float32, copy=False) if linear else values,
        index_map[:3, :3],
        index_map[:3, 3],
        output_shape=target.shape,
        output=np.float32 if linear else values.dtype,
        order=1 if linear else 0,
        mode="nearest",
    )
    steps = np.ogrid[: target.shape[0], : target.shape[1], : target.shape[2]]
    outside = np.zeros(target.shape, bool)
    for axis, n in enumerate(values.shape):
        at = sum((index_map[axis, a] * steps[a] for a in range(3)), index_map[axis, 3])
        outside |= (at < -0.5) | (at >= n - 0.5)
    out[outside] = fill
    return np.asarray(out)
