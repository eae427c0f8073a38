"""Resampling: the separable path, the general path and scipy's point-wise interpolation agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from engine.core.geometry import Box, Grid
from engine.core.resample import _general, _parallel_axes, resample


def pointwise(values, source: Grid, target: Grid, order: int, fill: float):
    """scipy only: every target centre by itself."""
    index = np.indices(target.shape).reshape(3, -1)
    full = np.linalg.inv(source.affine) @ target.affine
    at = full[:3, :3] @ index + full[:3, 3:]
    out = ndimage.map_coordinates(values.astype(float), at, order=order, mode="nearest")
    edge = np.minimum(np.abs(at + 0.5), np.abs(at - np.array(source.shape)[:, None] + 0.5)).min(axis=0)
    outside = ((at < -0.5) | (at >= np.array(source.shape)[:, None] - 0.5)).any(axis=0)
    tie = np.abs(at - np.floor(at) - 0.5).min(axis=0) if order == 0 else np.ones(at.shape[1])
    out[outside] = fill
    sure = (edge > 1e-4) & (tie > 1e-4)
    return out.reshape(target.shape), sure.reshape(target.shape)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), order=st.sampled_from([0, 1]), seed=st.integers(0, 999))
def test_parallel_grids_match_pointwise_interpolation(grids, data, order, seed):
    source = data.draw(grids(extent_mm=(8, 25), spacing=(0.7, 4)))
    target = source.model_grid()
    values = np.random.default_rng(seed).normal(0, 100, source.shape).astype(np.float32)
    assert _parallel_axes(target.index_map(source), target) is not None
    want, sure = pointwise(values, source, target, order, -7)
    got = resample(values, source, target, interpolation="linear" if order else "nearest", fill=-7)
    assert got.shape == target.shape
    assert np.abs(got - want)[sure].max(initial=0) < 0.02


@settings(max_examples=40, deadline=None)
@given(data=st.data(), order=st.sampled_from([0, 1]), seed=st.integers(0, 999))
def test_oblique_grids_match_pointwise_interpolation(grids, data, order, seed):
    source = data.draw(grids(extent_mm=(8, 25), spacing=(0.7, 4)))
    other = data.draw(grids(extent_mm=(8, 25), spacing=(0.7, 4)))
    middle = source.to_world((np.array(source.shape) - 1) / 2) - other.to_world((np.array(other.shape) - 1) / 2)
    affine = other.affine.copy()
    affine[:3, 3] += middle
    target = Grid(other.shape, affine)
    values = np.random.default_rng(seed).normal(0, 100, source.shape).astype(np.float32)
    want, sure = pointwise(values, source, target, order, -7)
    got = resample(values, source, target, interpolation="linear" if order else "nearest", fill=-7)
    assert np.abs(got - want)[sure].max(initial=0) < 0.5


@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=st.integers(0, 999))
def test_separable_and_general_path_agree(grids, data, seed):
    source = data.draw(grids(extent_mm=(8, 25), spacing=(0.7, 4)))
    target = source.model_grid()
    values = np.random.default_rng(seed).normal(0, 100, source.shape).astype(np.float32)
    separable = resample(values, source, target)
    general = _general(values, target.index_map(source), target, "linear", 0.0)
    _, sure = pointwise(values, source, target, 1, 0)
    assert np.abs(separable - general)[sure].max(initial=0) < 0.02


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_linear_field_survives_any_resampling(grids, data):
    """Linear interpolation is exact for a field linear in world coordinates."""
    source = data.draw(grids(extent_mm=(20, 40), spacing=(0.8, 4)))
    target = source.model_grid()
    slope = np.array([0.7, -1.3, 0.4])

    def field(grid: Grid):
        return (grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) @ slope).astype(np.float32)

    got = resample(field(source), source, target)
    inside = source.to_index(target.to_world(np.moveaxis(np.indices(target.shape), 0, -1)))
    sure = ((inside >= 0) & (inside <= np.array(source.shape) - 1)).all(axis=-1)
    assert np.abs(got - field(target))[sure].max(initial=0) < 1e-2


@given(data=st.data())
def test_same_grid_is_the_identity(grids, data):
    grid = data.draw(grids(extent_mm=(8, 20), spacing=(0.7, 4)))
    values = np.random.default_rng(1).integers(-1000, 3000, grid.shape).astype(np.int16)
    assert np.array_equal(resample(values, grid, grid), values)
    same = resample(values, grid, grid, interpolation="nearest")
    assert same.dtype == np.int16
    assert np.array_equal(same, values)


@given(data=st.data())
def test_a_crop_is_resampled_as_part_of_the_whole(grids, data):
    """The bits of a voxel do not depend on how much around it is resampled with it."""
    source = data.draw(grids(extent_mm=(12, 30), spacing=(0.7, 4)))
    target = source.model_grid()
    values = np.random.default_rng(2).normal(0, 100, source.shape).astype(np.float32)
    whole = resample(values, source, target)
    box = Box.around(np.array(target.shape) / 2, [max(1, n // 2) for n in target.shape], within=target.shape)
    assert np.allclose(resample(values, source, target.crop(box)), whole[box.slices], atol=1e-3)


def test_beyond_the_source_is_fill():
    grid = Grid((4, 4, 4), np.eye(4))
    far = Grid((2, 2, 2), np.array([[1, 0, 0, 50], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    assert (resample(np.ones((4, 4, 4), np.float32), grid, far, fill=-1000) == -1000).all()
    assert resample(np.ones((4, 4, 4), np.float32), grid, Grid((0, 2, 2), np.eye(4))).shape == (0, 2, 2)


def test_an_array_off_its_grid_is_refused():
    with pytest.raises(ValueError, match="shape"):
        resample(np.ones((3, 4, 4)), Grid((4, 4, 4), np.eye(4)), Grid((4, 4, 4), np.eye(4)))
