"""Each gate says what it measured, and lets a good lesion through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from engine.core.anatomy import V1_IDS
from engine.core.contrast_gates import finite
from engine.core.finished import Finished
from engine.core.gates import GATES, check_lesion, touching_voxels
from engine.core.geometry import Box, Grid
from engine.core.limits import Limits
from engine.core.paste import NativeLesion, margin_weight
from engine.core.vocabulary import Cavity, Density, Shape

GRID = Grid((60, 60, 30), np.diag([1.0, 1.0, 2.0, 1]))
LIVER, LUNG, COLON = V1_IDS["liver"], V1_IDS["lung_lower_lobe_right"], V1_IDS["colon"]
MARGIN_MM = 3.0
SIZE_MM = (16.0, 16.0, 16.0)


def cube(start=(10, 10, 10), side=4, margin=2) -> NativeLesion:
    """A cube of `side` voxels that changes nothing."""
    inner = Box(start, tuple(a + side for a in start))
    box = inner.grown(margin)
    label = np.zeros(box.shape, bool)
    label[inner.relative_to(box).slices] = True
    return NativeLesion(box, label, label.astype(np.float32), np.zeros(box.shape, np.float32))


def ball(centre=(30.0, 30.0, 30.0), size_mm=SIZE_MM) -> np.ndarray:
    """Where an ellipsoid lies on the whole grid; centre and size in mm along the grid's axes."""
    axes = np.meshgrid(*(np.arange(n) * mm for n, mm in zip(GRID.shape, GRID.spacing_mm, strict=True)), indexing="ij")
    return sum(((a - c) / (mm / 2)) ** 2 for a, c, mm in zip(axes, centre, size_mm, strict=True)) <= 1


def finished(report, label=None, change=None, organs=None, before=None, placed=None) -> Finished:
    """A lesion in a grid full of liver of 60 +- 10 HU; `change` (HU) on the whole grid, else the report's contrast."""
    label = ball() if label is None else label
    change = np.where(label, report.contrast_hu, 0.0) if change is None else change
    box = Box.of_mask(label).grown((3, 3, 2))
    weight = margin_weight(label[box.slices], GRID, MARGIN_MM)
    lesion = NativeLesion(box, label[box.slices], weight, change[box.slices].astype(np.float32))
    frame = box.grown(4) & Box.whole(GRID.shape)
    if before is None:
        before = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, GRID.shape), 0.8)
        before = 60 + 10 * before / before.std()
    before = np.rint(before[frame.slices]).astype(np.float32)
    after = before.copy()
    after[box.relative_to(frame).slices] += lesion.change_hu
    organs = np.full(GRID.shape, V1_IDS[report.organ], np.uint8) if organs is None else organs
    return Finished(
        lesion=lesion,
        report=report,
        native=GRID,
        margin_mm=MARGIN_MM,
        frame=frame,
        before_hu=before,
        after_hu=np.rint(after),
        organs=organs[frame.slices],
        organ_id=V1_IDS[report.organ],
        placed=placed,
    )


@pytest.fixture
def report(make_report):
    return make_report(size_mm=SIZE_MM, contrast_hu=-40.0)


def line_of(lesion: Finished, **limits) -> str:
    return check_lesion(lesion, Limits(**limits)) or ""


def test_a_good_lesion_passes_every_gate(report):
    good = finished(report, placed=Box.of_mask(ball()))
    assert [gate(good, Limits()) for gate in GATES] == [None] * len(GATES)
    assert check_lesion(good, Limits(), [cube()]) is None


def test_too_few_voxels_name_the_smallest_lesion(report):
    line = line_of(finished(report, ball(size_mm=(3, 3, 5))), min_voxels=20)
    assert line.startswith("vanishes on this grid of 1x1x2 mm: ")
    assert line.endswith("at least 20 are wanted; smallest lesion it can hold is 4.2 mm")


def test_too_thin_a_lesion_names_the_smallest(report):
    line = line_of(finished(report, ball(size_mm=(16, 16, 3))))
    assert line == (
        "is 1 voxels thick on this grid of 1x1x2 mm, at least 2 are wanted; smallest lesion it can hold is 4.0 mm"
    )


def test_a_change_that_is_not_finite_is_counted():
    bad = cube()
    bad.delta_hu[0, 0, :2] = np.nan, np.inf
    assert finite(bad) == f"painted change is not finite at 2 of {bad.delta_hu.size} voxels"
    assert finite(cube()) is None


def test_specks_are_not_a_lesion(report):
    scattered = np.logical_or.reduce([ball((x, y, 30), (6, 6, 6)) for x in (20, 32) for y in (20, 32)])
    assert "falls into 4 pieces, the largest holds 25%" in line_of(finished(report, scattered))


@pytest.mark.parametrize(("side_mm", "line"), [(10, "holds 0."), (22, "holds 5."), (14, ""), (18, "")])
def test_the_volume_is_about_the_one_asked_for(report, side_mm, line):
    assert line_of(finished(report, ball(size_mm=(side_mm,) * 3))).startswith(line)
    assert bool(line) == bool(line_of(finished(report, ball(size_mm=(side_mm,) * 3))))


def test_a_lesion_stays_in_the_box_it_was_given(report):
    given_box = Box.of_mask(ball())
    line = line_of(finished(report, placed=given_box.shifted((8, 0, 0))))
    assert line == (
        "reaches 8.0 mm beyond the box it was given (it spans 18x17x17 mm, 16x16x16 mm were asked, S x A x L)"
    )
    assert not line_of(finished(report, placed=given_box.shifted((1, 0, 0))))


@pytest.mark.parametrize(
    ("cavity", "low", "high"), [(Cavity.PARENCHYMA, 0.85, 1), (Cavity.LUMEN, 0.85, 1), (Cavity.PROTRUDING, 0.1, 0.95)]
)
@pytest.mark.parametrize("edge", range(18, 46, 3))
def test_a_lesion_lies_where_its_cavity_says(report, cavity, low, high, edge):
    organs = np.zeros(GRID.shape, np.uint8)
    organs[edge:] = LIVER
    share = (organs == LIVER)[ball()].mean()
    line = line_of(finished(replace(report, cavity=cavity), organs=organs))
    assert bool(line) == (not low <= share <= high)
    assert not line or line.startswith(f"{share:.0%} of the lesion lies in liver")


@pytest.mark.parametrize("mapped", [True, False])
def test_a_lesion_that_protrudes_does_not_grow_into_lung(report, mapped):
    """Whether the organ map names the lung or not."""
    organs, before = np.full(GRID.shape, LIVER, np.uint8), np.full(GRID.shape, 60.0)
    organs[:26] = LUNG if mapped else 0
    if not mapped:
        before[:26] = -850
    line = line_of(finished(replace(report, cavity=Cavity.PROTRUDING), organs=organs, before=before))
    assert "of the lesion lies in lung, airway, bone or gas outside liver, at most 5% may" in line


def test_a_lesion_of_the_wall_touches_it(make_report):
    report = make_report(
        organ="colon", cavity=Cavity.WALL, shape=(Shape.PROTRUSION,), size_mm=SIZE_MM, contrast_hu=40.0
    )
    organs = np.full(GRID.shape, COLON, np.uint8)
    organs[:22] = 0
    assert not line_of(finished(report, organs=organs))
    assert (
        line_of(finished(report, organs=np.where(organs, organs, COLON)))
        == "lies deep in colon, it should touch the wall"
    )


def test_what_the_label_names_was_painted(report):
    half = np.where(ball() & (np.arange(60) < 30)[:, None, None], -80.0, 0.0)
    assert "of the lesion's voxels were changed, at least 80% should be" in line_of(finished(report, change=half))
    nothing = np.zeros(GRID.shape)
    voxels = int(ball().sum())
    line = line_of(finished(report, change=nothing))
    assert line == f"rounding leaves all {voxels} voxels of the lesion as they were"


@pytest.mark.parametrize(
    ("density", "contrast", "shift", "line"),
    [
        (Density.HYPODENSE, -30.0, 14, "mean shift is +14.0 HU, it should fall (hypodense lesion, -30 HU)"),
        (Density.HYPERDENSE, 30.0, -13, "mean shift is -13.0 HU, it should rise (hyperdense lesion, +30 HU)"),
        (Density.HYPODENSE, -30.0, -29, ""),
        (Density.HYPERDENSE, 30.0, 5, "contrast is +5 HU against what was there; +30 HU was asked: +10 to +54 will do"),
        (
            Density.HYPERDENSE,
            30.0,
            90,
            "contrast is +90 HU against what was there; +30 HU was asked: +10 to +54 will do",
        ),
        (Density.MIXED, 0.0, 5, ""),
        (Density.MIXED, 0.0, -5, ""),
        (Density.MIXED, 0.0, -25, "contrast is -25 HU against what was there; +0 HU was asked: -20 to +20 will do"),
    ],
)
def test_the_contrast_is_the_one_asked_for(report, density, contrast, shift, line):
    asked = replace(report, density=density, contrast_hu=contrast)
    assert line_of(finished(asked, change=np.where(ball(), shift, 0.0))) == line


def test_where_gas_was_the_contrast_counts_from_the_tissue(make_report):
    report = make_report(organ="colon", cavity=Cavity.LUMEN, size_mm=SIZE_MM, contrast_hu=40.0)
    before = np.full(GRID.shape, 30.0)
    before[ball(size_mm=(14, 14, 14))] = -900
    right = np.where(ball(), 70 - before, 0.0)
    assert not line_of(finished(report, change=right, before=before))
    line = line_of(finished(report, change=right + 100 * ball(), before=before))
    assert "and +140 HU against the organ's tissue; +40 HU was asked" in line


def test_an_asked_mean_is_met(report):
    asked = replace(report, ct_value_hu=15.0)
    assert not line_of(finished(asked, change=np.where(ball(), -45.0, 0.0)))
    assert line_of(finished(asked, change=np.where(ball(), -5.0, 0.0))).endswith(
        "15 HU was asked: within 30 HU will do"
    )


def test_values_are_those_of_a_ct(report):
    spot = np.where(ball(size_mm=(4, 4, 6)), 6000.0, -300)
    line = line_of(finished(replace(report, contrast_hu=-240.0), change=np.where(ball(), spot, 0)))
    assert line.startswith("holds -2")
    assert line.endswith("-1100 to 3100 HU are plausible")


def test_values_that_the_type_cut_off_are_a_miss(report):
    lesion = finished(report)
    cut_off = replace(lesion, after_hu=np.maximum(lesion.after_hu, 25))
    assert line_of(cut_off).startswith("the file's type cannot hold ")


def test_a_change_that_does_not_end_with_the_lesion_is_a_miss(report):
    assert line_of(finished(report, change=np.full(GRID.shape, -40.0))).startswith("change does not fade: -40 HU")
    blurred = -40 * ndimage.gaussian_filter(ball().astype(float), (1.5, 1.5, 0.75))
    assert not line_of(finished(report, change=blurred))


@pytest.mark.parametrize("axis", range(3))
def test_a_step_across_a_plane_is_a_miss(report, axis):
    beyond = np.arange(GRID.shape[axis]) * GRID.spacing_mm[axis] > 31
    step = np.where(beyond, 20, -20).reshape([-1 if a == axis else 1 for a in range(3)])
    assert line_of(finished(report, change=np.where(ball(), -40 + step, 0))).startswith(
        "change has a seam: it steps by +"
    )


def test_an_edge_that_the_lesion_levels_is_no_seam(make_report):
    """Gas above fluid: the change steps across the level, and what is written does not."""
    report = make_report(organ="colon", cavity=Cavity.LUMEN, size_mm=SIZE_MM, contrast_hu=40.0)
    before = np.full(GRID.shape, 30.0)
    before[:, 30:] = -900
    assert not line_of(finished(report, change=np.where(ball(), 70 - before, 0), before=before))


@pytest.mark.parametrize("block", [1, 2])
def test_a_checkerboard_is_a_miss(report, block):
    index = np.indices(GRID.shape) // block
    board = 30 * np.where(index.sum(axis=0) % 2, 1, -1)
    line = line_of(finished(report, change=np.where(ball(), -40 + board, 0)), changed=0)
    assert line.startswith(f"pattern alternates: its correlation at {block} voxels' distance is -")


@given(st.tuples(*[st.integers(2, 20)] * 3), st.integers(1, 5), st.integers(0, 2), st.integers(0, 2))
def test_touching_is_judged_voxel_by_voxel(start, side, margin_a, margin_b):
    a, b = cube(margin=margin_a), cube(start=start, side=side, margin=margin_b)
    volumes = []
    for one in (a, b):
        whole = np.zeros((40, 40, 40), bool)
        whole[one.box.slices] = one.label
        volumes.append(np.argwhere(whole))
    near = np.abs(volumes[0][:, None] - volumes[1][None]).max(axis=2) <= 1
    assert touching_voxels(a, b) == near.any(axis=1).sum()


def test_touching_lesions_are_a_miss(report):
    lesion = finished(report)
    line = check_lesion(lesion, Limits(), [cube(start=(38, 30, 15), margin=0)])
    assert line is not None
    assert line.startswith("touches another lesion of this sample at ")


@given(st.sampled_from([Cavity.PARENCHYMA, Cavity.PROTRUDING]), st.floats(-200, 200), st.integers(4, 24))
def test_every_miss_is_one_line(make_report, cavity, shift, side_mm):
    asked = make_report(size_mm=SIZE_MM, contrast_hu=-40.0, cavity=cavity)
    label = ball(size_mm=(side_mm,) * 3)
    line = line_of(finished(asked, label, np.where(label, shift, 0)))
    assert "\n" not in line
    assert "nan" not in line
