"""Planes show what lies there, the right way round, whatever the order of a file's voxels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from engine.core.geometry import Grid
from engine.preview.planes import PLANES, letters_of, plane_grid, read_plane

_WAY = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


@pytest.mark.parametrize("plane", PLANES)
def test_letters_say_where_the_edges_are(plane: str) -> None:
    centre = np.array([10.0, -20.0, 300.0])
    grid = plane_grid(plane, centre, (40, 60), 1.5)
    letters = letters_of(plane)
    edges = {"left": (0, 19.5, 0), "right": (0, 19.5, 59), "top": (0, 0, 29.5), "bottom": (0, 39, 29.5)}
    for edge, index in edges.items():
        offset = grid.to_world(index) - centre
        assert np.allclose(offset / np.linalg.norm(offset), _WAY[getattr(letters, edge)])


def test_letters_are_those_of_radiology() -> None:
    shown = {plane: (letters_of(plane).left, letters_of(plane).top) for plane in PLANES}
    assert shown == {"axial": ("R", "A"), "coronal": ("R", "S"), "sagittal": ("A", "S")}


@given(seed=st.integers(0, 2**32 - 1), oblique=st.booleans(), plane=st.sampled_from(PLANES))
@settings(max_examples=60, deadline=None)
def test_a_plane_holds_what_scipy_reads_there(seed: int, oblique: bool, plane: str) -> None:
    rng = np.random.default_rng(seed)
    axes = Rotation.random(random_state=rng).as_matrix() if oblique else np.eye(3)[rng.permutation(3)]
    affine = np.eye(4)
    affine[:3, :3] = axes * rng.choice([-1, 1], 3) * rng.uniform(0.7, 4, 3)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    values = rng.normal(0, 100, (14, 11, 9)).astype(np.float32)
    grid = Grid(values.shape, affine)
    centre = grid.to_world(np.array([7.0, 5, 4]) + rng.uniform(-2, 2, 3))
    shown = plane_grid(plane, centre, (24, 30), 0.8)
    picture = read_plane(lambda box: values[box.slices], grid, shown, fill=-1000)

    rows, columns = rng.integers(0, 24, 40), rng.integers(0, 30, 40)
    world = np.stack([np.zeros(40), rows, columns], axis=1) @ shown.affine[:3, :3].T + shown.affine[:3, 3]
    index = (np.linalg.inv(affine) @ np.c_[world, np.ones(40)].T)[:3]
    expected = ndimage.map_coordinates(values, index, order=1, mode="nearest")
    limits = np.array(values.shape)[:, None] - 0.5
    inside = ((index > -0.5 + 1e-4) & (index < limits - 1e-4)).all(axis=0)
    outside = ((index < -0.5 - 1e-4) | (index > limits + 1e-4)).any(axis=0)
    found = picture[rows, columns]
    assert np.allclose(found[inside], expected[inside], atol=0.02)
    assert (found[outside] == -1000).all()
