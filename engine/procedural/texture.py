"""The pattern inside a lesion: uneven density and rims, with a mean of zero over the lesion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.report import Report
from engine.core.vocabulary import Density, DensityVariations, SpecificFeatures
from engine.procedural.waves import Field

_CORRELATION_VOX = 2.5
"""Blobs of about 4 mm on the 1 mm model grid."""
_EVEN_HU, _UNEVEN_HU, _AREAS_HU = 1.5, 12.0, 18.0
_RIM_HU, _RIM_VOX = 35.0, 2.5

_AREAS = (SpecificFeatures.DECREASED_AREAS, SpecificFeatures.INCREASED_AREAS)


def inner_texture(inside: NDArray[np.bool_], report: Report, rng: np.random.Generator) -> Field:
    """HU to add on the box of `inside` (the mask); its mean over the mask is zero."""
    field = rng.standard_normal(inside.shape, dtype=np.float32)
    field = ndimage.gaussian_filter(field, _CORRELATION_VOX, mode="wrap", truncate=3)
    texture = _centred(field, inside)
    spread = max(float(texture[inside].std(dtype=np.float64)), 1e-6)
    # A strong contrast (a nodule in lung) bears a stronger pattern.
    texture *= np.float32(_strength_hu(report) * max(1.0, abs(report.contrast_hu) / 100) / spread)
    np.clip(texture, -3 * _AREAS_HU - abs(report.contrast_hu), 3 * _AREAS_HU + abs(report.contrast_hu), out=texture)
    if report.density is Density.RING_ENHANCEMENT:
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
        rim = np.exp(-((np.maximum(depth - 1, 0) / _RIM_VOX) ** 2)).astype(np.float32)
        texture += np.float32(_RIM_HU) * rim
    return _centred(texture, inside)


def _strength_hu(report: Report) -> float:
    """Standard deviation of the pattern."""
    if SpecificFeatures.STONE in report.specific_features:
        return _EVEN_HU
    if any(feature in _AREAS for feature in report.specific_features):
        return _AREAS_HU
    return _UNEVEN_HU if report.density_variations is DensityVariations.HETEROGENEOUS else _EVEN_HU


def _centred(field: Field, inside: NDArray[np.bool_]) -> Field:
    return np.asarray(field - np.float32(field[inside].mean(dtype=np.float64)), np.float32)
