"""Strategies for grids and reports, handed to tests as fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engine.core.geometry import Grid
from engine.core.report import Report
from engine.core.vocabulary import (
    AdjacentOrgans,
    Cavity,
    Density,
    DensityVariations,
    EnhancementStatus,
    LesionType,
    Shape,
    SpecificFeatures,
    SurfaceCharacteristics,
)

settings.register_profile("no_deadline", deadline=None)  # a busy machine is not a failure
settings.load_profile("no_deadline")

GridStrategy = Callable[..., st.SearchStrategy[Grid]]


def make_grid(shape, spacing, euler_deg, order, flips, origin) -> Grid:
    """An orthogonal grid: any tilt, axis order, flips, spacing."""
    turn = Rotation.from_euler("xyz", euler_deg, degrees=True).as_matrix()
    columns = turn[:, list(order)] * np.where(flips, -1.0, 1.0)
    affine = np.eye(4)
    affine[:3, :3] = columns * np.asarray(spacing)
    affine[:3, 3] = origin
    return Grid(tuple(shape), affine)


@pytest.fixture(scope="session")
def grids() -> GridStrategy:
    """`grids(extent_mm=..., spacing=(low, high), tilt_deg=...)`: a strategy of orthogonal grids in any pose."""

    def strategy(*, extent_mm=(20.0, 60.0), spacing=(0.6, 5.0), tilt_deg=30.0) -> st.SearchStrategy[Grid]:
        def build(extent, spacing_mm, euler, order, flips, origin):
            shape = [max(1, round(e / s)) for e, s in zip(extent, spacing_mm, strict=True)]
            return make_grid(shape, spacing_mm, euler, order, flips, origin)

        def numbers(low, high):
            return st.tuples(*[st.floats(low, high)] * 3)

        return st.builds(
            build,
            numbers(*extent_mm),
            numbers(*spacing),
            numbers(-tilt_deg, tilt_deg) | st.just((0.0, 0.0, 0.0)),
            st.permutations(range(3)),
            st.tuples(*[st.booleans()] * 3),
            numbers(-300.0, 300.0),
        )

    return strategy


@pytest.fixture(scope="session")
def make_report() -> Callable[..., Report]:
    """A complete report, any attribute of it replaced."""

    def make(**changes) -> Report:
        values = {
            "organ": "liver",
            "lesion_type": LesionType.CYST,
            "enhancement_status": EnhancementStatus.ENHANCED,
            "shape": (Shape.ROUND_LIKE,),
            "density": Density.FLUID,
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


@pytest.fixture(scope="session")
def any_report(make_report) -> st.SearchStrategy[Report]:
    """Every attribute drawn by itself."""
    length = st.floats(0.5, 200).map(lambda v: round(v, 2))
    hu = st.floats(-900, 900).map(lambda v: round(v, 1))

    def several(vocabulary, least=1):
        return st.lists(st.sampled_from(vocabulary), min_size=least, max_size=3, unique=True).map(tuple)

    return st.fixed_dictionaries(
        {
            "organ": st.sampled_from(["liver", "kidney_left", "urinary_bladder", "lung", "vertebrae_L1"]),
            "lesion_type": st.sampled_from(LesionType),
            "enhancement_status": st.sampled_from(EnhancementStatus),
            "shape": several(Shape),
            "density": st.sampled_from(Density),
            "density_variations": st.sampled_from(DensityVariations),
            "surface_characteristics": st.sampled_from(SurfaceCharacteristics),
            "adjacent_organs": st.sampled_from(AdjacentOrgans),
            "specific_features": several(SpecificFeatures, 0),
            "cavity": st.sampled_from(Cavity),
            "size_mm": st.tuples(length, length, length),
            "contrast_hu": hu,
            "ct_value_hu": st.none() | hu,
            "centre_mm": st.none() | st.tuples(hu, hu, hu),
            "free_text": st.text(st.characters(codec="utf-8"), max_size=20),
        }
    ).map(lambda values: make_report(**values))


@pytest.fixture(scope="session")
def golden(shared_data: Path) -> Path:
    """What the reference computes, stored beside the real cases."""
    folder = shared_data.parent / "reference" / "golden"
    if not folder.is_dir():
        pytest.skip(f"no golden data: {folder} is absent")
    return folder
