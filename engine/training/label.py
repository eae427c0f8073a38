"""Labels: where a case has lesions, and which of them is meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.errors import VolumeError
from engine.core.geometry import Box, Grid, Points, iter_blocks
from engine.core.resample import resample
from engine.io.decoded import DEFAULT_RULES, Decoded
from engine.io.volumes import decode, of_file
from engine.training.crop import LESION, ORGAN
from engine.training.known import KnownLesion

_SLAB_VOX = 32
_OFF_VOX = 5
"""How far a centroid may lie beyond the lesion it is that of: as far as another rounding takes it, and some."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Voxels of lesions: `mask` is true on some of `box`, which is no larger than it must be, of the image's grid."""

    box: Box
    mask: NDArray[np.bool_]


def read_label(uri: str, like: Grid) -> Pieces:
    """All lesions of a label, which lies on the image's grid `like`.

    The label of a sheared image is sheared, too, and is resampled as that was. Raises `VolumeError`, headed by the
    file's name: unreadable, another grid, a value that no label has, no lesion.
    """
    decoded = decode(uri, DEFAULT_RULES)
    with of_file(uri):
        lesions = _on_grid(_lesions(decoded), decoded, like)
        box = Box.of_mask(lesions)
        if box is None:
            raise VolumeError(f"is a label without a lesion: no voxel is {LESION}")
    return Pieces(box, lesions[box.slices].copy())


def _lesions(decoded: Decoded) -> NDArray[np.bool_]:
    """(i j k), by slabs, as labels are often stored as int64 or float64."""
    out = np.empty(decoded.grid.shape, bool, order="F")
    for slab in iter_blocks(decoded.grid.shape, _SLAB_VOX):
        values: NDArray[Any] = decoded.raw[slab.slices]
        if (decoded.slope, decoded.intercept) != (1.0, 0.0):
            values = values * np.float64(decoded.slope) + decoded.intercept
        odd = (values != 0) & (values != ORGAN) & (values != LESION)
        if odd.any():
            value = float(values[odd].flat[0])
            raise VolumeError(f"is no label: it holds {value:g}; 0 is nothing, {ORGAN} the host organ, {LESION} lesion")
        out[slab.slices] = values == LESION
    return out


def _on_grid(lesions: NDArray[np.bool_], decoded: Decoded, like: Grid) -> NDArray[np.bool_]:
    grid = decoded.grid
    if grid.same_space(like) or (grid.shape == like.shape and not decoded.placed):
        return lesions
    if not grid.is_orthogonal and grid.orthogonalised().same_space(like):
        return resample(lesions.view(np.uint8), grid, like, interpolation="nearest") > 0
    raise VolumeError(
        f"is a label of another grid: {_x(grid)} from {_origin(grid)} mm on, its image is {_x(like)} from "
        f"{_origin(like)} mm on"
    )


def lesion_in(pieces: Pieces, grid: Grid, lesion: KnownLesion) -> Pieces:
    """The one lesion of a label that is meant: a 6-connected piece, or several where that is known.

    Without a centroid the largest piece; else the one whose own centroid is nearest, and where the centroids of all
    other lesions are known, every piece that is nearer to this one's. Raises `VolumeError` where nothing is there.
    """
    numbered, count = ndimage.label(pieces.mask)
    if lesion.centroid_mm is None:
        sizes = np.bincount(numbered.ravel())[1:]
        return _cut(pieces, numbered == 1 + int(sizes.argmax()))
    own = grid.to_index(lesion.centroid_mm)
    centres = np.asarray(ndimage.center_of_mass(pieces.mask, numbered, range(1, count + 1))) + pieces.box.start
    far_mm = _distances_mm(centres, own, grid)
    chosen = {1 + int(far_mm.argmin())}
    if lesion.others_mm is not None:
        theirs = [_distances_mm(centres, grid.to_index(other), grid) for other in lesion.others_mm]
        nearest = np.all([far_mm < other for other in theirs], axis=0) if theirs else np.ones(count, bool)
        chosen |= {1 + int(n) for n in np.flatnonzero(nearest)}
    found = _cut(pieces, np.isin(numbered, sorted(chosen)))
    if not found.box.grown(_OFF_VOX).holds(own):
        point = ", ".join(f"{mm:.1f}" for mm in lesion.centroid_mm)
        raise VolumeError(f"has no lesion at its centroid_mm ({point}), which are world RAS millimetres")
    return found


def _cut(pieces: Pieces, mask: NDArray[np.bool_]) -> Pieces:
    box = Box.of_mask(mask)
    if box is None:
        raise ValueError("a piece without a voxel")
    return Pieces(box.shifted(pieces.box.start), mask[box.slices].copy())


def _distances_mm(centres: Points, point: Points, grid: Grid) -> NDArray[np.float64]:
    """(n,) of indices (n, 3) from one index."""
    return np.asarray(np.linalg.norm(grid.to_world(centres) - grid.to_world(point), axis=1))


def _x(grid: Grid) -> str:
    return "x".join(str(n) for n in grid.shape)


def _origin(grid: Grid) -> list[int]:
    return [round(float(mm)) for mm in grid.affine[:3, 3]]
