"""The reference's data: its crops, its orientation, its 1 mm grid, its HU curve and its paste, by our own functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.geometry import Box, Grid
from engine.core.intensity import KNOTS_HU, KNOTS_UNIT, hu_to_unit, unit_to_hu
from engine.core.resample import resample
from engine.io.volumes import read_volume
from golden import Case, Golden
from models.crops import Crop, Shape3, crop_about, with_room
from models.lesion_mask import largest_component
from models.released import curve_in_half, pasted, seam_weights
from models.training.examples import host_organ, lesion_crop, linet_example, lmnet_example

AXES = ("RAS", "LPS", "PIR")
CASES = ("interior", "low", "high", "small_vol", "two")
LIVER, STOMACH = 5, 6

Array = NDArray[Any]


@pytest.fixture(scope="module")
def transforms(golden: Golden) -> Case:
    return golden.case("transforms")


@pytest.fixture(scope="module")
def paste_back(golden: Golden) -> Case:
    return golden.case("paste_back")


def told(case: Case) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads(str(case.arrays["meta_json"]))
    return meta


def size_of(case: Case) -> Shape3:
    z, y, x = case.config["crop_shape"]
    return z, y, x


# --- transforms


def runs(two_keys: bool) -> list[str]:
    return [name + ".2keys" * two_keys for name in CASES]


@pytest.mark.parametrize("name", [*runs(False), *runs(True)])
def test_transforms_crop_and_examples(transforms: Case, name: str) -> None:
    """Exact; for images 1e-6. Where no candidate organ holds the lesion, the reference crashes and ours says so."""
    meta, stored = told(transforms)[name], transforms.arrays
    if "reference_raises" in meta:
        organs, label = (stored[f"{name.removesuffix('.2keys')}.in.{part}"] for part in ("seg", "label"))
        with pytest.raises(ValueError, match=r"none of the organs \[5, 6\] holds any voxel of the lesion"):
            host_organ(organs, label, [LIVER, STOMACH])
        return
    image, label, organs = (stored[f"{name}.in.{part}"] for part in ("image", "label", "seg"))
    crop = lesion_crop(label, size_of(transforms))
    assert crop == Crop(tuple(meta["crop"]["crop_start"]), size_of(transforms))
    assert list(with_room(label.shape, size_of(transforms))) == meta["crop"]["full_size"]

    host = host_organ(organs, label, [LIVER, STOMACH] if meta["two_keys"] else [LIVER])
    lmnet = lmnet_example(organs, label, crop, [host])
    assert np.array_equal(lmnet.conditions[:1], stored[f"{name}.lm.seg"])
    assert np.array_equal(lmnet.conditions[1:2], stored[f"{name}.lm.target"])
    assert np.array_equal(lmnet.mask, stored[f"{name}.lm.label"])
    box = Box.of_mask(lmnet.mask[0].numpy())
    assert np.array_equal(lmnet.conditions[2] > 0, filled(box, crop.size))

    released = linet_example(hu_to_unit(image), label, crop, outside=float(hu_to_unit(np.zeros(1))[0]))
    assert np.abs(released.image.numpy() - stored[f"{name}.li.image"]).max() <= 1e-6
    assert np.array_equal(released.mask, stored[f"{name}.li.label"] == 2)
    assert np.array_equal(crop.of(label, fill=0), stored[f"{name}.li.label"])


def test_transforms_were_all_shown(transforms: Case) -> None:
    assert {*runs(False), *runs(True), "type_json_5_6"} == set(told(transforms))
    assert sum("reference_raises" in told(transforms)[name] for name in runs(True)) == 2


def filled(box: Box | None, shape: Shape3) -> Array:
    assert box is not None
    made = np.zeros(shape, bool)
    made[box.slices] = True
    return made


def test_ours_is_padded_with_air(transforms: Case) -> None:
    image, label = (transforms.arrays[f"small_vol.in.{part}"] for part in ("image", "label"))
    crop = lesion_crop(label, size_of(transforms))
    ours = linet_example(hu_to_unit(image), label, crop).image[0].numpy()
    beyond = image.shape[0] - crop.start[0]
    assert beyond < crop.size[0]
    assert (ours[beyond:] == 0).all()
    assert (ours[:beyond] > 0).any()


MASKS = st.tuples(*[st.integers(3, 14)] * 3).flatmap(
    lambda shape: st.tuples(st.just(shape), st.lists(st.tuples(*[st.integers(0, n - 1) for n in shape]), min_size=1))
)


@given(MASKS, st.tuples(*[st.integers(1, 20)] * 3))
def test_crops_are_the_engines_boxes(mask_of: tuple[Shape3, list[Shape3]], size: Shape3) -> None:
    """Two packages that know nothing of each other lay a crop at the same place."""
    shape, voxels = mask_of
    mask = np.zeros(shape, bool)
    mask[tuple(np.transpose(voxels))] = True
    values = np.random.default_rng(0).random(shape)
    crop = crop_about(mask, size)
    padded = np.pad(values, [(0, max(0, s - n)) for s, n in zip(size, shape, strict=True)], constant_values=-1)
    box = Box.around(np.floor(Box.of_mask(mask).centre), size, within=padded.shape)
    assert crop.start == box.start
    assert np.array_equal(crop.of(values, fill=-1), padded[box.slices])


def test_a_label_without_a_lesion_is_named() -> None:
    with pytest.raises(ValueError, match="the label has no voxel of value 2, so no lesion"):
        lesion_crop(np.ones((4, 4, 4), np.uint8), (2, 2, 2))
    with pytest.raises(ValueError, match="empty mask"):
        crop_about(np.zeros((4, 4, 4), bool), (2, 2, 2))


# --- orientation


@pytest.mark.parametrize("axes", AXES)
def test_orientation_as_loaded(golden: Golden, tmp_path: Path, axes: str) -> None:
    """[S, A, L], voxel for voxel, from a file through the engine's reader; the spacing is kept aside, as there."""
    array, affine, loaded = oriented(golden, axes)
    nib.save(nib.Nifti1Image(array, affine), tmp_path / "ct.nii.gz")
    volume = read_volume(str(tmp_path / "ct.nii.gz"))
    grid = volume.grid
    target = at_own_spacing(grid, loaded.shape)
    read = resample(volume.raw, grid, target, interpolation="nearest")
    assert np.array_equal(read, loaded)
    assert np.allclose(np.sort(target.spacing_mm), np.sort(grid.spacing_mm))


@pytest.mark.parametrize("axes", AXES)
def test_orientation_rewritten_to_1_mm(golden: Golden, axes: str) -> None:
    """Reoriented to L-P-S, then scipy's zoom, whose first and last voxels stay where they are.

    The engine reads the same values at the same places; its own 1 mm grid is another, which keeps true distances.
    """
    array, affine, _ = oriented(golden, axes)
    stored = golden.case("orientation").arrays
    wanted, zooms = stored[f"{axes}.standardized_nib_array"], stored[f"{axes}.standardized_zooms"]
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt("LPS"))
    lps = nib.Nifti1Image(array, affine).as_reoriented(turn)
    spacing = np.asarray(lps.header.get_zooms())
    order = 1 if array.min() < -10 else 0
    zoomed = ndimage.zoom(lps.get_fdata(), spacing, order=order)
    assert relative(zoomed, wanted) < 1e-4
    assert np.array_equal(zooms, [1, 1, 1])
    assert np.array_equal(stored[f"{axes}.standardized_sitk_array"], wanted.T)
    assert relative(stored[f"{axes}.standardized_loaded"], wanted.T[:, ::-1]) < 1e-6

    corner_to_corner = (np.array(lps.shape) - 1) / np.maximum(np.array(wanted.shape) - 1, 1)
    grid = Grid(wanted.shape, lps.affine @ np.diag([*corner_to_corner, 1]))
    assert relative(resample(array, Grid(array.shape, affine), grid), wanted) < 1e-4


def oriented(golden: Golden, axes: str) -> tuple[Array, Array, Array]:
    stored = golden.case("orientation").arrays
    return stored[f"{axes}.array"], stored[f"{axes}.affine"], stored[f"{axes}.loaded"]


def at_own_spacing(grid: Grid, shape: tuple[int, ...]) -> Grid:
    """The model grid's axes, with the voxels of the source."""
    model = grid.model_grid()
    partner = np.abs(model.directions.T @ grid.directions).argmax(axis=1)
    affine = model.affine.copy()
    affine[:3, :3] *= grid.spacing_mm[partner]
    return Grid((shape[0], shape[1], shape[2]), affine)


def relative(found: Array, stored: Array) -> float:
    assert found.shape == stored.shape
    return float(np.abs(found - stored).max() / max(1.0, np.abs(stored).max()))


# --- paste_back


@pytest.mark.parametrize("name", ["interior", "corner"])
def test_paste_back_as_the_first_version(paste_back: Case, name: str) -> None:
    stored = paste_back.arrays
    image, label, sample = (stored[f"{name}.{part}"] for part in ("in.image_norm", "in.label", "sample"))
    size: Shape3 = sample.shape
    crop = crop_about(largest_component(label == 2), size)
    seen = crop.of(label, fill=0)
    assert np.array_equal(crop.of(image[0], fill=0), stored[f"{name}.call.image"][0, 0])
    assert np.array_equal(np.where(seen == 2, seen, 0), stored[f"{name}.call.label"][0])
    made = pasted(unit_to_hu(image[0]), unit_to_hu(sample), crop, mirrored=False)
    assert relative(made, stored[f"{name}.out_hu"][0, 0]) < 2e-5


@pytest.mark.parametrize("name", ["tensor_edit.interior", "tensor_edit.edge"])
def test_paste_back_by_the_writer(paste_back: Case, name: str) -> None:
    """The writer has y the other way round, so the crop is found from its far end and the paint is turned."""
    stored, meta = paste_back.arrays, told(paste_back)[name]
    z, y, x = meta["crop_start"]
    size: Shape3 = tuple(meta["crop_size"])
    crop = Crop((z, meta["full_size"][1] - y - size[1], x), size)
    painted = unit_to_hu(stored[f"{name}.value"][0, 0])[:, ::-1]
    made = pasted(stored[f"{name}.health"], painted, crop, mirrored=False)
    assert relative(made, stored[f"{name}.out"]) < 2e-5


def test_paste_back_whole_volumes_by_the_writer(paste_back: Case) -> None:
    """Turned along y; HU by the inverse curve; without geometry, of which ours keeps the source's."""
    stored = paste_back.arrays
    mask, edit = stored["writer.mask.in"][0, 0], stored["writer.edit.in"][0, 0]
    assert np.array_equal(mask[:, ::-1], stored["writer.mask.sitk_array"])
    assert relative(unit_to_hu(edit)[:, ::-1], stored["writer.edit.sitk_array"]) < 2e-5
    for written in ("mask", "edit"):
        assert np.array_equal(stored[f"writer.{written}.nib_affine"], np.diag([-1, -1, 1, 1]))


def test_the_seam_is_mirrored_unless_as_released() -> None:
    crop = Crop((6, 6, 6), (10, 10, 10))
    right, released = (seam_weights((22, 22, 22), crop, mirrored=mirrored) for mirrored in (True, False))
    for axis in range(3):
        assert np.array_equal(right, np.flip(right, axis))
        symmetric = np.array_equal(released, np.flip(released, axis))
        assert symmetric == (axis == 0)
    low, high = right[:, 11, 11][[4, 5, 6, 7]], right[:, 11, 11][[14, 15, 16, 17]]
    assert np.allclose(low, [0, 1 / 3, 2 / 3, 1])
    assert np.allclose(high, [1, 2 / 3, 1 / 3, 0])
    assert right.max() == 1
    assert not right[9:13, 9:13, 9:13].any()
    assert not seam_weights((10, 10, 10), Crop((0, 0, 0), (10, 10, 10))).any()


def test_paste_keeps_the_mean_and_what_is_far() -> None:
    rng = np.random.default_rng(1)
    volume, painted = rng.normal(40, 20, (24, 24, 24)), rng.normal(300, 5, (12, 12, 12))
    crop = Crop((6, 6, 6), (12, 12, 12))
    made = pasted(volume, painted, crop)
    far = np.ones(volume.shape, bool)
    far[4:20, 4:20, 4:20] = False
    assert np.array_equal(made[far], volume[far])
    inner = (slice(9, 15),) * 3
    assert np.allclose(made[inner] - made[inner].mean(), painted[3:9, 3:9, 3:9] - painted[3:9, 3:9, 3:9].mean())
    assert abs(made[crop.slices].mean() - volume[crop.slices].mean()) < 1


# --- hu_map


def test_hu_map_and_back(golden: Golden) -> None:
    stored = golden.case("hu_map").arrays
    assert np.abs(hu_to_unit(stored["hu_in"]) - stored["norm_from_f32"]).max() <= 1e-6
    assert relative(unit_to_hu(stored["norm_in"]), stored["hu_out"]) <= 1e-6


def test_hu_map_in_half_as_the_released_inference(golden: Golden) -> None:
    """To the bit where every operation is rounded; our own curve, on HU stored in float16, is within a step of it."""
    stored = golden.case("hu_map").arrays
    half = stored["hu_in"].astype(np.float16)
    assert np.array_equal(curve_in_half(half, KNOTS_HU, KNOTS_UNIT), stored["norm_from_f16_storage"])
    assert 0 < np.abs(hu_to_unit(half) - stored["norm_from_f16_storage"]).max() < 1e-3
