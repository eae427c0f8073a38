"""Placement on organ maps in any pose, judged by arithmetic of its own: affines, nearest voxels, nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from engine.core.anatomy import V1_IDS, find_organ
from engine.core.errors import PlacementError
from engine.core.geometry import Box, Grid
from engine.core.organ_site import organs_in_view, view_of
from engine.core.placement import NoRoomError, place_lesions
from engine.core.vocabulary import Cavity

LIVER, SPLEEN, COLON = 5, 1, 57
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def ellipsoid(shape, share=0.42) -> np.ndarray:
    """True in a centred ellipsoid whose half axes are `share` of the array."""
    steps = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) / (share * n) for n in shape], indexing="ij")
    return sum(s**2 for s in steps) <= 1


def ids_at(organs, native: Grid, world) -> np.ndarray:
    """Organ ids of the voxels nearest to world points; 0 beyond the volume."""
    inverse = np.linalg.inv(native.affine)
    at = np.rint(np.atleast_2d(world) @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    inside = ((at >= 0) & (at < organs.shape)).all(axis=1)
    return np.where(inside, organs[tuple(np.where(inside[:, None], at, 0).T)], 0)


def world_of(box: Box, model: Grid, unit) -> np.ndarray:
    """Points of the unit ball, fitted into a box -> world."""
    index = (np.array(box.start) + np.array(box.stop) - 1) / 2 + np.atleast_2d(unit) * np.array(box.shape) / 2
    return index @ model.affine[:3, :3].T + model.affine[:3, 3]


def unit_ball(n=400) -> np.ndarray:
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * rng.random((n, 1)) ** (1 / 3)


def rngs(n, seed=0):
    return [np.random.default_rng((seed, i)) for i in range(n)]


@FEW
@given(data=st.data(), seed=st.integers(0, 999), cavity=st.sampled_from(Cavity))
def test_the_centre_lies_in_the_organ_whatever_the_pose(grids, make_report, data, seed, cavity):
    native = data.draw(grids(extent_mm=(70.0, 130.0), spacing=(1.2, 5.0)))
    organs = (ellipsoid(native.shape) * LIVER).astype(np.uint8)
    model = native.model_grid()
    report = make_report(size_mm=(18.0, 14.0, 12.0), cavity=cavity)
    (box,) = place_lesions(organs, None, native, model, [report], rngs(1, seed), 5.0)
    assert box.shape == (18, 14, 12)
    assert box.within(model.shape)
    assert ids_at(organs, native, world_of(box, model, [[0, 0, 0]])) == LIVER
    inside = (ids_at(organs, native, world_of(box, model, unit_ball())) == LIVER).mean()
    match cavity:
        case Cavity.PARENCHYMA:
            assert inside > 0.97
        case Cavity.PROTRUDING:
            assert 0.22 < inside < 0.88
        case Cavity.LUMEN:
            assert inside > 0.8
        case Cavity.WALL:  # a body on the wall: in the organ, and touching its surface
            assert inside > 0.6
            assert (ids_at(organs, native, world_of(box, model, 1.5 * unit_ball())) == LIVER).mean() < 1


@FEW
@given(data=st.data(), seed=st.integers(0, 999))
def test_several_lesions_keep_their_distance(grids, make_report, data, seed):
    native = data.draw(grids(extent_mm=(80.0, 130.0), spacing=(1.5, 5.0)))
    organs = np.full(native.shape, LIVER, np.uint8)
    model = native.model_grid()
    reports = [make_report(size_mm=(s, s, s)) for s in (12.0, 9.0, 15.0)]
    boxes = place_lesions(organs, None, native, model, reports, rngs(3, seed), 6.0)
    assert [b.shape[0] for b in boxes] == [12, 9, 15]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            gaps = [max(a.start[k] - b.stop[k], b.start[k] - a.stop[k]) for k in range(3)]
            assert max(gaps) >= 6


@FEW
@given(data=st.data(), at=st.tuples(*[st.floats(-0.5, 0.5)] * 3), size=st.integers(3, 14))
def test_a_fixed_centre_is_kept_to_half_a_voxel(grids, make_report, data, at, size):
    native = data.draw(grids(extent_mm=(70.0, 130.0), spacing=(1.2, 5.0)))
    organs = (ellipsoid(native.shape) * LIVER).astype(np.uint8)
    index = (np.array(native.shape) - 1) / 2 + np.array(at) * 0.4 * np.array(native.shape)
    world = native.affine[:3, :3] @ index + native.affine[:3, 3]
    assume(ids_at(organs, native, world)[0] == LIVER)
    model = native.model_grid()
    fixed = make_report(size_mm=(float(size),) * 3, centre_mm=tuple(world))
    free = make_report(size_mm=(8.0, 8.0, 8.0))
    boxes = place_lesions(organs, None, native, model, [free, fixed], rngs(2), 4.0)
    off = (world_of(boxes[1], model, [[0, 0, 0]])[0] - world) @ model.affine[:3, :3]
    assert np.abs(off).max() <= 0.5 + 1e-6
    assert not boxes[0].grown(4).overlaps(boxes[1])


@FEW
@given(data=st.data())
def test_extent_is_along_superior_anterior_left(grids, data):
    native = data.draw(grids(extent_mm=(30.0, 60.0), tilt_deg=20.0))
    box = Box.around(np.array(native.shape) / 2, [max(1, n // 2) for n in native.shape], within=native.shape)
    organs = np.zeros(native.shape, np.uint8)
    organs[box.slices] = SPLEEN
    hu = np.where(organs == SPLEEN, 47.0, np.nan).astype(np.float32)
    view = view_of(organs, lambda b: hu[b.slices], native, find_organ("spleen"))
    got = view.extent_mm
    for k, direction in enumerate(([0, 0, 1], [0, 1, 0], [-1, 0, 0])):  # S, A, L in RAS
        axis = np.abs(np.array(direction) @ (native.affine[:3, :3] / native.spacing_mm)).argmax()
        assert got[k] == pytest.approx(box.shape[axis] * native.spacing_mm[axis])
    assert view.mean_hu == 47
    assert view.least_mm == pytest.approx(2 * native.spacing_mm.max())
    assert view_of(organs, lambda b: hu[b.slices], native, find_organ("liver")) is None


def test_gas_does_not_count_as_the_tissue_of_a_hollow_organ():
    native = Grid((40, 30, 20), np.diag([2.0, 2, 2, 1]))
    organs = np.full(native.shape, V1_IDS["colon"], np.uint8)
    hu = np.full(native.shape, -950.0, np.float32)
    hu[:, ::3] = 38
    view = view_of(organs, lambda b: hu[b.slices], native, find_organ("colon"))
    assert view.mean_hu == 38


def test_the_same_generator_gives_the_same_place(make_report):
    native = Grid((50, 50, 50), np.diag([2.0, 2, 2, 1]))
    organs = (ellipsoid(native.shape) * LIVER).astype(np.uint8)
    args = (organs, None, native, native.model_grid(), [make_report()])
    assert place_lesions(*args, rngs(1, 3), 5.0) == place_lesions(*args, rngs(1, 3), 5.0)
    assert len({place_lesions(*args, rngs(1, seed), 5.0)[0] for seed in range(8)}) == 8


def test_places_are_spread_over_the_whole_organ(make_report):
    native = Grid((60, 40, 40), np.diag([2.0, 2, 2, 1]))
    organs = np.full(native.shape, LIVER, np.uint8)
    model = native.model_grid()
    report = make_report(size_mm=(10.0, 10.0, 10.0))
    left = [
        world_of(place_lesions(organs, None, native, model, [report], rngs(1, s), 5.0)[0], model, [[0, 0, 0]])[0, 0]
        for s in range(30)
    ]
    assert min(left) < 25
    assert max(left) > 95
    assert 45 < np.mean(left) < 75


def test_lesions_of_a_hollow_organ_stay_out_of_gas(make_report):
    native = Grid((40, 40, 40), np.diag([2.0, 2, 2, 1]))
    organs = np.full(native.shape, COLON, np.uint8)
    hu = np.full(native.shape, -950.0, np.float32)
    hu[25:] = 20
    report = make_report(organ="colon", cavity=Cavity.LUMEN, size_mm=(8.0, 8.0, 8.0))
    model = native.model_grid()
    for seed in range(10):
        (box,) = place_lesions(organs, lambda b: hu[b.slices], native, model, [report], rngs(1, seed), 5.0)
        x = world_of(box, model, [[0, 0, 0]])[0, 0]
        assert x > 48  # the first voxel of fluid begins at 49 mm
    (box,) = place_lesions(organs, lambda b: hu[b.slices] * 0 - 950, native, model, [report], rngs(1), 5.0)
    assert box.shape == (8, 8, 8)  # full of gas: the best of a few


def test_a_protruding_lesion_stays_in_the_body(make_report):
    native = Grid((40, 40, 40), np.diag([2.0, 2, 2, 1]))
    organs = np.zeros(native.shape, np.uint8)
    organs[10:30, 10:30, 10:30] = LIVER
    hu = np.full(native.shape, -1000.0, np.float32)
    hu[:, :, 10:] = 40  # air below the organ's inferior face
    report = make_report(cavity=Cavity.PROTRUDING, size_mm=(10.0, 10.0, 10.0))
    model = native.model_grid()
    for seed in range(10):
        (box,) = place_lesions(organs, lambda b: hu[b.slices], native, model, [report], rngs(1, seed), 5.0)
        points = world_of(box, model, unit_ball())
        at = np.rint(points / 2).astype(int)
        outside = ids_at(organs, native, points) != LIVER
        assert (hu[tuple(at[outside].T)] > -200).mean() > 0.8


def scene(value=LIVER, shape=(40, 40, 40)):
    native = Grid(shape, np.diag([2.0, 2, 2, 1]))
    organs = np.zeros(shape, np.uint8)
    organs[5:25, 5:30, 5:28] = value
    organs[30:32, 30:32, 30:32] = 2
    return organs, native, native.model_grid()


def refusal(report, organs, native, model, error=PlacementError, n=1) -> str:
    with pytest.raises(error) as caught:
        place_lesions(organs, None, native, model, [report] * n, rngs(n), 5.0)
    return str(caught.value)


def test_an_absent_organ_is_named_beside_what_is_in_view(make_report):
    line = refusal(make_report(organ="pancreas"), *scene(SPLEEN))
    assert line == "pancreas is absent from this volume; in view: spleen, kidney_right"
    organs, native, model = scene()
    assert refusal(make_report(), organs * 0, native, model).endswith("the organ map is all zero")


def test_an_organ_smaller_than_the_box_is_measured(make_report):
    line = refusal(make_report(size_mm=(60.0, 60.0, 60.0)), *scene())
    assert line == "liver measures 46x50x40 mm, the box 60x60x60 mm (S x A x L)"


def test_a_box_larger_than_the_volume_is_measured(make_report):
    line = refusal(make_report(size_mm=(200.0, 30.0, 30.0)), *scene())
    assert line == "the box of 200x30x30 mm exceeds the volume of 80x80x80 mm (S x A x L)"


def test_no_room_says_what_would_fit(make_report):
    organs, native, model = scene()
    organs[organs == LIVER] = 0
    organs[5:35, 5:35, 18:23] = LIVER  # a slab 10 mm thick, and a corner that makes its bounding box large
    organs[5, 5, 5:35] = LIVER
    with pytest.raises(NoRoomError, match=r"no free place for a box of 20x20x20 mm in liver .*; about \d+x") as caught:
        place_lesions(organs, None, native, model, [make_report(size_mm=(20.0,) * 3)], rngs(1), 5.0)
    smaller = make_report(size_mm=(20.0 * caught.value.fits,) * 3)
    place_lesions(organs, None, native, model, [smaller], rngs(1), 5.0)


def test_no_room_beside_other_lesions(make_report):
    line = refusal(make_report(size_mm=(36.0, 36.0, 36.0)), *scene(), error=NoRoomError, n=2)
    assert "other lesions" in line


@pytest.mark.parametrize(
    ("centre", "line"),
    [
        ((62.0, 62.0, 62.0), "centre_mm (62, 62, 62) lies in kidney_right, not in liver"),
        ((70.0, 4.0, 4.0), "centre_mm (70, 4, 4) lies in no organ, not in liver"),
        ((500.0, 4.0, 4.0), "centre_mm (500, 4, 4) lies outside the volume"),
        ((10.0, 30.0, 30.0), "the box of 40x40x40 voxels about centre_mm (10, 30, 30) leaves the volume"),
    ],
)
def test_a_fixed_centre_that_cannot_be(make_report, centre, line):
    assert refusal(make_report(centre_mm=centre, size_mm=(40.0, 40.0, 40.0)), *scene()) == line


def test_two_fixed_centres_too_near(make_report):
    report = make_report(centre_mm=(30.0, 30.0, 30.0))
    assert "too near another lesion" in refusal(report, *scene(), error=NoRoomError, n=2)


def test_a_tiny_organ_is_not_stepped_over(make_report):
    native = Grid((60, 60, 60), np.diag([0.5, 0.5, 0.5, 1]))
    organs = np.zeros(native.shape, np.uint8)
    organs[20:27, 21:29, 23:30] = SPLEEN
    report = make_report(organ="spleen", size_mm=(3.0, 3.0, 3.0), cavity=Cavity.LUMEN)
    (box,) = place_lesions(organs, None, native, native.model_grid(), [report], rngs(1), 5.0)
    assert ids_at(organs, native, world_of(box, native.model_grid(), [[0, 0, 0]])) == SPLEEN


def test_organs_in_view_are_counted_largest_first():
    organs, *_ = scene(SPLEEN)
    assert organs_in_view(organs) == {SPLEEN: 20 * 25 * 23, 2: 8}
    assert list(organs_in_view(organs)) == [SPLEEN, 2]


def test_a_group_is_placed_in_any_of_its_members(make_report):
    organs, native, model = scene(3)
    (box,) = place_lesions(organs, None, native, model, [make_report(organ="kidney")], rngs(1), 5.0)
    assert ids_at(organs, native, world_of(box, model, [[0, 0, 0]])) in (2, 3)
