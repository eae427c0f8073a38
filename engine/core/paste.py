"""A painted lesion brought back to the native grid, and added to the source there.

The painter works on a 1 mm crop. Writing that crop back would replace every native voxel under it by a value that was
interpolated twice: blurred, its noise gone. So only the *change* is brought back, `source + weight * delta`: where the
painter changed nothing the source stays bit for bit, inside the lesion the native noise stays under it, and beyond
the margin the weight is exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.geometry import Box, Grid
from engine.core.resample import resample
from engine.core.sample import Crop

BOUNDARY = 0.5
"""A soft mask's value on the lesion's surface."""

SURROUND_MM = 5.0
"""How far a lesion's surroundings are measured."""


@dataclass(frozen=True, eq=False)
class NativeLesion:
    """A lesion on the native grid. The three arrays lie on `box`: everything that may change.

    `label` bool; `weight` float32 in [0, 1], 1 in the label and 0 from the margin on; `delta_hu` float32.
    """

    box: Box
    label: NDArray[np.bool_]
    weight: NDArray[np.float32]
    delta_hu: NDArray[np.float32]

    @property
    def change_hu(self) -> NDArray[np.float32]:
        """What is added to the source, float32 on `box`."""
        return self.weight * self.delta_hu

    def label_on(self, box: Box) -> NDArray[np.bool_]:
        """The label on another box of the native grid; False where it does not reach."""
        out = np.zeros(box.shape, bool)
        shared = self.box & box
        if shared.voxels:
            out[shared.relative_to(box).slices] = self.label[shared.relative_to(self.box).slices]
        return out

    @property
    def label_box(self) -> Box:
        """The smallest box of the native grid that holds the label (empty for an empty label)."""
        inside = Box.of_mask(self.label)
        return inside.shifted(self.box.start) if inside else Box(self.box.start, self.box.start)

    @property
    def voxels(self) -> int:
        return int(np.count_nonzero(self.label))


def smallest_mm(native: Grid, min_voxels: int = 1) -> float:
    """Diameter of the smallest ball that holds `min_voxels` voxel centres of a grid wherever it lies (for 1 voxel
    exact: the voxel's diagonal; for more, at least the ball of their volume)."""
    diagonal = float(np.linalg.norm(native.spacing_mm))
    return max(diagonal, float((6 * min_voxels * native.voxel_mm3 / np.pi) ** (1 / 3)))


def vanished(native: Grid, voxels: int, min_voxels: int) -> str:
    """The line for a lesion that the native grid cannot hold."""
    spacing = "x".join(f"{mm:.2g}" for mm in native.spacing_mm)
    return (
        f"vanishes on this grid of {spacing} mm: {voxels} voxels, at least {min_voxels} are wanted; "
        f"smallest lesion it can hold is {smallest_mm(native, min_voxels):.1f} mm"
    )


def to_native(mask: Crop, delta: Crop, model: Grid, native: Grid, margin_mm: float) -> NativeLesion:
    """The lesion of a soft `mask` and its `delta` (HU), both crops of `model`, on an orthogonal `native` grid.

    The label is where the linearly interpolated mask reaches 0.5. The weight falls smoothly (C1) to exactly 0 at
    `margin_mm` from the nearest label voxel's centre; with margin 0 it is the label. A lesion that falls between the
    voxels of a coarse grid comes back with an empty label: the gates have the line for it.
    """
    near = model.cover(mask.box, native, margin=1)
    inner = np.asarray(resample(mask.values, model.crop(mask.box), native.crop(near)), np.float32) >= BOUNDARY
    inside = Box.of_mask(inner)
    if inside is None:
        nothing = np.zeros(near.shape, np.float32)
        return NativeLesion(near, inner, nothing, nothing)
    inside = inside.shifted(near.start)
    reach = [int(n) for n in np.ceil(margin_mm / native.spacing_mm)]
    box = inside.grown(reach) & Box.whole(native.shape)
    label = np.zeros(box.shape, bool)
    label[inside.relative_to(box).slices] = inner[inside.relative_to(near).slices]
    change = resample(delta.values, model.crop(delta.box), native.crop(box))
    return NativeLesion(box, label, margin_weight(label, native, margin_mm), np.asarray(change, np.float32))


def margin_weight(label: NDArray[np.bool_], native: Grid, margin_mm: float) -> NDArray[np.float32]:
    """1 in the label, smoothstep down to 0 at `margin_mm` from it, in world millimetres of an orthogonal grid."""
    if margin_mm <= 0:
        return label.astype(np.float32)
    distance_mm = ndimage.distance_transform_edt(~label, sampling=native.spacing_mm)
    t = 1 - np.minimum(distance_mm, margin_mm) / margin_mm
    weight: NDArray[np.float32] = (t * t * (3 - 2 * t)).astype(np.float32)
    weight[distance_mm >= margin_mm * (1 - 1e-6)] = 0  # exactly, whatever the rounding
    return weight


def surround_of(
    lesion: NativeLesion, source_hu: Callable[[Box], NDArray[np.float32]], native: Grid, others: Sequence[NativeLesion]
) -> float:
    """Mean HU of the source within 5 mm around a lesion (at least its neighbouring voxels), other lesions left out.

    NaN where nothing is around it.
    """
    inside = Box.of_mask(lesion.label)
    if inside is None:
        return float("nan")
    reach_mm = np.maximum(SURROUND_MM, native.spacing_mm)
    inside = inside.shifted(lesion.box.start)
    box = inside.grown([int(n) for n in np.ceil(reach_mm / native.spacing_mm)]) & Box.whole(native.shape)
    label = lesion.label_on(box)
    # Measured in reaches, so that a coarse axis still gets its one neighbour.
    around = ndimage.distance_transform_edt(~label, sampling=native.spacing_mm / reach_mm) <= 1 + 1e-6
    around &= ~label
    for other in others:
        around &= ~other.label_on(box)
    values = source_hu(box)[around]
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
