"""Native paste-back on grids in any pose, judged by brute force over world coordinates (numpy and scipy only)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from engine.core.geometry import Box, Grid
from engine.core.paste import margin_weight, smallest_mm, surround_of, to_native
from engine.core.sample import Crop

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def blob(model: Grid, centre, half, pad=3) -> Crop:
    """A soft ellipsoid on the model grid, 0.5 on its surface."""
    box = Box.around(centre, [int(2 * h) + 2 * pad for h in half], within=model.shape)
    steps = np.meshgrid(*[np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)], indexing="ij")
    radius = np.sqrt(sum(((s - c) / h) ** 2 for s, c, h in zip(steps, centre, half, strict=True)))
    return Crop(box, np.clip(0.5 + (1 - radius) * min(half) / 2, 0, 1).astype(np.float32))


def flat_delta(mask: Crop, model: Grid, hu=-50.0, grow=6) -> Crop:
    box = mask.box.grown(grow) & Box.whole(model.shape)
    return Crop(box, np.full(box.shape, hu, np.float32))


def voxels_world(where, grid: Grid, start=(0, 0, 0)) -> np.ndarray:
    index = np.argwhere(where) + start
    return index @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def pasted_change(lesion, native: Grid) -> np.ndarray:
    """The change over the whole volume."""
    whole = np.zeros(native.shape, np.float32)
    whole[lesion.box.slices] = lesion.change_hu
    return whole


@FEW
@given(
    data=st.data(),
    at=st.tuples(*[st.floats(0.35, 0.65)] * 3),
    half=st.tuples(*[st.floats(3.0, 12.0)] * 3),
    margin=st.floats(0.0, 8.0),
)
def test_the_lesion_lands_where_it_was_drawn(grids, data, at, half, margin):
    native = data.draw(grids(extent_mm=(50.0, 80.0), spacing=(0.6, 5.0)))
    model = native.model_grid()
    mask = blob(model, np.array(at) * (np.array(model.shape) - 1), half)
    lesion = to_native(mask, flat_delta(mask, model), model, native, margin)
    assert lesion.box.within(native.shape)
    drawn = voxels_world(mask.values >= 0.5, model, mask.box.start)
    spans = np.ptp(drawn @ native.directions, axis=0) / native.spacing_mm
    assume(lesion.voxels)
    placed = voxels_world(lesion.label, native, lesion.box.start)
    off_vox = (placed.mean(axis=0) - drawn.mean(axis=0)) @ native.directions / native.spacing_mm
    assert np.abs(off_vox).max() <= 0.5
    if spans.min() >= 4:
        ellipsoid_mm3 = 4 / 3 * np.pi * np.prod(half)
        rough = 0.3 if spans.min() < 8 else 0.15
        assert lesion.voxels * native.voxel_mm3 == pytest.approx(ellipsoid_mm3, rel=rough)


@FEW
@given(data=st.data(), half=st.tuples(*[st.floats(3.0, 9.0)] * 3), margin=st.sampled_from([0.0, 1.0, 3.0, 7.5]))
def test_nothing_changes_beyond_the_margin(grids, data, half, margin):
    native = data.draw(grids(extent_mm=(40.0, 60.0), spacing=(0.8, 5.0)))
    model = native.model_grid()
    mask = blob(model, (np.array(model.shape) - 1) / 2, half)
    lesion = to_native(mask, flat_delta(mask, model, grow=12), model, native, margin)
    assume(lesion.voxels)
    change = pasted_change(lesion, native)
    tree = cKDTree(voxels_world(lesion.label, native, lesion.box.start))
    distance, _ = tree.query(voxels_world(np.ones(native.shape, bool), native))
    distance = distance.reshape(native.shape)
    assert not change[(distance >= margin - 1e-9) & (distance > 1e-6)].any()
    assert (change[distance < 1e-6] == -50).all()
    # and the margin is really used: nearer than half of it, at least half of the change arrives
    soft = (distance > 1e-6) & (distance < 0.49 * margin)
    assert (change[soft] <= -25).all()
    assert (change >= -50).all()


@given(st.floats(0.5, 10), st.floats(0.3, 3))
def test_the_weight_falls_smoothly_from_one_to_zero(margin, spacing):
    native = Grid((1, 1, 200), np.diag([1, 1, spacing, 1.0]))
    label = np.zeros(native.shape, bool)
    label[..., 0] = True
    weight = margin_weight(label, native, margin)[0, 0].astype(float)
    t = np.arange(200) * spacing / margin
    assert weight[0] == 1
    assert (np.diff(weight) <= 0).all()
    assert not weight[t >= 1].any()
    assert np.allclose(weight[t < 1], 1 - 3 * t[t < 1] ** 2 + 2 * t[t < 1] ** 3, atol=1e-6)


def test_margin_zero_is_the_label():
    label = np.random.default_rng(0).random((5, 6, 7)) > 0.5
    assert np.array_equal(margin_weight(label, Grid((5, 6, 7), np.eye(4)), 0.0), label.astype(np.float32))


def test_the_same_grid_brings_everything_back_exactly():
    native = Grid((40, 40, 40), np.array([[0, 0, -1, 60], [0, 1, 0, -3], [1, 0, 0, 9], [0, 0, 0, 1.0]]))
    model = native.model_grid()
    assert np.allclose(model.affine, native.affine)
    mask = blob(model, (20, 19, 18), (6, 5, 7))
    rng = np.random.default_rng(1)
    delta = Crop(mask.box, rng.normal(0, 30, mask.box.shape).astype(np.float32))
    lesion = to_native(mask, delta, model, native, 3.0)
    inside = mask.values >= 0.5
    change = pasted_change(lesion, native)
    assert np.array_equal(change[mask.box.slices][inside], delta.values[inside])
    assert lesion.voxels == inside.sum()


def test_a_lesion_at_the_edge_is_cut_to_the_volume():
    native = Grid((20, 20, 20), np.diag([2.0, 2, 2, 1]))
    model = native.model_grid()
    mask = Crop(Box((0, 10, 10), (8, 20, 20)), np.ones((8, 10, 10), np.float32))
    lesion = to_native(mask, flat_delta(mask, model), model, native, 5.0)
    assert lesion.box.within(native.shape)
    assert lesion.voxels


def test_a_lesion_between_the_slices_comes_back_empty():
    native = Grid((40, 40, 10), np.diag([1.0, 1, 10, 1]))
    model = native.model_grid()
    mask = blob(model, (25, 20, 20), (3, 3, 3))
    lesion = to_native(mask, flat_delta(mask, model), model, native, 3.0)
    assert lesion.voxels == 0
    assert not lesion.change_hu.any()
    assert lesion.box.within(native.shape)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 999))
def test_the_smallest_lesion_always_holds_a_voxel(grids, data, seed):
    native = data.draw(grids(extent_mm=(30.0, 50.0), spacing=(0.7, 5.0)))
    radius = smallest_mm(native) / 2
    middle = native.to_world((np.array(native.shape) - 1) / 2)
    centre = middle + np.random.default_rng(seed).uniform(-3, 3, 3)
    distance = np.linalg.norm(voxels_world(np.ones(native.shape, bool), native) - centre, axis=1)
    assert distance.min() <= radius + 1e-9
    assert smallest_mm(native, 50) > smallest_mm(native) or np.ptp(native.spacing_mm) > 1


def test_surroundings_are_the_source_beside_the_lesion():
    native = Grid((40, 40, 40), np.eye(4))
    model = native.model_grid()
    mask = blob(model, (20, 20, 20), (5, 5, 5))
    other = blob(model, (20, 20, 29), (4, 4, 4))
    lesion, neighbour = (to_native(m, flat_delta(m, model), model, native, 3.0) for m in (mask, other))
    hu = np.full(native.shape, 60, np.float32)
    hu[lesion.box.slices][lesion.label] = 1000
    assert surround_of(lesion, lambda box: hu[box.slices], native, []) == pytest.approx(60)
    hu[neighbour.box.slices][neighbour.label] = 500
    assert surround_of(lesion, lambda box: hu[box.slices], native, []) > 65
    assert surround_of(lesion, lambda box: hu[box.slices], native, [neighbour]) == pytest.approx(60)


def test_surroundings_on_a_coarse_axis_reach_the_next_slice():
    native = Grid((20, 20, 9), np.diag([1.0, 1, 8, 1]))
    model = native.model_grid()
    mask = blob(model, (32, 10, 10), (3, 4, 4))
    lesion = to_native(mask, flat_delta(mask, model), model, native, 0.0)
    hu = np.zeros(native.shape, np.float32)
    hu[:, :, 5] = 90
    assert surround_of(lesion, lambda box: hu[box.slices], native, []) > 0
