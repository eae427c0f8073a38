"""What the engine relies on in a mask: where it lies, how large it is, that it is one piece."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

from engine.core.geometry import Box
from engine.core.requests import MaskRequest, Refusal
from engine.core.sample import Crop
from engine.core.vocabulary import Cavity, Shape, SpecificFeatures
from engine.procedural.mask import ProceduralMasker

LIVER, LUNG, BONE = 5, 16, 22
ROUGH = (Shape.IRREGULAR, Shape.WALL_THICKENING, Shape.LUMINAL_NARROWING)
sides = st.integers(3, 34)
seeds = st.integers(0, 2**62)


def a_request(report, size, seed, organs=None) -> MaskRequest:
    """A box of `size` (mm, as in the report) in the middle of an organ crop that starts away from the origin."""
    report = replace(report, size_mm=tuple(float(n) for n in size))
    box = Box((40, 50, 60), tuple(a + n for a, n in zip((40, 50, 60), size, strict=True)))
    frame = box.grown(12)
    values = np.full(frame.shape, LIVER, np.uint8) if organs is None else organs(frame)
    return MaskRequest(Crop(frame, values), (LIVER,), box, report, seed)


def drawn(request: MaskRequest) -> Crop:
    (answer,) = ProceduralMasker()([request])
    assert isinstance(answer, Crop), answer
    return answer


@settings(max_examples=60, deadline=None)
@given(size=st.tuples(sides, sides, sides), seed=seeds, shape=st.sampled_from(Shape))
@example(size=(22, 24, 31), seed=540, shape=Shape.LUMINAL_NARROWING)
@example(size=(8, 30, 8), seed=540, shape=Shape.WALL_THICKENING)
def test_a_mask_fills_its_box_and_is_centred_in_it(lesion_report, size, seed, shape):
    request = a_request(lesion_report(shape=(shape,)), size, seed)
    mask = drawn(request)
    assert mask.values.dtype == np.float32
    assert mask.values.min() >= 0
    assert mask.values.max() <= 1
    assert request.organs.box.contains(mask.box)
    inside = mask.values >= 0.5
    found = Box.of_mask(inside).shifted(mask.box.start)
    assert request.box.contains(found)
    assert found.grown(1).contains(request.box)  # touches every side to within a voxel
    for weight in (inside, mask.values):
        centre = np.array(ndimage.center_of_mass(weight.astype(float))) + mask.box.start
        assert np.abs(centre - request.box.centre).max() <= (1.0 if shape in ROUGH else 0.5)
    assert ndimage.label(inside)[1] == 1


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(*[st.integers(4, 26)] * 3),
    more=st.tuples(*[st.integers(2, 8)] * 3),
    seed=seeds,
    shape=st.sampled_from([Shape.ROUND_LIKE, Shape.IRREGULAR]),
)
def test_a_larger_box_gives_a_larger_lesion(lesion_report, size, more, seed, shape):
    report = lesion_report(shape=(shape,))
    larger = tuple(a + b for a, b in zip(size, more, strict=True))
    small, large = (drawn(a_request(report, s, seed)).values.sum(dtype=float) for s in (size, larger))
    assert small < large


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(*[st.integers(5, 30)] * 3),
    seed=seeds,
    shape=st.sampled_from([Shape.ROUND_LIKE, Shape.CYSTIC, Shape.PUNCTATE, Shape.IRREGULAR]),
    features=st.sampled_from([(), (SpecificFeatures.SPICULATED,)]),
)
def test_the_volume_is_that_of_the_ellipsoid_asked_for(lesion_report, size, seed, shape, features):
    mask = drawn(a_request(lesion_report(shape=(shape,), specific_features=features), size, seed))
    assert mask.values.sum() == pytest.approx(np.pi / 6 * np.prod(size), rel=0.1)


def test_the_ramp_is_about_a_voxel_wide(lesion_report):
    mask = drawn(a_request(lesion_report(), (30, 30, 30), 3)).values
    between = (mask > 0) & (mask < 1)
    inside = mask >= 0.5
    surface = inside & ~ndimage.binary_erosion(inside)
    assert 0.7 < between.sum() / surface.sum() < 1.6


def test_irregular_is_rougher_than_round(lesion_report):
    def roughness(shape: Shape, seed: int) -> float:
        """How far the shape is from the ellipsoid of its box."""
        request = a_request(lesion_report(shape=(shape,)), (30, 30, 30), seed)
        mask = drawn(request)
        index = np.moveaxis(np.indices(mask.values.shape), 0, -1) + mask.box.start - request.box.centre
        ball = np.linalg.norm(index / 15, axis=-1) < 1
        return float((ball ^ (mask.values >= 0.5)).mean())

    seeds_ = range(8)
    assert np.mean([roughness(Shape.IRREGULAR, s) for s in seeds_]) > 1.5 * np.mean(
        [roughness(Shape.ROUND_LIKE, s) for s in seeds_]
    )


def half_liver(other: int, share: float):
    """The liver fills the low side of the first axis, up to `share` of the box; `other` lies above."""

    def organs(frame: Box) -> np.ndarray:
        values = np.full(frame.shape, other, np.uint8)
        values[: 12 + round(share * (frame.shape[0] - 24))] = LIVER
        return values

    return organs


@pytest.mark.parametrize("cavity", [Cavity.PARENCHYMA, Cavity.LUMEN, Cavity.WALL])
@settings(max_examples=15, deadline=None)
@given(seed=seeds, share=st.floats(0.4, 1.0), shape=st.sampled_from(Shape))
def test_a_lesion_of_the_organ_never_leaves_it(lesion_report, cavity, seed, share, shape):
    request = a_request(lesion_report(cavity=cavity, shape=(shape,)), (20, 18, 16), seed, half_liver(0, share))
    (answer,) = ProceduralMasker()([request])
    if isinstance(answer, Refusal):
        assert "ml asked for may lie here" in answer.reason
        return
    assert (request.organs.cut(answer.box)[answer.values >= 0.5] == LIVER).all()
    assert ndimage.label(answer.values >= 0.5)[1] == 1


@pytest.mark.parametrize(("other", "enters"), [(0, True), (10, True), (LUNG, False), (BONE, False)])
def test_a_protruding_lesion_leaves_its_organ_but_enters_neither_lung_nor_bone(lesion_report, other, enters):
    request = a_request(lesion_report(cavity=Cavity.PROTRUDING), (20, 18, 16), 5, half_liver(other, 0.5))
    mask = drawn(request)
    outside = request.organs.cut(mask.box)[mask.values >= 0.5] != LIVER
    assert outside.any() == enters


def test_too_little_room_is_refused_with_numbers(lesion_report):
    request = a_request(lesion_report(), (20, 18, 16), 5, half_liver(0, 0.1))
    (answer,) = ProceduralMasker()([request])
    assert isinstance(answer, Refusal)
    assert "at least 80% should" in answer.reason


def test_an_answer_depends_on_its_request_alone(lesion_report):
    requests = [a_request(lesion_report(), (9 + s, 14, 11), s) for s in range(4)]
    together = ProceduralMasker()(requests)
    for request, answer in zip(requests[::-1], together[::-1], strict=True):
        alone = drawn(request)
        assert alone.box == answer.box
        assert alone.values.tobytes() == answer.values.tobytes()
    assert drawn(a_request(lesion_report(), (15, 15, 15), 1)).values.tobytes() != (
        drawn(a_request(lesion_report(), (15, 15, 15), 2)).values.tobytes()
    )


def tube(frame: Box) -> np.ndarray:
    """A hollow organ along the first axis, 36 mm wide; the middle of the box asked for lies 6 mm deep in it."""
    _, y, z = np.indices(frame.shape)
    across = np.hypot(y - frame.shape[1] / 2, z - frame.shape[2] / 2 - 12)
    return np.where(across < 18, LIVER, 0).astype(np.uint8)


@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_a_thickened_wall_hugs_the_outer_surface_and_leaves_the_lumen_open(lesion_report, seed):
    report = lesion_report(cavity=Cavity.WALL, shape=(Shape.WALL_THICKENING,))
    request = a_request(report, (24, 24, 24), seed, tube)
    mask = drawn(request)
    depth = ndimage.distance_transform_edt(request.organs.values == LIVER)
    depth = depth[mask.box.relative_to(request.organs.box).slices]
    inside = mask.values >= 0.5
    assert (depth[inside] > 0).all()
    assert (depth[inside] <= 1.5).any()
    assert np.quantile(depth[inside], 0.95) < 13
    assert mask.values.sum() == pytest.approx(0.4 * np.pi / 6 * 24**3, rel=0.1)


def test_spicules_make_a_star_of_a_ball(lesion_report):
    def sphericity(features: tuple[SpecificFeatures, ...], seed: int) -> float:
        mask = np.pad(drawn(a_request(lesion_report(specific_features=features), (30, 30, 30), seed)).values, 1)
        corners, faces, _, _ = marching_cubes(mask, 0.5)
        return float(np.pi ** (1 / 3) * (6 * mask.sum()) ** (2 / 3) / mesh_surface_area(corners, faces))

    for seed in range(4):
        assert sphericity((SpecificFeatures.SPICULATED,), seed) < sphericity((), seed) - 0.05
