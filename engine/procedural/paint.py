"""Lesion texture without weights: the tissue is shifted to the report's density, and its noise goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.anatomy import find_organ
from engine.core.geometry import Box, Shape3
from engine.core.report import Report
from engine.core.requests import PaintRequest, Refusal
from engine.core.sample import Crop
from engine.core.seeds import SAMPLE_LEVEL, rng_for
from engine.core.vocabulary import Cavity, SpecificFeatures, SurfaceCharacteristics
from engine.procedural.surface import BOUNDARY
from engine.procedural.texture import inner_texture
from engine.procedural.tissue import Tissue, continued_noise, measure
from engine.procedural.waves import Field

REACH_VOX = 3
"""Nothing changes farther than this outside the mask's box."""
LOWEST_HU, HIGHEST_HU = -1024.0, 3071.0

_SOFT_EDGE_VOX = 2.0
"""Sigma of the blur that stands for an ill-defined margin (1 mm voxels)."""
_LEVELLING_STEPS = 6
_DEEP = 0.99
_LEAST_SHARE = 0.5
"""Of the contrast asked for that must be reached where HU end; else the lesion is refused."""

Mask = NDArray[np.bool_]


class ProceduralPainter:
    """Paints each lesion from its request alone."""

    name = "procedural"
    crop_shape: Shape3 | None = None

    def __call__(self, requests: Sequence[PaintRequest]) -> list[Crop | Refusal]:
        """HU float32 on the box of each CT crop, equal to the CT beyond `REACH_VOX` around the mask's box."""
        return [paint_lesion(request) for request in requests]


def paint_lesion(request: PaintRequest) -> Crop | Refusal:
    """One lesion: its mean over the mask differs from what was there by the report's contrast.

    Where there was gas, and where the lesion sticks out of its organ, the contrast counts from the organ's soft tissue
    instead, unless that would move the mean the wrong way.
    """
    site = _Site.of(request)
    if not site.inside.any():
        return Refusal("the mask holds no voxel at or above 0.5")
    tissue = measure(site.ct, site.organ, site.inside, find_organ(request.report.organ))
    target = _target(request.report, tissue)
    if isinstance(target, Refusal):
        return target
    target_hu = target.hu
    new = target_hu + _content(site, tissue, request)
    painted = _levelled(site, new, target_hu, site.deep if target.tissue_like else site.inside)
    shift_hu = _mean(painted[site.inside]) - tissue.mean_hu
    sign, asked_hu = request.report.contrast_sign, target_hu - tissue.mean_hu
    if sign and sign * shift_hu < _LEAST_SHARE * abs(asked_hu):
        return Refusal(
            f"tissue of {tissue.mean_hu:.0f} HU can only be moved by {shift_hu:+.0f} HU, {asked_hu:+.0f} HU was asked"
        )
    values = request.ct.values.astype(np.float32)
    values[site.window.relative_to(request.ct.box).slices] = painted
    return Crop(request.ct.box, values)


@dataclass(frozen=True, eq=False)
class _Site:
    """The part of the CT that may change, with the mask on it. `weight`: 1 in the lesion, 0 at the window's end."""

    window: Box
    ct: Field
    organ: Mask
    mask: Field
    weight: Field

    @classmethod
    def of(cls, request: PaintRequest) -> _Site:
        window = request.mask.box.grown(REACH_VOX) & request.ct.box
        mask = request.mask.onto(window).values.astype(np.float32)
        ct = request.ct.cut(window).astype(np.float32)
        organ = request.organ.onto(window).values.astype(bool)
        return cls(window, ct, organ, mask, _edge(mask, request.report))

    @property
    def inside(self) -> Mask:
        return np.asarray(self.mask >= BOUNDARY)

    @property
    def deep(self) -> Mask:
        """Inside and not at the edge, where some of what was there before shows through."""
        deep = self.mask >= _DEEP
        return deep if deep.any() else self.inside


def _edge(mask: Field, report: Report) -> Field:
    """How far each voxel turns into lesion: the mask itself, or softened for an ill-defined margin."""
    if _sharp(report):
        return mask
    soft = ndimage.gaussian_filter(mask, _SOFT_EDGE_VOX, mode="constant", truncate=3)
    # Stretched to end at exactly 0 within the window; a small lesion keeps its full strength.
    soft = np.clip((soft - 0.06) / max(float(soft.max()) - 0.12, 0.1), 0, 1)
    return np.asarray(soft, np.float32)


def _sharp(report: Report) -> bool:
    stone = SpecificFeatures.STONE in report.specific_features
    return stone or SurfaceCharacteristics(report.surface_characteristics).sharp


@dataclass(frozen=True)
class _Target:
    """The mean a lesion shall have; `tissue_like` where it follows from the organ's soft tissue, not from the site."""

    hu: float
    tissue_like: bool = False


def _target(report: Report, tissue: Tissue) -> _Target | Refusal:
    """The mean that the lesion shall have, or why it cannot."""
    sign = report.contrast_sign
    if report.ct_value_hu is not None:
        if sign and sign * (report.ct_value_hu - tissue.mean_hu) <= 0:
            return Refusal(
                f"a mean of {report.ct_value_hu:.0f} HU was asked in tissue of {tissue.mean_hu:.0f} HU, "
                f"together with a contrast of {report.contrast_hu:+.0f} HU"
            )
        return _Target(report.ct_value_hu)
    from_soft_tissue = tissue.soft_hu + report.contrast_hu
    unlike = tissue.gassy or report.cavity is Cavity.PROTRUDING
    if unlike and (not sign or sign * (from_soft_tissue - tissue.mean_hu) >= abs(report.contrast_hu)):
        return _Target(from_soft_tissue, tissue_like=True)
    return _Target(tissue.mean_hu + report.contrast_hu)


def _content(site: _Site, tissue: Tissue, request: PaintRequest) -> Field:
    """What the lesion shows around its mean, HU: kept tissue, continued noise, and its own texture."""
    report = request.report
    kept = tissue.kept_share(report.contrast_hu)
    content = np.zeros(site.window.shape, np.float32)
    if kept:
        content += np.float32(kept) * (site.ct - np.float32(tissue.mean_hu))
    if kept < 1:
        rng = rng_for(request.seed, "", SAMPLE_LEVEL, 0, "noise")
        content += np.float32((1 - kept**2) ** 0.5) * continued_noise(site.window.shape, tissue.noise_hu, rng)
    return content + inner_texture(site.inside, report, rng_for(request.seed, "", SAMPLE_LEVEL, 0, "texture"))


def _levelled(site: _Site, new: Field, target_hu: float, over: Mask) -> Field:
    """CT and lesion blended by weight, with the lesion's level set so that its mean `over` a mask is the target.

    The level is found again after clipping, which takes away from one side only.
    """
    level = np.float32(0)
    strength = max(_mean(site.weight[over]), 0.1)
    for _ in range(_LEVELLING_STEPS):
        painted = site.ct + site.weight * (new + level - site.ct)
        np.clip(painted, LOWEST_HU, HIGHEST_HU, out=painted)
        level += np.float32((target_hu - _mean(painted[over])) / strength)
    return np.where(site.weight > 0, painted, site.ct).astype(np.float32)


def _mean(values: Field) -> float:
    return float(values.mean(dtype=np.float64))
