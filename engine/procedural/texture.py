"""The pattern inside a lesion: uneven density, patches, rims and cores, with a mean of zero over the lesion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.report import Report
from engine.core.vocabulary import Density, DensityVariations, SpecificFeatures
from engine.procedural.waves import Field

_COARSE_VOX, _FINE_VOX = 2.5, 1.2
"""Blobs of about 6 and 3 mm on the 1 mm model grid."""
_EVEN_HU, _UNEVEN_HU = 1.0, 17.0
_PATCH_HU, _PATCH_SHARE = 28.0, 0.3
"""Of areas of decreased or increased density: their depth, and how much of the lesion they take."""
_RIM_HU, _RIM_SHARE, _RIM_VOX = 45.0, 0.25, (1.5, 4.0)
"""Of ring enhancement: its height over the core, its width as a share of the radius, and that width's bounds."""
_CORE_SHARE, _CORE_OF_CONTRAST, _CORE_HU = 0.55, 0.9, (12.0, 350.0)
"""Of a solid core in ground glass: its depth as a share of the radius, its height over the glass."""

Mask = NDArray[np.bool_]


def inner_texture(inside: Mask, report: Report, rng: np.random.Generator) -> Field:
    """HU to add on the box of `inside` (the mask); its mean over the mask is zero."""
    # A strong contrast (a nodule in lung) bears a stronger pattern.
    strength = np.float32(max(1.0, abs(report.contrast_hu) / 150))
    coarse, fine, patches = (_blobs(inside, vox, rng) for vox in (_COARSE_VOX, _FINE_VOX, _COARSE_VOX))
    uneven = report.density_variations is DensityVariations.HETEROGENEOUS and SpecificFeatures.STONE not in (
        report.specific_features
    )
    spread_hu = np.float32(_UNEVEN_HU if uneven else _EVEN_HU) * strength
    texture = spread_hu * (np.float32(0.9) * coarse + np.float32(0.45) * fine)
    texture += strength * np.float32(_PATCH_HU * _patch_sign(report)) * _highest(patches, inside)
    match report.density:
        case Density.RING_ENHANCEMENT:
            texture += strength * np.float32(_RIM_HU) * _rim(inside)
        case Density.SOFT_TISSUE_GROUND_GLASS:
            texture += np.float32(np.clip(_CORE_OF_CONTRAST * abs(report.contrast_hu), *_CORE_HU)) * _core(inside)
    return np.asarray(texture - np.float32(texture[inside].mean(dtype=np.float64)), np.float32)


def _blobs(inside: Mask, correlation_vox: float, rng: np.random.Generator) -> Field:
    """A smooth random field, of mean 0 and standard deviation 1 over the lesion, within three of them."""
    field = rng.standard_normal(inside.shape, dtype=np.float32)
    field = ndimage.gaussian_filter(field, correlation_vox, mode="wrap", truncate=3)
    values = field[inside]
    spread = max(float(values.std(dtype=np.float64)), 1e-6)
    return np.asarray(np.clip((field - np.float32(values.mean(dtype=np.float64))) / np.float32(spread), -3, 3))


def _patch_sign(report: Report) -> int:
    raised = SpecificFeatures.INCREASED_AREAS in report.specific_features
    return int(raised) - int(SpecificFeatures.DECREASED_AREAS in report.specific_features)


def _highest(blobs: Field, inside: Mask) -> Field:
    """1 in patches where a field is highest, softly down to 0 in the rest."""
    level = np.float32(np.quantile(blobs[inside], 1 - _PATCH_SHARE))
    return np.asarray(np.clip((blobs - level) / np.float32(0.6) + np.float32(0.5), 0, 1), np.float32)


def _depth(inside: Mask) -> Field:
    """Distance (voxels) of each voxel of the lesion from its surface."""
    deep = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
    return np.asarray(np.maximum(deep - 0.5, 0), np.float32)


def _rim(inside: Mask) -> Field:
    """1 at the surface, falling inwards: an enhancing wall about a core that takes up no contrast."""
    depth = _depth(inside)
    width = np.float32(np.clip(_RIM_SHARE * float(depth.max()), *_RIM_VOX))
    return np.asarray(np.exp(-((depth / width) ** 2)), np.float32)


def _core(inside: Mask) -> Field:
    """1 in the middle, 0 near the surface."""
    depth = _depth(inside)
    start = np.float32(_CORE_SHARE * float(depth.max()))
    return np.asarray(np.clip((depth - start) / np.float32(2.0) + np.float32(0.5), 0, 1), np.float32)
