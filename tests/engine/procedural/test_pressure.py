"""Mass effect: neighbours are moved outwards, within the reach, and without a fold or a blur."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from engine.core.vocabulary import AdjacentOrgans, Cavity, Density, Shape, SpecificFeatures
from engine.procedural.paint import ProceduralPainter
from engine.procedural.pressure import pushed, pushes

SHAPE, CENTRE, RADIUS = (48, 48, 48), 24, 10


def distance() -> np.ndarray:
    return np.linalg.norm(np.indices(SHAPE) - CENTRE, axis=0)


def test_a_shell_around_the_lesion_is_moved_outwards():
    inside = distance() <= RADIUS
    shell = 100 * np.exp(-(((distance() - RADIUS - 2) / 1.5) ** 2)).astype(np.float32)
    after = pushed(shell, inside, 6)

    def radius(values: np.ndarray) -> float:
        around = ~inside & (distance() < RADIUS + 8)
        return float((values * distance())[around].sum() / values[around].sum())

    assert radius(after) > radius(shell) + 0.3


def test_nothing_moves_inside_or_beyond_the_reach():
    rng = np.random.default_rng(0)
    ct = rng.normal(50, 20, SHAPE).astype(np.float32)
    inside = distance() <= RADIUS
    changed = pushed(ct, inside, 3) != ct
    away = ndimage.distance_transform_edt(~inside)
    assert changed.any()
    assert not changed[inside | (away >= 3)].any()


def test_noise_around_a_lesion_is_not_blurred():
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.normal(0, 30, SHAPE), 0.8).astype(np.float32)
    inside = distance() <= RADIUS
    near = (ndimage.distance_transform_edt(~inside) < 3) & ~inside
    fine = [values - ndimage.gaussian_filter(values, 1.0) for values in (noise, pushed(noise, inside, 3))]
    assert fine[1][near].std() > 0.9 * fine[0][near].std()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"size_mm": (20.0, 20.0, 20.0)}, True),
        ({"adjacent_organs": AdjacentOrgans.CLOSE}, True),
        ({}, False),
        ({"size_mm": (20.0, 20.0, 20.0), "density": Density.GROUND_GLASS}, False),
        ({"size_mm": (20.0, 20.0, 20.0), "cavity": Cavity.WALL}, False),
        ({"size_mm": (20.0, 20.0, 20.0), "specific_features": (SpecificFeatures.STONE,)}, False),
        ({"size_mm": (20.0, 20.0, 20.0), "shape": (Shape.PUNCTATE,)}, False),
    ],
)
def test_only_a_growing_mass_pushes(lesion_report, changes, expected):
    assert pushes(lesion_report(**changes)) == expected


def test_a_wider_margin_lets_the_painter_reach_farther(paint_request):
    request = paint_request(
        noise=0.1, gas_from=36, size_mm=(20.0, 20.0, 20.0), adjacent_organs=AdjacentOrgans.CLOSE, contrast_hu=-30.0
    )
    away = ndimage.distance_transform_edt(request.mask.onto(request.ct.box).values < 0.5)

    def reach(painter: ProceduralPainter) -> float:
        (answer,) = painter([request])
        return float(away[np.abs(answer.values - request.ct.values) > 1].max())

    assert reach(ProceduralPainter(reach_vox=8)) > reach(ProceduralPainter()) + 1
