"""What lies where a lesion is to be: its mean, its noise, and how much of it the lesion may keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.anatomy import Organ
from engine.core.geometry import Shape3
from engine.procedural.waves import Field

Mask = NDArray[np.bool_]

GAS_HU = -250.0
"""Below fat: gas, or lung."""

_GASSY_SHARE = 0.01
_SOFT_TISSUE_HU = 150.0
_NOISE_HU = (3.0, 40.0)
_NOISE_VOX = 0.9
"""Correlation of continued noise: what a native grid near 1 mm shows after resampling."""
_SMOOTH_VOX = 2.0
_STRUCTURE_VOX, _MOST_NOISE = 3.0, 3.5
"""What is smoother than this is structure; what exceeds so many sigma is not noise."""
_STRUCTURE_HU = (30.0, 70.0)
"""Standard deviation beyond noise up to which the noise can be told from the tissue, and from which it cannot."""
_CONTRAST_HU = (120.0, 420.0)
"""The same for the strength of the contrast: a stone or a solid nodule in lung hides what was there."""
_FEW_VOXELS = 30


@dataclass(frozen=True)
class Tissue:
    """`mean_hu`, `spread_hu` over the mask; `soft_hu` the organ's soft tissue; `noise_hu` its noise's sigma."""

    mean_hu: float
    spread_hu: float
    soft_hu: float
    noise_hu: float
    gassy: bool
    airy: bool

    def kept_share(self, contrast_hu: float) -> float:
        """1 where the tissue's own noise goes on under the lesion, 0 where it has to be made anew."""
        if self.gassy:
            return 0.0
        kept = 1 - _ramp(abs(contrast_hu), *_CONTRAST_HU)
        if self.airy:
            return kept
        structure_hu = max(self.spread_hu**2 - self.noise_hu**2, 0.0) ** 0.5
        return kept * (1 - _ramp(structure_hu, *_STRUCTURE_HU))


def split(ct: Field, noise_hu: float) -> tuple[Field, Field]:
    """A CT crop as its smooth part (vessels, edges) and its noise, from which remains of edges are cut off."""
    smooth = ndimage.gaussian_filter(ct, _STRUCTURE_VOX, mode="nearest", truncate=3)
    most = np.float32(_MOST_NOISE * noise_hu)
    return smooth, np.clip(ct - smooth, -most, most)


def measure(ct: Field, organ: Mask, inside: Mask, host: Organ) -> Tissue:
    """The tissue of a site: `ct` HU, `organ` and `inside` (the mask) on one box; some voxel is inside."""
    values = ct[inside]
    gas = ct < GAS_HU
    known = organ if np.count_nonzero(organ) >= _FEW_VOXELS else inside
    soft = known if host.airy else known & ~gas
    if np.count_nonzero(soft) < _FEW_VOXELS:  # all gas: what is soft around it, else soft tissue in general
        soft = ~gas
    soft_hu = float(np.median(ct[soft])) if soft.any() else 40.0
    return Tissue(
        mean_hu=float(values.mean(dtype=np.float64)),
        spread_hu=float(values.std(dtype=np.float64)),
        soft_hu=soft_hu,
        noise_hu=_noise_hu(ct, soft if host.airy else _plain(ct, soft)),
        gassy=not host.airy and float(gas[inside].mean()) > _GASSY_SHARE,
        airy=host.airy,
    )


def _plain(ct: Field, soft: Mask) -> Mask:
    """Voxels of soft tissue, where what is uneven is noise: bone has a pattern of its own."""
    plain = np.abs(ct) < _SOFT_TISSUE_HU
    return plain if np.count_nonzero(plain) >= _FEW_VOXELS else soft


def continued_noise(shape: Shape3, sigma_hu: float, rng: np.random.Generator) -> Field:
    """Correlated noise of a given sigma."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, _NOISE_VOX, mode="wrap", truncate=3)
    return np.asarray(noise * np.float32(sigma_hu / max(float(noise.std(dtype=np.float64)), 1e-6)), np.float32)


def _noise_hu(ct: Field, where: Mask) -> float:
    """Sigma of the fine pattern, robust against edges (median absolute deviation)."""
    if not where.any():
        return 12.0
    # Smoothed over these voxels alone, so that a wall against gas does not count as noise.
    known = where.astype(np.float32)
    smooth, share = (ndimage.gaussian_filter(a, _SMOOTH_VOX, truncate=2) for a in (ct * known, known))
    fine = ct[where] - smooth[where] / share[where]
    sigma = 1.4826 * float(np.median(np.abs(fine - np.median(fine))))
    return float(np.clip(sigma, *_NOISE_HU))


def _ramp(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0, 1))
