"""Organ maps: taken as they are, resampled, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass

from engine.core.anatomy import table_for
from engine.core.errors import OrganMapError
from engine.core.geometry import Grid
from engine.io.organs import read_organ_map
from engine.io.volumes import read_volume

V1 = table_for("total_v1")
SHAPE = (20, 18, 16)


def organs_with(liver: tuple[slice, slice, slice], shape: Any = SHAPE, dtype: str = "uint8") -> Any:
    organs = np.zeros(shape, dtype)
    organs[liver] = 5
    return organs


LIVER = (slice(8, 14), slice(6, 12), slice(5, 11))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_on_its_own_grid_it_is_taken_as_it_is(volumes: Any, dtype: str, order: str) -> None:
    affine = volumes.affine(1)
    path = volumes.nifti(organs_with(LIVER, dtype=dtype), affine, "organs.nii.gz", order=order)
    organs, sha256 = read_organ_map(str(path), Grid(SHAPE, affine), V1)
    assert organs.dtype == np.uint8
    assert np.array_equal(organs, organs_with(LIVER))
    assert len(sha256) == 64


def test_other_schemes_are_translated(volumes: Any) -> None:
    like = Grid(SHAPE, np.diag([2.0, 2, 2, 1]))
    path = volumes.nifti(organs_with(LIVER) // 5 * 52, like.affine, "organs.nii.gz")  # 52: the aorta, 7 in version 1
    assert set(np.unique(read_organ_map(str(path), like, table_for("total_v2"))[0])) == {0, 7}


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 999))
def test_on_another_grid_organs_keep_their_place(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    map_affine = np.eye(4)
    map_affine[:3, :3] = np.eye(3)[:, rng.permutation(3)] * rng.choice([-1, 1], 3) * rng.uniform(1.5, 2.5, 3)
    map_grid = Grid((24, 24, 24), map_affine)
    organs = organs_with((slice(9, 15),) * 3, map_grid.shape)
    path = tmp_path_factory.mktemp("organs") / "organs.nii.gz"
    nib.save(nib.Nifti1Image(organs, map_affine), path)
    centre_mm = map_grid.to_world((11.5, 11.5, 11.5))
    ct_affine = np.diag([1.0, 1.2, 1.4, 1])
    ct_affine[:3, 3] = centre_mm - (12, 12, 12)
    like = Grid((25, 21, 19), ct_affine)
    found, _ = read_organ_map(str(path), like, V1)
    assert found.shape == like.shape
    assert np.abs(like.to_world(center_of_mass(found == 5)) - centre_mm).max() < 1.5


def test_a_real_map_on_a_larger_grid_is_cut_to_the_ct(shared_data: Path) -> None:
    folder = shared_data / "ts_heart_cta"
    like = read_volume(str(folder / "ct.nii.gz")).grid
    table = table_for("names", {"1": "heart_myocardium"})
    found, _ = read_organ_map(str(folder / "heart_fullgrid.nii.gz"), like, table)
    source = nib.load(folder / "heart_fullgrid.nii.gz")
    inside = nib.affines.apply_affine(
        np.linalg.inv(like.affine) @ source.affine, np.argwhere(np.asanyarray(source.dataobj))
    )
    inside = np.rint(inside).astype(int)
    inside = inside[np.all((inside >= 0) & (inside < like.shape), axis=1)]
    expected = np.zeros(like.shape, bool)
    expected[tuple(inside.T)] = True
    assert expected.sum() > 1000
    assert np.array_equal(found == table[1], expected)


def test_a_map_on_a_sheared_grid_follows_its_ct(volumes: Any) -> None:
    affine = volumes.affine(3, shear=0.25)
    hu = volumes.ct(SHAPE)
    hu[LIVER] = 60
    organs = organs_with(LIVER)
    volume = read_volume(str(volumes.nifti(hu, affine)))
    found, _ = read_organ_map(str(volumes.nifti(organs, affine, "organs.nii.gz")), volume.grid, V1)
    assert found.shape == volume.raw.shape
    expected_mm = nib.affines.apply_affine(affine, center_of_mass(organs))
    assert np.abs(volume.grid.to_world(center_of_mass(found)) - expected_mm).max() < volume.grid.spacing_mm.max() / 2
    core = found == 5
    assert np.median(volume.raw[core]) == 60


def test_without_an_affine_equal_shapes_are_matched_by_index(volumes: Any) -> None:
    path = volumes.nifti(organs_with(LIVER), None, "organs.nii.gz", sform=0)
    found, _ = read_organ_map(str(path), Grid(SHAPE, volumes.affine(2)), V1)
    assert np.array_equal(found, organs_with(LIVER))


def far(affine: Any) -> Any:
    moved = affine.copy()
    moved[:3, 3] += 500
    return moved


def half_out(affine: Any) -> Any:
    moved = affine.copy()
    moved[:3, 3] += moved[:3, 0] * 12
    return moved


@pytest.mark.parametrize("move", [far, half_out])
def test_a_map_of_another_space_is_refused_with_both_centres(volumes: Any, move: Any) -> None:
    affine = np.diag([2.0, 2, 3, 1])
    path = volumes.nifti(organs_with(LIVER), move(affine), "organs.nii.gz")
    with pytest.raises(
        OrganMapError, match=r"organ map organs.nii.gz: lies in another space.*\[.*\] mm.*\[19, 17, 22\] mm"
    ):
        read_organ_map(str(path), Grid(SHAPE, affine), V1)


@pytest.mark.parametrize("codes", [0, 1])
def test_another_shape_without_an_affine_cannot_be_trusted(volumes: Any, codes: int) -> None:
    path = volumes.nifti(organs_with(LIVER), np.eye(4), "organs.nii.gz", sform=codes)
    with pytest.raises(OrganMapError, match=r"nothing about its place.*its shape 20x18x16 is not the CT's 40x36x32"):
        read_organ_map(str(path), Grid((40, 36, 32), np.diag([0.5, 0.5, 0.5, 1])), V1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (organs_with(LIVER) * 0, "holds no organ: every voxel is 0"),
        (organs_with(LIVER) * 40, "holds no known organ inside the CT"),
        (organs_with(LIVER, dtype="float32") * 0.5, "not whole numbers"),
        (organs_with(LIVER, dtype="float32") * np.nan, "NaN or infinity"),
        (organs_with(LIVER, dtype="int16") * 100, r"ids from 0 to 500; they should lie in 0 to 255"),
        (organs_with(LIVER, dtype="int16") * -1, r"ids from -5 to 0"),
        (organs_with((*LIVER, slice(None)), (*SHAPE, 3)), "4-D with 3 frames"),
    ],
)
def test_maps_without_ids_are_refused(volumes: Any, values: Any, message: str) -> None:
    affine = np.diag([2.0, 2, 3, 1])
    path = volumes.nifti(values, affine, "organs.nii.gz")
    with pytest.raises(OrganMapError, match=f"^organ map organs.nii.gz: .*{message}"):
        read_organ_map(str(path), Grid(SHAPE, affine), V1)


def test_a_missing_map_is_the_organ_maps_fault(tmp_path: Path) -> None:
    with pytest.raises(OrganMapError, match=r"organ map gone\.nii\.gz: no such file"):
        read_organ_map(str(tmp_path / "gone.nii.gz"), Grid(SHAPE, np.eye(4)), V1)
