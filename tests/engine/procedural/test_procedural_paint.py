"""What the engine relies on in a painted lesion: its mean, its sign, its noise, and where it ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.geometry import Box
from engine.core.requests import PaintRequest, Refusal
from engine.core.sample import Crop
from engine.core.vocabulary import Cavity, Density, DensityVariations, SpecificFeatures, SurfaceCharacteristics
from engine.procedural.paint import REACH_VOX, ProceduralPainter


def painted(request: PaintRequest) -> Crop:
    (answer,) = ProceduralPainter()([request])
    assert isinstance(answer, Crop), answer
    assert answer.box == request.ct.box
    assert answer.values.dtype == np.float32
    return answer


def inside(request: PaintRequest) -> np.ndarray:
    return request.mask.onto(request.ct.box).values >= 0.5


def shift_hu(request: PaintRequest, answer: Crop) -> float:
    change = answer.values.astype(float) - request.ct.values
    return float(change[inside(request)].mean())


looks = st.fixed_dictionaries(
    {
        "density": st.sampled_from(Density),
        "density_variations": st.sampled_from(DensityVariations),
        "surface_characteristics": st.sampled_from(SurfaceCharacteristics),
        "specific_features": st.lists(st.sampled_from(SpecificFeatures), max_size=2, unique=True).map(tuple),
        "cavity": st.sampled_from(Cavity),
    }
)


@settings(max_examples=60, deadline=None)
@given(
    look=looks,
    organ=st.sampled_from(["liver", "spleen", "kidney_left", "pancreas", "lung_left", "colon", "urinary_bladder"]),
    noise=st.floats(2, 35),
    contrast=st.floats(-80, 80).filter(lambda v: abs(v) >= 1),
    gas_from=st.sampled_from([None, 8, 20, 26]),
    seed=st.integers(0, 50),
)
def test_the_mean_moves_the_way_the_report_says(paint_request, look, organ, noise, contrast, gas_from, seed):
    level = -850.0 if organ.startswith("lung") else 45.0
    gas = None if organ.startswith("lung") else gas_from
    request = paint_request(
        level_hu=level, noise=noise, gas_from=gas, seed=seed, organ=organ, contrast_hu=contrast, **look
    )
    (answer,) = ProceduralPainter()([request])
    if isinstance(answer, Refusal):
        assert "can only be moved" in answer.reason
        assert gas is not None  # only gas is too near the end of the scale
        return
    assert np.isfinite(answer.values).all()
    assert answer.values.min() >= -1024
    assert answer.values.max() <= 3071
    assert np.sign(shift_hu(request, answer)) == request.report.contrast_sign


@settings(max_examples=40, deadline=None)
@given(look=looks, contrast=st.floats(-120, 400), noise=st.floats(2, 30), seed=st.integers(0, 50))
def test_the_contrast_is_met_where_there_is_no_gas(paint_request, look, contrast, noise, seed):
    look["cavity"] = Cavity.PARENCHYMA
    request = paint_request(noise=noise, seed=seed, contrast_hu=contrast, **look)
    assert shift_hu(request, painted(request)) == pytest.approx(contrast, abs=1.0)


@settings(max_examples=30, deadline=None)
@given(look=looks, gas_from=st.sampled_from([None, 20]), seed=st.integers(0, 20))
def test_nothing_changes_beyond_3_mm_of_the_mask(paint_request, look, gas_from, seed):
    request = paint_request(gas_from=gas_from, seed=seed, contrast_hu=60.0, **look)
    changed = painted(request).values != request.ct.values
    found = Box.of_mask(changed).shifted(request.ct.box.start)
    assert request.mask.box.grown(REACH_VOX).contains(found)
    assert REACH_VOX == 3


def test_an_asked_mean_is_met(paint_request):
    request = paint_request(ct_value_hu=88.0, contrast_hu=20.0)
    values = painted(request).values
    assert values[inside(request)].mean(dtype=float) == pytest.approx(88, abs=0.5)


def test_an_asked_mean_on_the_wrong_side_is_refused(paint_request):
    (answer,) = ProceduralPainter()([paint_request(ct_value_hu=88.0, contrast_hu=-20.0)])
    assert isinstance(answer, Refusal)
    assert "88 HU" in answer.reason


def test_the_organ_s_own_noise_goes_on(paint_request):
    request = paint_request(noise=14.0)
    values = painted(request).values
    deep = request.mask.onto(request.ct.box).values == 1
    before, after = request.ct.values[deep].astype(float), values[deep].astype(float)
    assert np.corrcoef(before, after)[0, 1] > 0.98
    assert after.std() == pytest.approx(before.std(), rel=0.1)


def test_gas_is_replaced_by_tissue_with_noise(paint_request):
    request = paint_request(organ="colon", cavity=Cavity.WALL, gas_from=22, noise=12.0, contrast_hu=30.0)
    values = painted(request).values
    deep = request.mask.onto(request.ct.box).values == 1
    assert values[deep].min() > -50
    assert values[deep].mean(dtype=float) == pytest.approx(85, abs=8)  # soft tissue of 55 HU and the contrast
    assert 8 < values[deep].std() < 18


def test_gas_cannot_grow_darker(paint_request):
    request = paint_request(organ="colon", cavity=Cavity.LUMEN, gas_from=0, contrast_hu=-200.0)
    (answer,) = ProceduralPainter()([request])
    assert isinstance(answer, Refusal)
    assert "-200 HU was asked" in answer.reason


def test_heterogeneous_is_less_even_than_homogeneous(paint_request):
    def spread(variations: DensityVariations) -> float:
        request = paint_request(noise=2.0, density_variations=variations)
        return float(painted(request).values[request.mask.onto(request.ct.box).values == 1].std())

    assert spread(DensityVariations.HETEROGENEOUS) > 2.5 * spread(DensityVariations.HOMOGENEOUS)


def test_an_ill_defined_margin_is_softer(paint_request):
    def steepest(surface: SurfaceCharacteristics) -> float:
        request = paint_request(noise=0.1, contrast_hu=-60.0, surface_characteristics=surface)
        line = painted(request).values[:, 24, 21]
        return float(np.abs(np.diff(line)).max())

    sharp, soft = (steepest(s) for s in (SurfaceCharacteristics.WELL_DEFINED, SurfaceCharacteristics.ILL_DEFINED))
    assert soft < 0.6 * sharp


def test_ring_enhancement_is_brighter_at_the_rim(paint_request):
    request = paint_request(noise=2.0, density=Density.RING_ENHANCEMENT, contrast_hu=10.0)
    values = painted(request).values
    assert values[20:25, 22:27, 19:24].mean() < values[15:17, 23:26, 20:23].mean() - 15
    assert shift_hu(request, painted(request)) == pytest.approx(10, abs=1)


def test_a_stone_is_dense(paint_request):
    request = paint_request(contrast_hu=300.0, density=Density.HYPERDENSE, specific_features=(SpecificFeatures.STONE,))
    assert shift_hu(request, painted(request)) == pytest.approx(300, abs=1)


def test_an_answer_depends_on_its_request_alone(paint_request):
    requests = [paint_request(seed=s, gas_from=20 if s % 2 else None, organ="colon") for s in range(4)]
    together = ProceduralPainter()(requests)
    for request, answer in zip(requests, together, strict=True):
        assert painted(request).values.tobytes() == answer.values.tobytes()


def test_the_request_is_left_as_it_was(paint_request):
    request = paint_request()
    before = request.ct.values.tobytes(), request.mask.values.tobytes()
    painted(request)
    assert (request.ct.values.tobytes(), request.mask.values.tobytes()) == before
