"""Requests to the procedural backends, on invented tissue."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from engine.core.anatomy import V1_IDS
from engine.core.geometry import Box
from engine.core.report import Report
from engine.core.requests import PaintRequest
from engine.core.sample import Crop
from engine.core.vocabulary import (
    AdjacentOrgans,
    Cavity,
    Density,
    DensityVariations,
    EnhancementStatus,
    LesionType,
    Shape,
    SurfaceCharacteristics,
)


@pytest.fixture(scope="session")
def lesion_report():
    """A complete report, any attribute of it replaced."""

    def make(**changes) -> Report:
        values = {
            "organ": "liver",
            "lesion_type": LesionType.CANCER,
            "enhancement_status": EnhancementStatus.ENHANCED,
            "shape": (Shape.ROUND_LIKE,),
            "density": Density.HYPODENSE,
            "density_variations": DensityVariations.HOMOGENEOUS,
            "surface_characteristics": SurfaceCharacteristics.WELL_DEFINED,
            "adjacent_organs": AdjacentOrgans.NO_CLOSE,
            "specific_features": (),
            "cavity": Cavity.PARENCHYMA,
            "size_mm": (12.0, 14.0, 10.0),
            "contrast_hu": -40.0,
        }
        return Report(**{**values, **changes})

    return make


def noise_hu(shape, sigma: float, seed: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 0.8, mode="wrap")
    return noise * sigma / noise.std()


@pytest.fixture(scope="session")
def paint_request(lesion_report):
    """An ellipsoid in tissue of `level_hu` and `noise` sigma; gas above the plane `gas_from` of the first axis."""

    def make(*, level_hu=55.0, noise=12.0, gas_from=None, radii=(8, 9, 7), seed=0, **changes) -> PaintRequest:
        box = Box((10, 20, 30), (54, 68, 72))
        ct = level_hu + noise_hu(box.shape, noise, seed)
        if gas_from is not None:
            ct[gas_from:] = -980 + noise_hu(box.shape, noise, seed + 1)[gas_from:]
        centre = np.array([22.0, 24.0, 21.0])
        index = np.indices(box.shape).reshape(3, -1).T
        middle = (centre + box.start).astype(int)
        mask_box = Box(tuple(middle - radii - 2), tuple(middle + radii + 3))
        distance = (np.linalg.norm((index - centre) / radii, axis=1) - 1) * min(radii)
        soft = np.clip(0.5 - distance, 0, 1).reshape(box.shape).astype(np.float32)
        mask = Crop(mask_box, np.ascontiguousarray(Crop(box, soft).cut(mask_box)))
        organ = Crop(box, np.ones(box.shape, bool))
        return PaintRequest(
            Crop(box, np.rint(ct).clip(-1024, 3071).astype(np.int16)),
            organ,
            V1_IDS["liver"],
            mask,
            lesion_report(**changes),
            100 + seed,
        )

    return make
