"""Lesion masks without weights: an ellipsoid that fills its box, with a smooth random surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.anatomy import V1_IDS
from engine.core.geometry import Box, Shape3
from engine.core.report import Report
from engine.core.requests import MaskRequest, Refusal
from engine.core.sample import Crop
from engine.core.vocabulary import Cavity, Shape
from engine.procedural.surface import BOUNDARY, Surface, largest_piece
from engine.procedural.waves import Field

MIN_SURVIVING_SHARE = 0.3
"""Of the lesion's volume, after it is cut to where it may lie."""

_OUTSIDE = 0.45
"""Highest level where a lesion must not lie: clearly on the other side of the boundary."""
_ORGAN_SMOOTHING_VOX = 0.7
_CLOSED = ("lung", "trachea", "vertebrae", "rib", "sacrum", "hip", "femur", "humerus", "scapula", "clavicula")


class ProceduralMasker:
    """Draws each mask from its request alone; needs the organ crop for clipping only."""

    name = "procedural"
    crop_shape: Shape3 | None = None

    def __call__(self, requests: Sequence[MaskRequest]) -> list[Crop | Refusal]:
        """Soft masks float32, 0.5 on the surface, on the box asked for and a voxel around it."""
        return [draw_mask(request) for request in requests]


def draw_mask(request: MaskRequest) -> Crop | Refusal:
    """One mask: drawn to fill its box, cut to where the cavity lets it lie, its largest piece kept."""
    surface = Surface.drawn(request.seed, _roughness(request.report, request.box))
    box = request.box.grown(1) & request.organs.box
    soft = surface.fill(request.box, box)
    whole = int(np.count_nonzero(soft >= BOUNDARY))
    organs = request.organs.cut(box)
    kept = largest_piece(_clipped(soft, organs, request))
    left = int(np.count_nonzero(kept >= BOUNDARY))
    if left == 0 or left < MIN_SURVIVING_SHARE * whole:
        return Refusal(
            f"only {left} of the mask's {whole} voxels may lie here ({request.report.organ}, "
            f"{request.report.cavity.text}), at least {MIN_SURVIVING_SHARE:.0%} should"
        )
    return Crop(box, kept)


def _roughness(report: Report, box: Box) -> float:
    """Root mean square of the surface's bumps, as a share of the radius; less where there are few voxels for them."""
    amplitude = {
        Shape.ROUND_LIKE: 0.05, Shape.CYSTIC: 0.03, Shape.PUNCTATE: 0.04, Shape.PROTRUSION: 0.07,
        Shape.LUMINAL_NARROWING: 0.09, Shape.WALL_THICKENING: 0.1, Shape.IRREGULAR: 0.12,
    }  # fmt: skip
    return max(amplitude[shape] for shape in report.shape) * float(np.clip((min(box.shape) - 2) / 8, 0.1, 1))


def _clipped(soft: Field, organs: NDArray[np.uint8], request: MaskRequest) -> Field:
    """The mask where it may lie; its edge follows a smoothed organ surface and never crosses it."""
    if request.report.cavity is Cavity.PROTRUDING:
        free = ~np.isin(organs, _closed_to(request.organ_ids))
    else:
        free = np.isin(organs, request.organ_ids)
    if free.all():
        return soft
    smooth = ndimage.gaussian_filter(free.astype(np.float32), _ORGAN_SMOOTHING_VOX, truncate=3)
    most = np.where(free, np.maximum(smooth, BOUNDARY), np.minimum(smooth, _OUTSIDE))
    return np.asarray(np.minimum(soft, most), np.float32)


def _closed_to(organ_ids: Sequence[int]) -> list[int]:
    """Ids that a protruding lesion does not enter: lung, airway and bone, unless it comes from one of them."""
    closed = {organ_id for name, organ_id in V1_IDS.items() if name.startswith(_CLOSED)}
    return sorted(closed - set(organ_ids))
