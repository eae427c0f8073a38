"""Each gate says what it measured, and lets a good lesion through."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.gates import check_lesion, touching_voxels
from engine.core.geometry import Box, Grid
from engine.core.paste import NativeLesion
from engine.core.vocabulary import Cavity, Density

GRID = Grid((40, 40, 40), np.diag([0.8, 0.8, 5.0, 1]))


def lesion(start=(10, 10, 10), side=4, margin=2, delta=-30.0) -> NativeLesion:
    """A cube of `side` voxels."""
    inner = Box(start, tuple(a + side for a in start))
    box = inner.grown(margin)
    label = np.zeros(box.shape, bool)
    label[inner.relative_to(box).slices] = True
    return NativeLesion(box, label, label.astype(np.float32), np.full(box.shape, delta, np.float32))


def test_a_good_lesion_passes(make_report):
    good = lesion()
    organ = np.ones(good.box.shape, bool)
    far = lesion(start=(30, 30, 30))
    line = check_lesion(
        good, make_report(), GRID, shift_hu=-30, changed_voxels=64, organ=organ, others=[far], min_voxels=64
    )
    assert line is None


def test_too_few_voxels_names_the_smallest_lesion(make_report):
    line = check_lesion(lesion(side=1), make_report(), GRID, shift_hu=-30, min_voxels=3)
    assert line == (
        "vanishes on this grid of 0.8x0.8x5 mm: 1 voxels, at least 3 are wanted; smallest lesion it can hold is 5.1 mm"
    )
    assert "vanishes" in check_lesion(lesion(side=0), make_report(), GRID, shift_hu=float("nan"), min_voxels=0)


@pytest.mark.parametrize(
    ("density", "contrast", "shift", "line"),
    [
        (Density.HYPODENSE, -30.0, 4.2, "mean shift is +4.2 HU, it should fall (hypodense lesion, -30 HU)"),
        (Density.HYPERDENSE, 30.0, -0.3, "mean shift is -0.3 HU, it should rise (hyperdense lesion, +30 HU)"),
        (Density.HYPERDENSE, 30.0, 0.0, "mean shift is +0.0 HU, it should rise (hyperdense lesion, +30 HU)"),
        (Density.HYPODENSE, -30.0, -0.1, None),
        (Density.MIXED, 0.0, 5.0, None),
        (Density.MIXED, 0.0, -5.0, None),
    ],
)
def test_the_mean_goes_where_the_report_says(make_report, density, contrast, shift, line):
    report = make_report(density=density, contrast_hu=contrast)
    assert check_lesion(lesion(), report, GRID, shift_hu=shift) == line


@given(st.floats(1, 500), st.floats(0.01, 500), st.sampled_from([-1, 1]), st.sampled_from([-1, 1]))
def test_only_the_sign_of_the_shift_matters(make_report, contrast, shift, asked, got):
    line = check_lesion(lesion(), make_report(contrast_hu=asked * contrast), GRID, shift_hu=got * shift)
    assert (line is None) == (asked == got)


def test_a_shift_that_is_not_a_number_is_a_miss(make_report):
    assert check_lesion(lesion(), make_report(), GRID, shift_hu=float("nan")) is not None


def test_a_change_that_is_not_finite_is_counted(make_report):
    bad = lesion()
    bad.delta_hu[0, 0, :2] = np.nan, np.inf
    line = check_lesion(bad, make_report(), GRID, shift_hu=-30)
    assert line == f"painted change is not finite at 2 of {bad.delta_hu.size} voxels"


def test_a_change_lost_in_rounding_is_a_miss(make_report):
    line = check_lesion(lesion(), make_report(contrast_hu=0.0), GRID, shift_hu=0.0, changed_voxels=0)
    assert line == "rounding leaves all 64 voxels of the lesion as they were"


def test_a_parenchymal_lesion_stays_in_its_organ(make_report):
    one = lesion()
    organ = np.zeros(one.box.shape, bool)
    organ[:4] = True  # half of the label
    line = check_lesion(one, make_report(), GRID, shift_hu=-30, organ=organ)
    assert line == "50% of the lesion lies in liver, at least 60% should"
    protruding = make_report(cavity=Cavity.PROTRUDING)
    assert check_lesion(one, protruding, GRID, shift_hu=-30, organ=organ) is None


@given(st.tuples(*[st.integers(2, 20)] * 3), st.integers(1, 5), st.integers(0, 2), st.integers(0, 2))
def test_touching_is_judged_voxel_by_voxel(start, side, margin_a, margin_b):
    a, b = lesion(margin=margin_a), lesion(start=start, side=side, margin=margin_b)
    volumes = []
    for one in (a, b):
        whole = np.zeros(GRID.shape, bool)
        whole[one.box.slices] = one.label
        volumes.append(np.argwhere(whole))
    near = np.abs(volumes[0][:, None] - volumes[1][None]).max(axis=2) <= 1
    assert touching_voxels(a, b) == near.any(axis=1).sum()


def test_touching_lesions_are_a_miss(make_report):
    line = check_lesion(lesion(), make_report(), GRID, shift_hu=-30, others=[lesion(start=(14, 10, 10), margin=0)])
    assert line == "touches another lesion of this sample at 16 voxels"
