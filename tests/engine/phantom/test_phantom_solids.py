"""Distances to solids, whichever way the points lie in the body."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engine.core.geometry import Box, Grid
from engine.phantom.lattice import Lattice, Samples
from engine.phantom.solids import Bundle, Capsule, Carved, Ellipsoid, Grown, HalfSpace
from engine.phantom.tubes import tree, tube
from engine.procedural.waves import Waves

angles = st.tuples(*[st.floats(-40, 40)] * 3)
ways = st.tuples(*[st.floats(-30, 30)] * 3).filter(lambda v: np.linalg.norm(v) > 1)


def points_of(angles_deg: tuple[float, float, float], shape: tuple[int, int, int] = (13, 11, 12)) -> Lattice:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix() * (4, 5, 6)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Lattice.of(Grid(shape, affine))


def world(at: Lattice) -> np.ndarray:
    return at.grid.to_world(np.moveaxis(np.indices(at.grid.shape), 0, -1))[at.box.slices]


@settings(max_examples=30, deadline=None)
@given(angles, ways)
def test_a_linear_form_is_that_of_the_points_in_the_body(turn, way):
    at = points_of(turn)
    expected = (world(at) - (1, 2, 3)) @ way
    np.testing.assert_allclose(np.broadcast_to(at.along(way, (1, 2, 3)), at.shape), expected, atol=1e-2)
    box = Box((2, 3, 1), (9, 7, 8))
    np.testing.assert_allclose(
        np.broadcast_to(at.crop(box).along(way, (1, 2, 3)), box.shape), expected[box.slices], atol=1e-2
    )


@settings(max_examples=30, deadline=None)
@given(angles, ways, st.floats(1, 3))
def test_a_capsule_s_distance_is_that_to_its_axis_less_its_radius(turn, way, tall):
    start, stop = np.array([2.0, -4, 1]), np.array([2.0, -4, 1]) + way
    at = points_of(turn)
    share = np.clip((world(at) - start) @ way / np.dot(way, way), 0, 1)[..., None]
    exact = np.linalg.norm(world(at) - start - share * way, axis=-1) - (3 + 4 * share[..., 0])
    round_one = Capsule.of(start, stop, (3, 7)).distance(at)
    np.testing.assert_allclose(np.broadcast_to(round_one, at.shape), exact, atol=2e-3)
    assert (Capsule(start, stop, (3, 7), tall).distance(at) <= round_one + 1e-3).all()


@settings(max_examples=30, deadline=None)
@given(angles, angles)
def test_an_ellipsoid_s_inside_is_its_own_and_lies_in_its_bounds(turn, tilt):
    solid = Ellipsoid.of((3, -2, 5), (11, 16, 22), tilt)
    at = points_of(turn)
    own = (world(at) - solid.centre) @ solid.turn
    level = ((own / solid.radii) ** 2).sum(axis=-1)
    distance = np.broadcast_to(solid.distance(at), at.shape)
    clear = np.abs(level - 1) > 1e-3
    np.testing.assert_array_equal((distance < 0)[clear], (level < 1)[clear])
    window = at.window(solid.bounds)
    outside = np.ones(at.shape, bool)
    outside[window.slices] = False
    assert not (outside & (distance < 0)).any()


def test_what_is_carved_lies_in_all_and_in_none():
    at = points_of((10, 20, 30))
    ball, half, hole = (
        Ellipsoid.of((0, 0, 0), (20, 20, 20)),
        HalfSpace.of((0, 0, 4), (0, 0, 1)),
        Grown(Ellipsoid.of((0, 0, 0), (3, 3, 3)), 4),
    )
    inside = Carved(ball, within=[half], without=[hole], mm=0).distance(at) < 0
    np.testing.assert_array_equal(inside, (ball.distance(at) < 0) & (half.distance(at) < 0) & (hole.distance(at) >= 0))
    rounded = Carved(ball, within=[half], without=[hole], mm=6).distance(at) < 0
    assert not (rounded & ~inside).any()


def test_a_bundle_is_the_nearest_of_its_parts_within_its_reach():
    at = points_of((5, -5, 15))
    parts = tube([(-20, 0, -20), (0, 10, 0), (10, -10, 25)], [3, 5, 4])
    whole = np.min([np.broadcast_to(p.distance(at), at.shape) for p in parts], axis=0)
    found = Bundle(parts, reach_mm=6).distance(at)
    near = whole < 6
    np.testing.assert_array_equal(found[near], whole[near])
    assert (found[~near] >= 6).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(0, 99))
def test_a_tree_reaches_every_target_from_its_root(count, seed):
    targets = np.random.default_rng(seed).uniform(-40, 40, (count, 3))
    twigs = tree(np.array([0.0, 0, 60]), targets, 1.0)
    ends = {tuple(t.stop) for t in twigs}
    assert all(tuple(t) in ends for t in targets)
    assert all(tuple(t.start) in ends | {(0.0, 0.0, 60.0)} for t in twigs)
    assert max(t.radii[0] for t in twigs) == twigs[0].radii[0] == pytest.approx(count ** (1 / 2.7))


def test_samples_are_exact_for_a_linear_field_and_refuse_a_turned_lattice():
    at = points_of((10, 20, 30))
    samples = Samples.of(at, lambda p: np.broadcast_to(p.along((1, -2, 0.5)), p.shape))
    affine = at.grid.affine @ np.diag([0.3, 0.4, 0.5, 1.0])
    between = Lattice.of(Grid((30, 20, 20), affine))
    np.testing.assert_allclose(samples.at(between), between.along((1, -2, 0.5)), atol=1e-3)
    assert samples.at(points_of((10, 20, 31))) is None


def test_a_field_of_waves_is_the_body_s_whatever_lattice_reads_it():
    waves = Waves.drawn(np.random.default_rng(0), 5, (20.0, 60.0))
    at = points_of((10, 20, 30))
    exact = (waves.amplitudes * np.cos(world(at) @ waves.vectors.T + waves.phases)).sum(axis=-1)
    np.testing.assert_allclose(at.waves(waves), exact, atol=1e-3)
    box = Box((2, 3, 1), (9, 7, 8))
    np.testing.assert_allclose(at.crop(box).waves(waves), exact[box.slices], atol=1e-3)
