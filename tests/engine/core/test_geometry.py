"""Boxes and grids: the only index arithmetic there is."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.errors import PlacementError, VolumeError
from engine.core.geometry import MODEL_AXES, Box, Grid, iter_blocks

INDEX = st.tuples(*[st.integers(-20, 20)] * 3)
SIZE = st.tuples(*[st.integers(0, 15)] * 3)
BOXES = st.builds(lambda a, n: Box(a, tuple(x + y for x, y in zip(a, n, strict=True))), INDEX, SIZE)


def members(box: Box) -> set[tuple[int, int, int]]:
    return {tuple(i) for i in np.argwhere(np.ones(box.shape, bool)) + box.start}


@given(BOXES, BOXES)
def test_intersection_is_set_intersection(a, b):
    assert members(a & b) == members(a) & members(b)
    assert a.overlaps(b) == bool(members(a) & members(b))


@given(BOXES, BOXES)
def test_union_is_smallest_box_over_both(a, b):
    both = a | b
    assert both.contains(a)
    assert both.contains(b)
    for axis in range(3):
        assert both.start[axis] in (a.start[axis], b.start[axis])
        assert both.stop[axis] in (a.stop[axis], b.stop[axis])


@given(BOXES, BOXES)
def test_moves_are_undone(a, b):
    assert a.relative_to(b).shifted(b.start) == a
    assert a.grown(3).grown(-3) == a
    assert Box.from_flat(a.flat) == a
    assert a.grown((1, 0, 2)).shape == (a.shape[0] + 2, a.shape[1], a.shape[2] + 4)


@given(
    st.tuples(*[st.floats(-10, 60)] * 3),
    st.tuples(*[st.integers(1, 20)] * 3),
    st.tuples(*[st.integers(20, 50)] * 3),
)
def test_around_slides_and_never_shrinks(centre, size, within):
    box = Box.around(centre, size, within=within)
    assert box.shape == size
    assert box.within(within)
    for c, s, n, middle in zip(centre, size, within, box.centre, strict=True):
        slid = c - s / 2 < -0.5 or c + s / 2 > n - 0.5
        assert abs(middle - c) <= 0.5 + 1e-6 or slid


def test_around_refuses_what_cannot_fit():
    with pytest.raises(PlacementError, match="box of 5x50x5 voxels exceeds the volume of 20x40x20 voxels"):
        Box.around((0, 0, 0), (5, 50, 5), within=(20, 40, 20))


@given(st.tuples(*[st.floats(-5, 60)] * 3), st.tuples(*[st.integers(1, 90)] * 3))
def test_window_keeps_its_size_and_covers_short_axes(centre, size):
    box = Box.window(centre, size, within=(30, 40, 50))
    assert box.shape == size
    for axis, n in enumerate((30, 40, 50)):
        assert box.start[axis] <= 0 <= n <= box.stop[axis] or (box.start[axis] >= 0 and box.stop[axis] <= n)


@given(st.integers(0, 2**32 - 1))
def test_of_mask_is_the_tightest_box(seed):
    mask = np.random.default_rng(seed).random((6, 5, 7)) > 0.97
    box = Box.of_mask(mask)
    if box is None:
        assert not mask.any()
        return
    assert mask[box.slices].sum() == mask.sum()
    where = np.argwhere(mask)
    assert box == Box(tuple(where.min(0)), tuple(where.max(0) + 1))


def test_a_box_says_no_to_wrong_indices():
    with pytest.raises(ValueError, match="backwards"):
        Box((0, 0, 5), (3, 3, 4))
    with pytest.raises(ValueError, match="outside"):
        _ = Box((-1, 0, 0), (3, 3, 3)).slices


def test_holds_is_half_a_voxel_wide():
    box = Box((2, 2, 2), (4, 4, 4))
    assert box.holds((1.5, 2, 3.49))
    assert not box.holds((1.49, 2, 3))
    assert not box.holds((2, 2, 3.5))


@given(st.tuples(*[st.integers(1, 9)] * 3), st.integers(1, 5))
def test_blocks_tile_the_volume(shape, depth):
    seen = np.zeros(shape, int)
    for block in iter_blocks(shape, depth):
        seen[block.slices] += 1
    assert (seen == 1).all()


@given(data=st.data())
def test_world_and_index_undo_each_other(grids, data):
    grid = data.draw(grids())
    points = np.random.default_rng(0).uniform(-50, 50, (20, 3))
    assert np.allclose(grid.to_index(grid.to_world(points)), points, atol=1e-6)
    assert np.allclose(grid.to_world(points), nib.affines.apply_affine(grid.affine, points))


@given(data=st.data())
def test_crops_and_strides_keep_voxels_in_place(grids, data):
    grid = data.draw(grids())
    box = Box((-2, 1, 3), (4, 5, 9))
    assert np.allclose(grid.crop(box).to_world((1, 2, 3)), grid.to_world((-1, 3, 6)))
    thin = grid.every((2, 1, 3))
    assert np.allclose(thin.to_world((1, 1, 1)), grid.to_world((2, 1, 3)))
    assert thin.shape == np.empty(grid.shape, bool)[::2, ::1, ::3].shape


@given(data=st.data())
def test_model_grid_is_1mm_superior_anterior_left_and_covers(grids, data):
    grid = data.draw(grids())
    model = grid.model_grid()
    assert np.allclose(model.spacing_mm, 1)
    assert model.is_orthogonal
    assert model.orientation == "".join(MODEL_AXES)
    corners = model.to_index(grid.to_world(Box.whole(grid.shape).corners()))
    assert corners.min() > -1e-6
    assert (corners.max(axis=0) <= np.array(model.shape) - 1 + 1e-6).all()
    assert (np.array(model.shape) - 1 - corners.max(axis=0) < 1).all()
    # parallel to the source, so that resampling stays separable
    alignment = np.abs(model.directions.T @ grid.directions)
    assert np.allclose(np.sort(alignment, axis=1), [[0, 0, 1]] * 3, atol=1e-6)


@given(data=st.data())
def test_extent_is_measured_on_model_axes(grids, data):
    grid = data.draw(grids())
    box = Box((0, 0, 0), (3, 5, 7))
    edges = np.array([[-0.5, -0.5, -0.5], [2.5, 4.5, 6.5]])
    corners = np.array([[edges[i][0], edges[j][1], edges[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    on_model = grid.model_grid().to_index(grid.to_world(corners))
    assert np.allclose(grid.extent_mm(box), np.ptp(on_model, axis=0), atol=1e-6)


@settings(max_examples=30)
@given(data=st.data())
def test_cover_holds_every_voxel_that_a_box_touches(grids, data):
    grid, other = data.draw(grids()), data.draw(grids())
    other = Grid(other.shape, other.affine + _shift_to(grid, other))
    box = Box.around(np.array(grid.shape) / 2, [max(1, n // 3) for n in grid.shape], within=grid.shape)
    cover = grid.cover(box, other)
    index = np.argwhere(np.ones(other.shape, bool))
    back = grid.to_index(other.to_world(index))
    touched = ((back > np.array(box.start) - 0.5 + 1e-6) & (back < np.array(box.stop) - 0.5 - 1e-6)).all(axis=1)
    inside = ((index >= cover.start) & (index < cover.stop)).all(axis=1)
    assert not (touched & ~inside).any()


def _shift_to(grid: Grid, other: Grid) -> np.ndarray:
    shift = np.zeros((4, 4))
    middle = [(np.array(g.shape) - 1) / 2 for g in (grid, other)]
    shift[:3, 3] = grid.to_world(middle[0]) - other.to_world(middle[1])
    return shift


@pytest.mark.parametrize(
    "affine", [np.diag([1, 1, 0, 1.0]), np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])]
)
def test_singular_affines_are_refused(affine):
    with pytest.raises(VolumeError, match="singular"):
        Grid((4, 4, 4), affine)


def test_a_sheared_grid_is_seen_and_straightened():
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[1, 2] = 0.8  # a gantry tilt
    tilted = Grid((20, 20, 10), affine)
    assert not tilted.is_orthogonal
    straight = tilted.orthogonalised()
    assert straight.is_orthogonal
    assert np.allclose(straight.spacing_mm, tilted.spacing_mm)
    corners = straight.to_index(tilted.to_world(Box.whole(tilted.shape).corners()))
    assert corners.min() > -1e-6
    assert (corners <= np.array(straight.shape) - 1 + 1e-6).all()


@given(data=st.data())
def test_same_space_notices_a_shift(grids, data):
    grid = data.draw(grids())
    moved = grid.affine.copy()
    moved[0, 3] += 0.5
    assert grid.same_space(grid)
    assert not grid.same_space(Grid(grid.shape, moved))
    assert grid == Grid(grid.shape, grid.affine.copy())
    assert hash(grid) == hash(Grid(grid.shape, grid.affine.copy()))


@pytest.mark.parametrize("case", ["RAS", "LPS", "PIR"])
def test_model_axes_are_the_reference_loaders(golden, case):
    """The reference loads a volume as [S, A, L] and ignores its spacing."""
    from engine.core.resample import resample

    with np.load(golden / "orientation" / "io.npz") as io:
        array, affine, loaded = (io[f"{case}.{name}"] for name in ("array", "affine", "loaded"))
    native = Grid(array.shape, affine)
    model = native.model_grid()
    partner = np.abs(model.directions.T @ native.directions).argmax(axis=1)
    own_spacing = model.affine.copy()
    own_spacing[:3, :3] *= native.spacing_mm[partner]
    ours = resample(array, native, Grid(loaded.shape, own_spacing), interpolation="nearest")
    assert np.array_equal(ours, loaded)
