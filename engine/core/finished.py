"""A finished lesion as the gates see it: what will be written, what was there before, and the organs around.

Everything lies on one small box of the native grid, so that a gate is a few array operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.anatomy import V1_IDS, Organ, OrganMap, find_organ
from engine.core.geometry import Box, Grid
from engine.core.paste import NativeLesion
from engine.core.report import Report
from engine.core.vocabulary import Cavity

Mask = NDArray[np.bool_]
Hu = NDArray[np.float32]

GAS_HU = -300.0
"""Below fat, voxels that are half gas included: bowel gas, lung, the air around the body."""

_CLOSED = ("lung", "trachea", "vertebrae", "rib", "sacrum", "hip", "femur", "humerus", "scapula", "clavicula")
_FEW_VOXELS = 20


@dataclass(frozen=True, eq=False)
class Finished:
    """One lesion, pasted. The arrays lie on `frame`, which holds `lesion.box` and a few millimetres around it.

    `before_hu`  the source, earlier lesions of the sample included
    `after_hu`   what the file will hold: rounded, and clipped to the file's type
    `organs`     v1 ids; `organ_id` is the host's
    `placed`     native voxels that the box given to this lesion touches, or None where it has none
    """

    lesion: NativeLesion
    report: Report
    native: Grid
    margin_mm: float
    frame: Box
    before_hu: Hu
    after_hu: Hu
    organs: OrganMap
    organ_id: int
    placed: Box | None = None

    @cached_property
    def label(self) -> Mask:
        return self.lesion.label_on(self.frame)

    @cached_property
    def added_hu(self) -> Hu:
        """What was added, before it was rounded to the file's type; 0 beyond the margin."""
        out = np.zeros(self.frame.shape, np.float32)
        out[self.lesion.box.relative_to(self.frame).slices] = self.lesion.change_hu
        return out

    @cached_property
    def in_host(self) -> Mask:
        return np.asarray(self.organs == self.organ_id)

    @property
    def host(self) -> Organ:
        return find_organ(self.report.organ)

    @cached_property
    def closed(self) -> Mask:
        """Lung, airway and bone, and gas that no organ map names: where a lesion of another organ never grows."""
        ids = [i for name, i in V1_IDS.items() if name.startswith(_CLOSED) and i != self.organ_id]
        closed = np.isin(self.organs, ids)
        if not self.host.airy:
            closed |= (self.before_hu < GAS_HU) & ~self.in_host
        return closed

    @property
    def shift_hu(self) -> float:
        """Mean over the label of what is written, less what was there."""
        return mean(self.after_hu[self.label]) - mean(self.before_hu[self.label])

    @property
    def tissue_hu(self) -> float:
        """Median of the host's tissue around the lesion, its gas left out; NaN where hardly any is in the frame."""
        tissue = self.in_host & ~self.label & (self.lesion_free)
        if not self.host.airy:
            tissue &= self.before_hu > GAS_HU
        values = self.before_hu[tissue]
        return float(np.median(values)) if values.size >= _FEW_VOXELS else float("nan")

    @property
    def lesion_free(self) -> Mask:
        """Where nothing was added."""
        return np.asarray(self.added_hu == 0)

    @property
    def against_tissue(self) -> bool:
        """Does the asked contrast count from the host's tissue, since the lesion replaces other things as well?

        True for one that sticks out of its organ, lies in a hollow one, or replaces gas.
        """
        if self.report.cavity is not Cavity.PARENCHYMA:
            return True
        return not self.host.airy and bool((self.before_hu[self.label] < GAS_HU).mean() > 0.01)

    @property
    def strength_hu(self) -> float:
        """Root mean square of what was added over the label."""
        return float(np.sqrt(mean(self.added_hu[self.label] ** 2)))

    @cached_property
    def depth_mm(self) -> Hu:
        """Distance of the label's voxels from the nearest voxel outside it; 0 outside."""
        inner = Box.of_mask(self.label)
        out = np.zeros(self.frame.shape, np.float32)
        if inner is not None:
            padded = np.pad(self.label[inner.slices], 1)
            deep = ndimage.distance_transform_edt(padded, sampling=self.native.spacing_mm)
            out[inner.slices] = deep[1:-1, 1:-1, 1:-1]
        return out

    @cached_property
    def weight(self) -> Hu:
        """1 in the label, 0 from the margin's end on."""
        out = np.zeros(self.frame.shape, np.float32)
        out[self.lesion.box.relative_to(self.frame).slices] = self.lesion.weight
        return out

    @cached_property
    def off_mm(self) -> Hu:
        """Distance of voxels from the label: 0 in it, the margin from the margin's end on.

        Read off the weight, which is a smoothstep of it: w = t^2 (3 - 2 t), t = 1 - d / margin.
        """
        t = 0.5 - np.sin(np.arcsin(np.clip(1 - 2 * self.weight, -1, 1)) / 3)
        return np.asarray(self.margin_mm * (1 - t), np.float32)


def mean(values: NDArray[np.floating]) -> float:
    """In float64; NaN of nothing."""
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
