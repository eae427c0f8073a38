"""What every format shares: HU and back, resampling, shear, what is refused, where files may lie."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from engine.core.errors import VolumeError
from engine.core.geometry import Box, Grid
from engine.core.resample import resample
from engine.io.nifti import encode_nifti
from engine.io.nifti_header import new_header
from engine.io.volumes import Volume, finite_or_raise, looks_like_ct, read_volume
from engine.settings import Input


def in_memory(raw: np.ndarray[Any, Any], slope: float = 1, intercept: float = 0, affine: Any = None) -> Volume:
    grid = Grid(raw.shape, np.eye(4) if affine is None else affine)
    return Volume(raw, grid, slope, intercept, new_header(grid, np.int16), "")


@settings(deadline=None, max_examples=60)
@given(
    dtype=st.sampled_from(["<i2", ">i2", "<u2", "|u1", "<i4", ">f4", "<f8"]),
    slope=st.sampled_from([1.0, -1.0, 0.5, 2.0, 0.125]),
    intercept=st.sampled_from([0.0, -1024.0, 37.5]),
    seed=st.integers(0, 99),
)
def test_raw_survives_the_way_to_hu_and_back(dtype: str, slope: float, intercept: float, seed: int) -> None:
    raw = np.random.default_rng(seed).integers(0, 250, (3, 4, 5)).astype(dtype)
    volume = in_memory(raw, slope, intercept)
    hu = volume.hu(Box((1, 0, 2), (3, 4, 5)))
    assert hu.dtype == np.float32
    assert np.allclose(hu, raw[1:3, :, 2:].astype(float) * slope + intercept)
    back = volume.to_raw(hu)
    assert back.dtype == raw.dtype
    assert np.array_equal(back, raw[1:3, :, 2:])


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_hu_beyond_an_integer_type_are_clipped_to_it(dtype: str) -> None:
    volume = in_memory(np.zeros((2, 2, 2), dtype))
    low, high = volume.to_raw(np.array([-1e30, 1e30]))
    limits = np.iinfo(dtype)
    assert low == limits.min
    assert limits.max - 2048 <= high <= limits.max


def test_rounding_is_to_nearest_for_integers_and_none_for_floats() -> None:
    hu = np.array([-0.6, 0.4, 1.5, 2.5])
    assert in_memory(np.zeros((2, 2, 2), np.int16)).to_raw(hu).tolist() == [-1, 0, 2, 2]
    assert np.array_equal(in_memory(np.zeros((2, 2, 2), np.float64)).to_raw(hu), hu)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 999))
def test_resampling_from_the_box_it_needs_equals_resampling_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.integers(-1000, 1000, (9, 8, 7)).astype(np.int16)
    affine = np.diag([*rng.uniform(0.5, 3, 3), 1.0])
    if seed % 2:
        affine[:3, :3] += rng.uniform(-0.2, 0.2, (3, 3))
    volume = in_memory(raw, affine=affine)
    middle = volume.grid.to_world(rng.uniform(-2, 9, 3))
    target = np.eye(4)
    target[:3, 3] = middle - 2
    wanted = Grid((5, 4, 6), target)
    got = volume.resampled(wanted, fill=-777)
    whole = resample(volume.to_hu(raw), volume.grid, wanted, fill=-777)
    assert got.dtype == np.float32
    assert np.allclose(got, whole, atol=0.01)


@pytest.mark.parametrize("with_qform", [False, True])
def test_a_sheared_volume_is_straightened_or_refused(volumes: Any, with_qform: bool) -> None:
    tilt = np.tan(np.radians(12))
    sheared, plain = volumes.affine(3, shear=tilt), volumes.affine(3)
    # A ramp along a world axis, which linear interpolation reproduces exactly wherever the source has tissue.
    shape = (14, 15, 16)
    index = np.moveaxis(np.indices(shape), 0, -1)
    ramp = nib.affines.apply_affine(sheared, index)[..., 0]
    path = volumes.nifti(ramp.astype(np.float32), sheared, qform=int(with_qform), q_affine=plain)
    with pytest.raises(VolumeError, match=r"sheared by 12\.0 degrees.*input\.sheared: resample"):
        read_volume(str(path), Input(sheared="reject"))
    volume = read_volume(str(path))
    assert volume.resampled_from_shear
    assert volume.grid.is_orthogonal
    assert volume.raw.dtype == np.float32
    inside = volume.raw != -1000
    world = nib.affines.apply_affine(volume.grid.affine, np.argwhere(inside))
    interior = np.all(np.abs(Grid(shape, sheared).to_index(world) - (np.array(shape) - 1) / 2) < 5, axis=1)
    assert interior.sum() > 500
    assert np.abs(volume.raw[inside] - world[:, 0])[interior].max() < 0.01
    header = nib.Nifti1Header(volume.header[:348])
    assert np.allclose(header.get_sform(), header.get_qform(), atol=1e-3)
    assert np.allclose(header.get_sform(), volume.grid.affine, atol=1e-3)
    assert header["sform_code"] == header["qform_code"] == 1
    output = volumes.folder / "straight.nii.gz"
    output.write_bytes(encode_nifti(volume.header, volume.raw))
    image = sitk.ReadImage(str(output))
    for index in ((0, 0, 0), tuple(n - 1 for n in volume.raw.shape)):
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        assert np.allclose(volume.grid.to_world(index), (-x, -y, z), atol=0.01)


def test_real_cases_are_told_apart_from_mr_pet_and_labels(shared_data: Path) -> None:
    ct = {
        "ts_abdomen/ct.nii.gz",
        "ts_abdomen/ct_sm.nii.gz",
        "ts_heart_cta/ct.nii.gz",
        "spleen_bids/sub-spleen2/ct/sub-spleen2_ct.nii.gz",
        "STS_002/CT_image.nii.gz",
        "STS_033/CT_image.nii.gz",
    }
    found = {str(p.relative_to(shared_data)) for s in ("*.nii.gz", "*.nrrd") for p in shared_data.rglob(s)}
    assert ct < found
    passed = set()
    for name in found:
        try:
            looks_like_ct(read_volume(str(shared_data / name)))
        except VolumeError as error:
            assert "not in Hounsfield units" in str(error)  # noqa: PT017
        else:
            passed.add(name)
    assert passed == ct
    looks_like_ct(read_volume(str(shared_data / "dcmqi_ct3slice" / "dicom")))


@pytest.mark.parametrize("mean", [10, 45, 110])
def test_soft_tissue_alone_is_ct(mean: int) -> None:
    hu = np.random.default_rng(0).normal(mean, 12, (24, 24, 24)).astype(np.int16)
    looks_like_ct(in_memory(hu))


@pytest.mark.parametrize("kind", ["offset by 1024", "scaled to 1", "z scores", "empty", "padding", "subtracted twice"])
def test_other_scales_are_not_hu(volumes: Any, kind: str) -> None:
    hu = volumes.ct((24, 24, 24)).astype(np.float32)
    values = {
        "offset by 1024": hu + 1024,
        "scaled to 1": (hu + 1024) / 2048,
        "z scores": (hu - hu.mean()) / hu.std(),
        "empty": hu * 0,
        "padding": hu * 0 - 3024,
        "subtracted twice": hu - 1024,
    }[kind]
    with pytest.raises(VolumeError, match="not in Hounsfield units"):
        looks_like_ct(in_memory(values))


def test_padding_and_nan_do_not_hide_a_ct(volumes: Any) -> None:
    hu = volumes.ct((24, 24, 24)).astype(np.float32)
    hu[:16] = -3024
    hu[20] = np.nan
    looks_like_ct(in_memory(hu))


def test_nan_and_infinity_are_counted() -> None:
    values = np.zeros((2, 2, 2))
    assert finite_or_raise(values) is values
    values[0, 0, 0], values[1, 1, 1] = np.nan, np.inf
    with pytest.raises(VolumeError, match="2 of 8 voxels"):
        finite_or_raise(values)


def test_memory_uris_and_local_paths_read_alike(volumes: Any) -> None:
    image = sitk.GetImageFromArray(volumes.ct().T)
    sitk.WriteImage(image, str(volumes.folder / "ct.mhd"))
    sitk.WriteImage(image, str(volumes.folder / "ct.nrrd"))
    volumes.nifti()
    series = volumes.dicom(volumes.ct(), np.diag([1.0, 1, 2, 1]))
    fs = fsspec.filesystem("memory")
    fs.put(str(volumes.folder), "/case", recursive=True)
    try:
        for name in ("ct.nii.gz", "ct.mhd", "ct.nrrd", series.name):
            local, remote = read_volume(str(volumes.folder / name)), read_volume(f"memory://case/{name}")
            assert np.array_equal(local.raw, remote.raw)
            assert local.grid == remote.grid
            assert local.sha256 == remote.sha256
            assert local.header == remote.header
    finally:
        fs.rm("/case", recursive=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.nii.gz", "absent.nii.gz: no such file"),
        ("absent", "absent: no such file"),
        ("note.txt", "note.txt: is of no format that is read: .nii.gz"),
        ("01.dcm", "01.dcm: is a single DICOM slice"),
        ("empty.nii.gz", "empty.nii.gz: the file is empty"),
        ("empty.nrrd", "empty.nrrd: the file is empty"),
        ("text.nii.gz", "text.nii.gz: is not a NIfTI file"),
        ("text.nrrd", "text.nrrd: its header does not decode"),
        ("zipped.nii.gz", "zipped.nii.gz: is not a NIfTI file"),
        ("folder", "folder: holds no DICOM images"),
    ],
)
def test_what_is_no_volume_is_named_as_such(tmp_path: Path, name: str, message: str) -> None:
    for made in ("note.txt", "01.dcm", "text.nii.gz", "text.nrrd"):
        (tmp_path / made).write_text("hello " * 200)
    (tmp_path / "zipped.nii.gz").write_bytes(gzip.compress(b"hello " * 200))
    (tmp_path / "empty.nii.gz").touch()
    (tmp_path / "empty.nrrd").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(VolumeError) as caught:
        read_volume(str(tmp_path / name))
    assert str(caught.value).startswith(message)


def test_an_unknown_protocol_is_one_line() -> None:
    with pytest.raises(VolumeError, match=r"x\.nii: its address cannot be opened: Protocol not known: nowhere"):
        read_volume("nowhere://x.nii")


def test_size_is_refused_before_decoding(volumes: Any) -> None:
    path = volumes.nifti()
    data = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(data[:400]))  # no voxels: reading them would be another error
    with pytest.raises(VolumeError, match=r"is too large: 12x11x10 voxels of int16.*input\.max_volume_gb is 1e-06"):
        read_volume(str(path), Input(max_volume_gb=1e-6))


@settings(deadline=None, max_examples=60)
@given(
    order=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    degrees=st.tuples(*[st.floats(-20, 20)] * 3),
    seed=st.integers(0, 99),
)
def test_nrrd_geometry_is_simpleitks_in_ras(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], flips: Any, degrees: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    axes = np.eye(3)[:, order] * flips
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        i, j = (a for a in range(3) if a != axis)
        turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        axes = turn @ axes
    image = sitk.GetImageFromArray(rng.integers(-1000, 1000, (4, 5, 6)).astype(np.int16))
    image.SetDirection(axes.ravel())
    image.SetSpacing(rng.uniform(0.3, 5, 3))
    image.SetOrigin(rng.uniform(-300, 300, 3))
    path = tmp_path_factory.mktemp("nrrd") / "ct.nrrd"
    sitk.WriteImage(image, str(path))
    volume = read_volume(str(path))
    for index in ((0, 0, 0), (5, 0, 0), (0, 4, 0), (0, 0, 3), (5, 4, 3)):
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        assert np.allclose(volume.grid.to_world(index), (-x, -y, z), atol=1e-3)
        assert volume.raw[index] == image[index]


@pytest.mark.parametrize(
    ("stored", "kept"), [("uint8", "int16"), ("int16", "int16"), ("uint16", "int32"), ("float32", "float32")]
)
@pytest.mark.parametrize("name", ["ct.mha", "ct.mhd", "ct.nrrd", "ct.nhdr"])
def test_itk_formats_give_int16_or_wider(volumes: Any, name: str, stored: str, kept: str) -> None:
    values = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(stored)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(volumes.folder / name), True)
    volume = read_volume(str(volumes.folder / name))
    assert volume.raw.dtype == kept
    assert np.array_equal(volume.raw.T, values)
    assert volume.raw.flags.f_contiguous
    header = nib.Nifti1Header(volume.header[:348])
    assert header["sform_code"] == header["qform_code"] == 1
    assert header.get_data_shape() == volume.raw.shape


@pytest.mark.parametrize("name", ["ct.mha", "ct.nrrd", "ct.mhd"])
def test_truncated_itk_files_are_named_as_such(volumes: Any, name: str) -> None:
    path = volumes.folder / name
    sitk.WriteImage(sitk.GetImageFromArray(volumes.ct((20, 20, 20))), str(path))
    data = path.with_suffix(".raw") if name == "ct.mhd" else path
    data.write_bytes(data.read_bytes()[:6000])
    with pytest.raises(VolumeError, match=r"its voxels do not decode: the file is truncated or corrupt") as caught:
        read_volume(str(path))
    assert str(volumes.folder) not in str(caught.value)


def test_detached_data_must_lie_beside_its_header(volumes: Any) -> None:
    path = volumes.folder / "ct.mhd"
    sitk.WriteImage(sitk.GetImageFromArray(volumes.ct()), str(path))
    whole = read_volume(str(path))
    (volumes.folder / "ct.raw").write_bytes(bytes(12 * 11 * 10 * 2))
    assert read_volume(str(path)).sha256 != whole.sha256
    path.write_text(path.read_text().replace("ct.raw", "../ct.raw"))
    with pytest.raises(VolumeError, match=r"names its data file as '\.\./ct\.raw'"):
        read_volume(str(path))
    path.write_text(path.read_text().replace("../ct.raw", "gone.raw"))
    with pytest.raises(VolumeError, match="no such file"):
        read_volume(str(path))


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        ((8, 9), sitk.sitkInt16, r"is 2-D \(8x9\)"),
        ((8, 9, 4, 3), sitk.sitkInt16, r"is 4-D with 3 frames"),
        ((8, 9, 4), sitk.sitkVectorUInt8, r"unsupported type 'vector of 8-bit unsigned integer'"),
    ],
)
def test_itk_files_that_are_no_scalar_volume(volumes: Any, shape: Any, kind: int, message: str) -> None:
    path = str(volumes.folder / "odd.nrrd")
    sitk.WriteImage(sitk.Image(shape, kind), path)
    with pytest.raises(VolumeError, match=message):
        read_volume(path)


def test_volumes_are_read_only(volumes: Any) -> None:
    volume = read_volume(str(volumes.nifti()))
    with pytest.raises(ValueError, match="read-only"):
        volume.raw[0, 0, 0] = 1
    assert replace(volume, sha256="").raw is volume.raw


def test_straightening_matches_scipy_on_a_real_case(shared_data: Path, volumes: Any) -> None:
    source = nib.load(shared_data / "ts_abdomen" / "ct_sm.nii.gz")
    values = np.asarray(source.dataobj)
    sheared = source.affine.copy()
    sheared[1, 2] += 0.5
    volume = read_volume(str(volumes.nifti(values, sheared)))
    matrix = np.linalg.inv(sheared) @ volume.grid.affine
    there = ndimage.affine_transform(
        values.astype(float), matrix[:3, :3], matrix[:3, 3], output_shape=volume.raw.shape, order=1, cval=np.nan
    )
    seen = np.isfinite(there)
    assert seen.mean() > 0.5
    assert np.abs(volume.raw[seen] - there[seen]).max() <= 0.51
