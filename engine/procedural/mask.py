"""Lesion masks without weights: a shape that fills its box, kept where the report lets it lie, at the volume asked.

A mask is drawn as a signed distance. Restrictions (the organ's surface, the thickness of a wall, the box) are further
distances, of which the largest counts; then one number is moved until the volume is right: how far a body swells, or
how thick a wall grows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from engine.core.anatomy import V1_IDS
from engine.core.geometry import MODEL_SPACING_MM, Box
from engine.core.report import Report
from engine.core.requests import MaskRequest, Refusal
from engine.core.sample import Crop
from engine.core.seeds import SAMPLE_LEVEL, rng_for
from engine.core.vocabulary import Cavity, Shape, SpecificFeatures
from engine.procedural.surface import BOUNDARY, Roughness, Surface, largest_piece, soft_mask
from engine.procedural.waves import Field, Waves

LEAST_SHARE = 0.8
"""Of the volume asked for, where the lesion may lie; else it is refused."""

_OUTSIDE = 0.45
"""Highest level where a lesion must not lie: clearly on the other side of the boundary."""
_ORGAN_SMOOTHING_VOX = 0.7
_CLOSED = ("lung", "trachea", "vertebrae", "rib", "sacrum", "hip", "femur", "humerus", "scapula", "clavicula")
_SWELL_VOX = (-2.0, 4.0)
_THICKNESS_VOX = (1.5, 40.0)
_SEARCH_STEPS = 12
_WALL_CONTEXT_VOX = 10
_FOLDS_MM, _FOLD_RMS = (9.0, 24.0), 0.25
"""Of a thickened wall: wavelengths of its uneven inner side, and their height as a share of the thickness."""

Shapes = Callable[[float], Field]
"""A family of shapes, growing with its one number."""


class ProceduralMasker:
    """Draws each mask from its request alone; needs the organ crop for clipping, and for the course of a wall."""

    name = "procedural"

    def __call__(self, requests: Sequence[MaskRequest]) -> list[Crop | Refusal]:
        """Soft masks float32, 0.5 on the surface, on the box asked for and a voxel around it."""
        return [draw_mask(request) for request in requests]


def draw_mask(request: MaskRequest) -> Crop | Refusal:
    """One mask: drawn to fill its box, cut to where its cavity lets it lie, at the volume that the report asks for."""
    report = request.report
    frame = request.box.grown(1) & request.organs.box
    body = Surface.drawn(request.seed, _roughness(report, request.box)).distance(request.box, frame)
    most = _most(request, frame)
    shape, between = _thickened(request, frame, body) if report.follows_wall else _swollen(body)
    soft = _at_volume(lambda size: np.minimum(soft_mask(shape(size)), most), between, report.asked_mm3)
    kept = largest_piece(soft)
    left_mm3 = _volume_mm3(kept)
    if left_mm3 < LEAST_SHARE * report.asked_mm3:
        return Refusal(
            f"only {left_mm3 / 1000:.2f} of the {report.asked_mm3 / 1000:.2f} ml asked for may lie here "
            f"({report.organ}, {report.cavity.text}), at least {LEAST_SHARE:.0%} should"
        )
    return Crop(frame, kept)


def _swollen(body: Field) -> tuple[Shapes, tuple[float, float]]:
    """A body that swells to make up for what is cut off, and shrinks where its bumps hold too much."""
    return lambda swell: body - np.float32(swell), _SWELL_VOX


def _thickened(request: MaskRequest, frame: Box, body: Field) -> tuple[Shapes, tuple[float, float]]:
    """The part of a hollow organ's wall that lies in the body, thickened from its outer surface inwards."""
    deep, folds = _depth_in_wall(request, frame), _folds(request, frame)
    return lambda thickness: np.maximum(body, deep - np.float32(thickness) * folds), _THICKNESS_VOX


def _at_volume(drawn: Shapes, between: tuple[float, float], asked_mm3: float) -> Field:
    """The soft mask whose volume is the one asked for, or as near as the range of its one free number comes."""
    low, high = between
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        if _volume_mm3(drawn(middle)) < asked_mm3:
            low = middle
        else:
            high = middle
    return drawn((low + high) / 2)


def _volume_mm3(soft: Field) -> float:
    """Of a soft mask, its edge voxels counted in part, so that it hardly depends on the grid."""
    return float(soft.sum(dtype=np.float64)) * MODEL_SPACING_MM**3


def _roughness(report: Report, box: Box) -> Roughness:
    """The report's surface; smoother where there are few voxels for bumps."""
    rms = {
        Shape.ROUND_LIKE: 0.05, Shape.CYSTIC: 0.03, Shape.PUNCTATE: 0.04, Shape.PROTRUSION: 0.06,
        Shape.LUMINAL_NARROWING: 0.08, Shape.WALL_THICKENING: 0.1, Shape.IRREGULAR: 0.18,
    }  # fmt: skip
    room = float(np.clip((min(box.shape) - 2) / 8, 0.1, 1))
    spiculated = SpecificFeatures.SPICULATED in report.specific_features and room == 1
    return Roughness(bumps=max(rms[shape] for shape in report.shape) * room, spiculated=spiculated)


def _most(request: MaskRequest, frame: Box) -> Field:
    """Highest level of the mask at each voxel: 1 where it may lie freely, below 0.5 where it must not lie.

    The edge follows a smoothed organ surface and never crosses it.
    """
    organs = request.organs.cut(frame)
    if request.report.cavity is Cavity.PROTRUDING:
        free = ~np.isin(organs, _closed_to(request.organ_ids))
    else:
        free = np.isin(organs, request.organ_ids)
    most = np.ones(frame.shape, np.float32)
    if not free.all():
        smooth = ndimage.gaussian_filter(free.astype(np.float32), _ORGAN_SMOOTHING_VOX, truncate=3)
        most = np.where(free, np.maximum(smooth, np.float32(BOUNDARY)), np.minimum(smooth, np.float32(_OUTSIDE)))
    in_box = np.zeros(frame.shape, bool)
    in_box[request.box.relative_to(frame).slices] = True
    return np.asarray(np.where(in_box, most, np.minimum(most, np.float32(_OUTSIDE))), np.float32)


def _closed_to(organ_ids: Sequence[int]) -> list[int]:
    """Ids that a protruding lesion does not enter: lung, airway and bone, unless it comes from one of them."""
    closed = {organ_id for name, organ_id in V1_IDS.items() if name.startswith(_CLOSED)}
    return sorted(closed - set(organ_ids))


def _depth_in_wall(request: MaskRequest, frame: Box) -> Field:
    """Distance (voxels) from a hollow organ's outer surface, smoothed: the organ map may come from coarse voxels."""
    around = frame.grown(_WALL_CONTEXT_VOX) & request.organs.box
    own = np.isin(request.organs.cut(around), request.organ_ids)
    depth = ndimage.distance_transform_edt(own) if not own.all() else np.full(around.shape, 1e3)
    smooth = ndimage.gaussian_filter(depth.astype(np.float32), _ORGAN_SMOOTHING_VOX, truncate=3)
    return np.asarray(smooth[frame.relative_to(around).slices], np.float32)


def _folds(request: MaskRequest, frame: Box) -> Field:
    """Thickness of a diseased wall from place to place, about 1."""
    waves = Waves.drawn(rng_for(request.seed, "", SAMPLE_LEVEL, 0, "wall"), 6, _FOLDS_MM, _FOLD_RMS)
    steps = [(np.arange(n, dtype=np.float32) + a) for a, n in zip(frame.start, frame.shape, strict=True)]
    return np.maximum(1 + waves.at((steps[0][:, None, None], steps[1][None, :, None], steps[2][None, None, :])), 0.4)
