"""The template writer: complete, coherent, obedient, repeatable."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.anatomy import V1_IDS, V1_NAMES, find_organ
from engine.core.errors import PlacementError, ReportError
from engine.core.habits import HABITS, habit_of, likely_types
from engine.core.organ_site import OrganView
from engine.core.report import Report, Wanted
from engine.core.template import draw_wanted, fill_report
from engine.core.vocabulary import (
    Cavity,
    Density,
    DensityVariations,
    LesionType,
    Shape,
    SpecificFeatures,
    SurfaceCharacteristics,
)

ORGANS = st.sampled_from(V1_NAMES)
EXTENT = st.tuples(*[st.floats(15, 250)] * 3)
SEEDS = st.integers(0, 2**32 - 1)
TWO_SIDED = (Density.ISODENSE, Density.MIXED, Density.RING_ENHANCEMENT)
RENAL = (SurfaceCharacteristics.CLEAR_RENAL, SurfaceCharacteristics.UNCLEAR_RENAL)
SEROSAL = (SurfaceCharacteristics.CLEAR_SEROSA, SurfaceCharacteristics.IRREGULAR_SEROSA)


def written(wanted: Wanted, extent=(120.0, 90.0, 100.0), seed=0, organ_hu=50.0) -> Report:
    return fill_report(wanted, OrganView(extent, organ_hu), np.random.default_rng(seed))


@settings(max_examples=300)
@given(ORGANS, EXTENT, SEEDS)
def test_an_open_report_is_complete_and_coherent(organ, extent, seed):
    report = written(Wanted(organ=organ), extent, seed)
    assert Report.loads(report.dumps()) == report
    assert report.lesion_type in likely_types(organ)
    longest, smallest = max(report.size_mm), min(extent)
    assert longest <= max(0.45 * smallest, 6.0) + 0.1
    assert longest <= smallest
    assert longest >= (4.0 if report.shape[0] in (Shape.PUNCTATE, Shape.PROTRUSION, Shape.ROUND_LIKE) else 5.9) - 0.1
    assert abs(report.contrast_hu) >= 8
    if report.density in (Density.HYPODENSE, Density.HYPERDENSE):
        assert (report.contrast_hu > 0) == (report.density is Density.HYPERDENSE)
    if report.density is Density.FLUID:
        assert report.contrast_hu < 0
    if report.density in TWO_SIDED and not find_organ(organ).airy:
        assert abs(report.contrast_hu) <= 40
    renal_stone = organ.startswith("kidney") and report.lesion_type is LesionType.STONE
    assert (find_organ(organ).hollow or renal_stone) == (report.cavity in (Cavity.LUMEN, Cavity.WALL))
    if report.density in (Density.MIXED, Density.RING_ENHANCEMENT):
        assert report.density_variations is DensityVariations.HETEROGENEOUS


@settings(max_examples=200)
@given(ORGANS, SEEDS)
def test_surface_terms_belong_to_the_organ(organ, seed):
    surface = written(Wanted(organ=organ), seed=seed).surface_characteristics
    if surface in RENAL:
        assert organ.startswith("kidney")
    if surface in SEROSAL:
        assert find_organ(organ).hollow
    if surface is SurfaceCharacteristics.UNCLEAR_ESOPHAGEAL:
        assert organ == "esophagus"


@settings(max_examples=60)
@given(st.data(), EXTENT, SEEDS)
def test_what_the_user_fixed_always_wins(any_report, data, extent, seed):
    full = data.draw(any_report)
    names = [f.name for f in fields(Wanted) if f.name != "organ"]
    kept = data.draw(st.sets(st.sampled_from(names)))
    wanted = Wanted(organ=full.organ, **{name: getattr(full, name) for name in kept})
    report = written(wanted, extent, seed)
    for name in kept:
        if getattr(wanted, name) is not None:
            assert getattr(report, name) == getattr(wanted, name)
    assert report.organ == full.organ


@settings(max_examples=100)
@given(ORGANS, st.sampled_from(LesionType), SEEDS)
def test_every_type_can_be_asked_of_every_organ(organ, lesion_type, seed):
    wanted = Wanted(organ=organ, lesion_type=lesion_type)
    report = written(wanted, seed=seed)
    assert report.lesion_type is lesion_type
    assert report == written(wanted, seed=seed)


@settings(max_examples=100)
@given(ORGANS, st.floats(-400, 400).filter(lambda v: abs(v) >= 1), SEEDS)
def test_density_agrees_with_an_asked_contrast(organ, contrast, seed):
    report = written(Wanted(organ=organ, contrast_hu=contrast), seed=seed)
    if report.density is Density.HYPODENSE:
        assert contrast < 0
    if report.density is Density.HYPERDENSE:
        assert contrast > 0
    assert report.density not in TWO_SIDED


@settings(max_examples=100)
@given(ORGANS, st.sampled_from(Density), SEEDS)
def test_contrast_agrees_with_an_asked_density(organ, density, seed):
    report = written(Wanted(organ=organ, density=density), seed=seed)
    if density is Density.HYPODENSE:
        assert report.contrast_hu < 0
    if density is Density.HYPERDENSE:
        assert report.contrast_hu > 0
    if density is Density.FLUID and not find_organ(organ).airy:
        assert report.contrast_hu < 0


def test_an_asked_mean_leaves_the_sign_to_the_density():
    assert written(Wanted(organ="liver", density=Density.HYPODENSE, ct_value_hu=40.0)).contrast_hu < 0
    assert written(Wanted(organ="liver", density=Density.MIXED, ct_value_hu=40.0)).contrast_sign == 0


def test_cysts_stones_and_nodules_look_like_themselves():
    for seed in range(20):
        for organ_hu in (45.0, 120.0):  # without and with contrast medium
            cyst = written(Wanted(organ="liver", lesion_type=LesionType.CYST), seed=seed, organ_hu=organ_hu)
            assert cyst.density in (Density.FLUID, Density.HYPODENSE)
            assert 0 <= organ_hu + cyst.contrast_hu <= 25
            assert cyst.density_variations is DensityVariations.HOMOGENEOUS
            assert cyst.surface_characteristics is SurfaceCharacteristics.WELL_DEFINED
        for organ in ("gallbladder", "kidney_left"):
            stone = written(Wanted(organ=organ, lesion_type=LesionType.STONE), seed=seed, organ_hu=10)
            assert (stone.density, stone.shape) == (Density.HYPERDENSE, (Shape.PUNCTATE,))
            assert 80 <= 10 + stone.contrast_hu <= 900
            assert 4 <= stone.longest_mm <= 12
            assert (stone.cavity, stone.specific_features) == (Cavity.LUMEN, (SpecificFeatures.STONE,))
        nodule = written(Wanted(organ="lung_left", density=Density.SOFT_TISSUE), seed=seed, organ_hu=-850)
        assert 10 <= -850 + nodule.contrast_hu <= 60
        assert written(Wanted(organ="colon"), seed=seed).contrast_hu > 0


@settings(max_examples=60)
@given(ORGANS, SEEDS, st.floats(0, 12))
def test_lesions_are_large_enough_for_the_voxels_where_the_organ_allows(organ, seed, least_mm):
    view = OrganView((120.0, 90.0, 100.0), 50.0, least_mm)
    report = fill_report(Wanted(organ=organ), view, np.random.default_rng(seed))
    assert min(report.size_mm) >= least_mm - 0.1
    assert report.longest_mm <= 0.45 * 90 + 0.1


def test_reports_vary_with_the_generator():
    assert len({written(Wanted(organ="liver"), seed=s).dumps() for s in range(20)}) == 20
    assert len({written(Wanted(organ="liver"), seed=s).lesion_type for s in range(60)}) == len(likely_types("liver"))


def test_a_size_that_cannot_fit_is_left_to_placement():
    assert written(Wanted(organ="liver", size_mm=(300.0, 300.0, 300.0)), (50.0, 50.0, 50.0)).size_mm == (300.0,) * 3


def test_an_organ_is_needed():
    with pytest.raises(ReportError, match="needs an organ"):
        written(Wanted())


def test_every_organ_has_every_type_and_its_ranges_are_in_order():
    for organ in V1_NAMES:
        for lesion_type in LesionType:
            habit = habit_of(organ, lesion_type)
            assert habit.looks
            assert 0 < habit.size_mm[0] < habit.size_mm[1]
            assert all(span.low < span.high for span in habit.looks.values())


def test_the_table_is_of_use():
    """Every row is reached, by an organ of its name or family."""
    rows = {id(habit_of(organ, lesion_type)) for organ in V1_NAMES for lesion_type in LesionType}
    assert rows == {id(habit) for habit in HABITS.values()}


@dataclass(frozen=True)
class Entry:
    wanted: Wanted
    weight: float = 1.0


MIX = (Entry(Wanted(organ="liver"), 3.0), Entry(Wanted(organ="kidney", lesion_type=LesionType.CYST)))


def draw(mix, present, count=1, seed=0, skip_absent=True):
    return draw_wanted(mix, present, count, np.random.default_rng(seed), skip_absent)


def test_the_mix_is_drawn_by_weight():
    drawn = draw(MIX, {V1_IDS["liver"]: 9, V1_IDS["kidney_left"]: 9}, 2000)
    liver = sum(w.organ == "liver" for w in drawn) / 2000
    assert 0.71 < liver < 0.79
    assert all(w.lesion_type is LesionType.CYST for w in drawn if w.organ == "kidney")
    assert draw(MIX, [5, 3], 10) == draw(MIX, [5, 3], 10)


def test_absent_organs_are_skipped_or_drawn_as_asked():
    assert {w.organ for w in draw(MIX, [V1_IDS["kidney_right"]], 50)} == {"kidney"}
    assert {w.organ for w in draw(MIX, [V1_IDS["liver"]], 50, skip_absent=False)} == {"liver", "kidney"}


def test_a_mix_out_of_view_is_an_error():
    with pytest.raises(PlacementError) as caught:
        draw(MIX, {V1_IDS["brain"]: 100})
    assert str(caught.value) == "none of the organs asked for (liver, kidney) is in view; in view: brain"


def test_no_mix_means_the_usual_organs_in_view():
    assert {w.organ for w in draw((), [V1_IDS["liver"], V1_IDS["spleen"]], 50)} == {"liver", "spleen"}
