"""Lesion texture without weights: the tissue takes the report's density and pattern, and its own noise goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.anatomy import find_organ
from engine.core.geometry import Box
from engine.core.report import Report
from engine.core.requests import PaintRequest, Refusal
from engine.core.sample import Crop
from engine.core.seeds import SAMPLE_LEVEL, rng_for
from engine.core.vocabulary import Cavity, Density, LesionType, SpecificFeatures, SurfaceCharacteristics
from engine.procedural.pressure import pushed, pushes
from engine.procedural.surface import BOUNDARY
from engine.procedural.texture import inner_texture
from engine.procedural.tissue import Tissue, continued_noise, measure, split
from engine.procedural.waves import Field, Waves

REACH_VOX = 3
"""How far outside the mask something may change, where nothing else is said."""
LOWEST_HU, HIGHEST_HU = -1024.0, 3071.0

_MOST_INWARDS_VOX, _INWARDS_SHARE = 6.0, 0.8
"""How far an ill-defined margin reaches into the lesion: at most, and as a share of its half-thickness."""
_FRAY_VOX, _FRAY_RMS = (6.0, 16.0), 0.15
"""Unevenness of that margin: wavelengths, and height as a share of the reach."""
_SHOWS_THROUGH, _VEILED, _MOST_VEILED_HU = 0.85, 0.3, np.float32(25)
"""How much of the tissue's structure (vessels) stays visible in ground glass; in a mass; and at most there."""
_LEVELLING_STEPS = 6
_DEEP = 0.99
_LEAST_SHARE = 0.5
"""Of the contrast asked for that must be reached where HU end; else the lesion is refused."""

Mask = NDArray[np.bool_]


class ProceduralPainter:
    """Paints each lesion from its request alone. `reach_vox`: how far around a lesion it may change anything."""

    name = "procedural"

    def __init__(self, reach_vox: int = REACH_VOX) -> None:
        self._reach_vox = reach_vox

    def __call__(self, requests: Sequence[PaintRequest]) -> list[Crop | Refusal]:
        """HU float32 on the box of each CT crop, equal to the CT beyond the reach around the mask's box."""
        return [paint_lesion(request, self._reach_vox) for request in requests]


def paint_lesion(request: PaintRequest, reach_vox: int = REACH_VOX) -> Crop | Refusal:
    """One lesion: its mean over the mask differs from what was there by the report's contrast.

    Where there was gas, and where the lesion sticks out of its organ, the contrast counts from the organ's soft tissue
    instead, unless that would move the mean the wrong way.
    """
    site = _Site.of(request, reach_vox)
    if not site.inside.any():
        return Refusal("the mask holds no voxel at or above 0.5")
    tissue = measure(site.ct, site.organ, site.inside, find_organ(request.report.organ))
    target = _target(request.report, tissue)
    if isinstance(target, Refusal):
        return target
    target_hu = target.hu
    new = target_hu + _content(site, tissue, request)
    around = pushed(site.ct, site.inside, reach_vox) if pushes(request.report) else site.ct
    painted = _levelled(site, around, new, target_hu, site.deep if target.tissue_like else site.inside)
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
    def of(cls, request: PaintRequest, reach_vox: int) -> _Site:
        window = request.mask.box.grown(reach_vox) & request.ct.box
        mask = request.mask.onto(window).values.astype(np.float32)
        ct = request.ct.cut(window).astype(np.float32)
        organ = request.organ.onto(window).values.astype(bool)
        return cls(window, ct, organ, mask, _edge(mask, request, reach_vox))

    @property
    def inside(self) -> Mask:
        return np.asarray(self.mask >= BOUNDARY)

    @property
    def deep(self) -> Mask:
        """Inside and not at the edge, where some of what was there before shows through."""
        deep = self.mask >= _DEEP
        return deep if deep.any() else self.inside


def _edge(mask: Field, request: PaintRequest, reach_vox: int) -> Field:
    """How far each voxel turns into lesion: the mask itself, or for an ill-defined margin a wide, uneven ramp.

    The ramp ends at exactly 0 within the reach; inwards it takes part of the lesion, so that a small one keeps a core.
    """
    if _sharp(request.report):
        return mask
    inside = mask >= BOUNDARY
    deep, far = (ndimage.distance_transform_edt(part).astype(np.float32) for part in (inside, ~inside))
    inwards = np.float32(min(_MOST_INWARDS_VOX, _INWARDS_SHARE * float(deep.max())))
    fray = Waves.drawn(rng_for(request.seed, "", SAMPLE_LEVEL, 0, "fray"), 6, _FRAY_VOX, _FRAY_RMS * reach_vox)
    x, y, z = (np.arange(n, dtype=np.float32) for n in mask.shape)
    uneven = fray.at((x[:, None, None], y[None, :, None], z[None, None, :]))
    outside = np.where(inside, np.float32(0.5) - deep, far - np.float32(0.5))  # of voxel centres from the surface
    outside += uneven * np.clip(1 - far / reach_vox, 0, 1)
    share = np.clip((reach_vox - outside) / (reach_vox + inwards), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


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
    """What the lesion shows around its mean, HU: the tissue's noise, some of its structure, and its own pattern."""
    report = request.report
    kept = tissue.kept_share(report.contrast_hu)
    content = np.zeros(site.window.shape, np.float32)
    if kept:
        smooth, noise = split(site.ct, tissue.noise_hu)
        structure = smooth - np.float32(_mean(smooth[site.inside]))
        content += np.float32(kept) * (noise + _seen_through(structure, report))
    if kept < 1:
        rng = rng_for(request.seed, "", SAMPLE_LEVEL, 0, "noise")
        content += np.float32((1 - kept**2) ** 0.5) * continued_noise(site.window.shape, tissue.noise_hu, rng)
    return content + inner_texture(site.inside, report, rng_for(request.seed, "", SAMPLE_LEVEL, 0, "texture"))


def _seen_through(structure: Field, report: Report) -> Field:
    """What a lesion shows of the tissue it replaces: nothing in fluid, a hint in a mass, vessels in ground glass."""
    if report.density is Density.GROUND_GLASS:
        return np.float32(_SHOWS_THROUGH) * structure
    solid = report.density is Density.FLUID or report.lesion_type in (LesionType.CYST, LesionType.STONE)
    share = np.float32(0.0 if solid else _VEILED)
    return np.asarray(share * np.clip(structure, -_MOST_VEILED_HU, _MOST_VEILED_HU), np.float32)


def _levelled(site: _Site, around: Field, new: Field, target_hu: float, over: Mask) -> Field:
    """Surroundings and lesion blended by weight, with the lesion's level set so that its mean `over` a mask is right.

    The level is found again after clipping, which takes away from one side only.
    """
    level = np.float32(0)
    strength = max(_mean(site.weight[over]), 0.1)
    for _ in range(_LEVELLING_STEPS):
        painted = around + site.weight * (new + level - around)
        np.clip(painted, LOWEST_HU, HIGHEST_HU, out=painted)
        level += np.float32((target_hu - _mean(painted[over])) / strength)
    return np.where((site.weight > 0) | (around != site.ct), painted, site.ct).astype(np.float32)


def _mean(values: Field) -> float:
    return float(values.mean(dtype=np.float64))
