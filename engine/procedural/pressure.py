"""Mass effect: what lies around a growing lesion is pushed outwards and compressed.

After SyntheticTumors (Hu et al. 2023, local scaling warping), held to the margin that may change. Only the tissue's
smooth part is moved: interpolating the noise as well would blur it, and leave a rim that no scanner makes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.report import Report
from engine.core.vocabulary import AdjacentOrgans, Cavity, Density, Shape, SpecificFeatures
from engine.procedural.waves import Field

_PUSH_SHARE = 0.4
"""Of the reach: how far the tissue at the lesion's surface is moved. Below 0.5 the push never folds."""
_SMOOTH_VOX = 1.0
_EXPANSILE_MM = 15.0
_YIELDING = frozenset({Density.GROUND_GLASS, Density.SOFT_TISSUE_GROUND_GLASS})


def pushes(report: Report) -> bool:
    """Does this lesion displace its neighbours? Not a thickened wall, a stone, or glass that fills air spaces."""
    if report.density in _YIELDING or SpecificFeatures.STONE in report.specific_features:
        return False
    if report.cavity in (Cavity.WALL, Cavity.LUMEN) or Shape.PUNCTATE in report.shape:
        return False
    return report.adjacent_organs is AdjacentOrgans.CLOSE or report.longest_mm >= _EXPANSILE_MM


def pushed(ct: Field, inside: NDArray[np.bool_], reach_vox: int) -> Field:
    """`ct` with what lies within `reach_vox` of the lesion moved outwards; equal beyond, and inside the lesion.

    Tissue at distance d from the surface comes from `push (1 - d / reach)^2` nearer to it.
    """
    distance, nearest = ndimage.distance_transform_edt(~inside, return_indices=True)
    near = np.argwhere((distance > 0) & (distance < reach_vox))
    if not len(near):
        return ct
    at = tuple(near.T)
    far = distance[at]
    outwards = (near.T - nearest[(slice(None), *at)]) / far
    push = _PUSH_SHARE * reach_vox * (1 - far / reach_vox) ** 2
    smooth = ndimage.gaussian_filter(ct, _SMOOTH_VOX, truncate=3)
    moved = ndimage.map_coordinates(smooth, near.T - outwards * push, order=1, mode="nearest")
    out = ct.copy()
    out[at] += moved.astype(np.float32) - smooth[at]
    return out
