"""An organ as placement searches it: found in the organ map, measured, and thinned to a cheap grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.anatomy import Organ, OrganMap, organ_of_id
from engine.core.errors import PlacementError
from engine.core.geometry import Box, Grid, Shape3, iter_blocks

CtHu = Callable[[Box], NDArray[np.float32]]
"""HU of a box of the native grid."""

_PLANES = 9
_GAS_HU = -250.0
_LEAST_VOX = 2.0
_SPACING_MM = 2.0
_MOST_VOXELS = 300_000
"""A distance transform of this many voxels takes about 50 ms."""


@dataclass(frozen=True, eq=False)
class OrganSite:
    """An organ on a grid that is cheap to search: its bounding box, every few voxels."""

    organ: Organ
    mask: NDArray[np.bool_]
    grid: Grid
    extent_mm: tuple[float, float, float]
    """Of the organ's bounding box, along (S, A, L)."""

    def depth(self, model: Grid, shape: Shape3) -> NDArray[np.float32]:
        """How deep each voxel lies in the organ, counted in half-sizes of an ellipsoid of `shape` model voxels.

        At 1 or more the ellipsoid about that voxel holds no voxel of anything else; beyond the array is not organ.
        """
        step = (model.world_to_index @ self.grid.affine)[:3, :3]
        sampling = np.linalg.norm(step / (np.asarray(shape, float) / 2)[:, None], axis=0)
        deep = ndimage.distance_transform_edt(np.pad(self.mask, 1), sampling=sampling)
        return np.asarray(deep[1:-1, 1:-1, 1:-1], np.float32)


def organs_in_view(organs: OrganMap) -> dict[int, int]:
    """Voxels of each v1 id in an organ map, largest first, background left out."""
    counts = np.zeros(256, np.int64)
    for block in iter_blocks(organs.shape, 16):
        counts += np.bincount(organs[block.slices].ravel(order="K"), minlength=256)
    counts[0] = 0
    return {int(i): int(counts[i]) for i in np.argsort(-counts, kind="stable") if counts[i]}


@dataclass(frozen=True)
class OrganView:
    """An organ as one volume shows it.

    `extent_mm` of its bounding box along (S, A, L); `mean_hu` the median of its tissue, gas left out; `least_mm` the
    shortest axis of a lesion that the volume's voxels still show with its volume about right.
    """

    extent_mm: tuple[float, float, float]
    mean_hu: float = 50.0
    least_mm: float = 0.0


def view_of(organs: OrganMap, ct_hu: CtHu, native: Grid, organ: Organ) -> OrganView | None:
    """What a report writer needs to know of an organ, or None where it is absent. A few planes are read, no more."""
    mask = organ.mask(organs)
    box = Box.of_mask(mask)
    if box is None:
        return None
    values = [np.zeros(0, np.float32)]
    for plane in box.planes(_PLANES):
        hu = ct_hu(plane)[mask[plane.slices]]
        values.append(hu[np.isfinite(hu) & (organ.airy | (hu > _GAS_HU))])
    tissue = np.concatenate(values)
    mean_hu = float(np.median(tissue)) if tissue.size else OrganView.mean_hu
    return OrganView(_mm3(native.extent_mm(box)), mean_hu, _LEAST_VOX * float(native.spacing_mm.max()))


def find_site(organs: OrganMap, native: Grid, organ: Organ) -> OrganSite:
    """The organ, thinned for searching. Raises `PlacementError` where it is absent, naming what is in view."""
    mask = organ.mask(organs)
    box = Box.of_mask(mask)
    if box is None:
        names = [organ_of_id(i).name for i in organs_in_view(organs)][:5]
        seen = f"in view: {', '.join(names)}" if names else "the organ map is all zero"
        raise PlacementError(f"{organ.name} is absent from this volume; {seen}")
    crowded_mm = (box.voxels * native.voxel_mm3 / _MOST_VOXELS) ** (1 / 3)
    step = np.maximum(np.floor(max(_SPACING_MM, crowded_mm) / native.spacing_mm), 1).astype(int)
    inner = mask[box.slices]
    thin = inner[:: step[0], :: step[1], :: step[2]]
    if not thin.any():  # an organ of a few voxels, stepped over
        step, thin = np.ones(3, int), inner
    grid = native.crop(box).every([int(s) for s in step])
    return OrganSite(organ, np.ascontiguousarray(thin), grid, _mm3(native.extent_mm(box)))


def _mm3(values: NDArray[np.float64]) -> tuple[float, float, float]:
    s, a, l = (float(v) for v in values)  # noqa: E741 - the axis is called L
    return s, a, l
