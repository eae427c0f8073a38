"""NIfTI against nibabel and SimpleITK: geometry, types, what is kept, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engine.core.errors import VolumeError
from engine.core.geometry import Box
from engine.io.nifti import crop_header, encode_label, encode_nifti
from engine.io.volumes import read_volume
from engine.settings import Input

FREE_TEXT = ("data_type", "db_name", "descrip", "aux_file", "intent_name")


def sitk_affine(path: Path) -> np.ndarray[Any, Any]:
    """RAS affine as SimpleITK sees it."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


def load(data: bytes) -> Any:
    return nib.Nifti1Image.from_bytes(gzip.decompress(data))


def assert_all_agree(path: Path) -> None:
    """Our grid, nibabel's and SimpleITK's put every corner within 0.1 mm; the HU are nibabel's."""
    volume, theirs = read_volume(str(path)), nib.load(path)
    corners = Box.whole(volume.grid.shape).corners()
    ours_mm = volume.grid.to_world(corners)
    for affine in (theirs.affine, sitk_affine(path)):
        assert np.abs(nib.affines.apply_affine(affine, corners) - ours_mm).max() < 0.1
    hu = np.asanyarray(theirs.dataobj).reshape(volume.raw.shape)
    assert np.allclose(volume.hu(Box.whole(volume.raw.shape)), hu, atol=1e-3)


@settings(deadline=None, max_examples=60)
@given(
    order=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    degrees=st.floats(0, 40),
    forms=st.sampled_from([(1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (1, 2), (4, 2)]),
    seed=st.integers(0, 999),
)
def test_geometry_agrees_with_nibabel_and_simpleitk(
    tmp_path_factory: pytest.TempPathFactory,
    order: list[int],
    flips: Any,
    degrees: float,
    forms: tuple[int, int],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ (np.eye(3)[:, order] * flips) * rng.uniform(0.3, 6, 3)
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    image = nib.Nifti1Image(rng.integers(-1000, 1000, (5, 6, 7)).astype(np.int16), None)
    image.header.set_sform(affine, forms[0])
    image.header.set_qform(affine, forms[1])
    path = tmp_path_factory.mktemp("nifti") / "ct.nii"
    nib.save(nib.Nifti1Image(image.dataobj, None, image.header), path)
    assert_all_agree(path)


def test_geometry_of_real_cases_agrees(shared_data: Path) -> None:
    paths = sorted(shared_data.rglob("*.nii.gz"))
    assert len(paths) > 20
    for path in paths:
        assert_all_agree(path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_every_type_order_and_version_is_kept(volumes: Any, name: str, dtype: str, order: str, version: int) -> None:
    values = np.random.default_rng(0).integers(0, 120, (5, 6, 7)).astype(dtype)
    path = volumes.nifti(values, volumes.affine(1), name, order=order, version=version)
    volume = read_volume(str(path))
    assert volume.raw.dtype == np.dtype(dtype).newbyteorder(order)
    assert np.array_equal(volume.raw, values)
    assert volume.raw.flags.f_contiguous
    assert volume.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    written = volumes.folder / "again.nii.gz"
    written.write_bytes(encode_nifti(volume.header, volume.raw))
    again = nib.load(written)
    assert type(again) is type(nib.load(path))
    assert again.header.endianness == order
    assert np.array_equal(np.asanyarray(again.dataobj), values)


def test_the_output_header_keeps_everything_but_free_text(volumes: Any) -> None:
    def edit(header: Any) -> None:
        for field in FREE_TEXT:
            header[field] = b"Doe^Jane"
        header["cal_min"], header["cal_max"], header["toffset"] = -160, 240, 3
        header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Doe^Jane"))

    path = volumes.nifti(affine=volumes.affine(2), qform=2, q_affine=volumes.affine(2), edit=edit)
    source = gzip.decompress(path.read_bytes())
    assert source.count(b"Doe^Jane") == 6
    volume = read_volume(str(path))
    output = gzip.decompress(encode_nifti(volume.header, volume.raw))
    assert b"Doe" not in output
    before, after = nib.Nifti1Header(source[:348]), nib.Nifti1Header(output[:348])
    for field in set(before.keys()) - {*FREE_TEXT, "vox_offset"}:
        assert before[field].tobytes() == after[field].tobytes(), field
    assert len(volume.header) == after["vox_offset"] == 352
    assert output[352:] == source[int(before["vox_offset"]) :]


@pytest.mark.parametrize(
    ("slope", "inter", "expected"),
    [(2, -1024, (2, -1024)), (0, -1024, (1, 0)), (np.nan, np.nan, (1, 0)), (-0.5, 3, (-0.5, 3)), (1, 0, (1, 0))],
)
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_scaling_follows_nibabel(volumes: Any, slope: float, inter: float, expected: Any, dtype: str) -> None:
    path = scaled(volumes, slope, inter, dtype)
    volume = read_volume(str(path))
    assert (volume.slope, volume.intercept) == expected
    assert np.allclose(volume.hu(Box.whole(volume.raw.shape)), nib.load(path).get_fdata())
    assert volume.header[112:120] == path.read_bytes()[112:120]


@pytest.mark.parametrize(("slope", "inter"), [(np.inf, 0), (1, np.nan), (1, np.inf)])
def test_scaling_without_a_meaning_is_refused(volumes: Any, slope: float, inter: float) -> None:
    with pytest.raises(VolumeError, match="scaling is not finite"):
        read_volume(str(scaled(volumes, slope, inter, "int16")))


def scaled(volumes: Any, slope: float, inter: float, dtype: str) -> Path:
    path: Path = volumes.nifti(volumes.ct().astype(dtype), name="ct.nii")
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([slope, inter], "<f4").tobytes()
    path.write_bytes(data)
    return path


def test_one_frame_is_three_dimensional_inside_and_four_outside(volumes: Any) -> None:
    path = volumes.nifti(volumes.ct((5, 6, 7, 1)))
    volume = read_volume(str(path))
    assert volume.raw.shape == volume.grid.shape == (5, 6, 7)
    assert load(encode_nifti(volume.header, volume.raw)).shape == (5, 6, 7, 1)
    assert load(encode_label(volume.header, np.zeros((5, 6, 7), np.uint8))).shape == (5, 6, 7, 1)


def test_gzip_is_told_by_its_bytes_not_by_its_name(volumes: Any) -> None:
    path = volumes.nifti()
    expected = read_volume(str(path)).raw
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert np.array_equal(read_volume(str(path)).raw, expected)
    path = path.rename(path.with_name("ct.nii"))
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert np.array_equal(read_volume(str(path)).raw, expected)


@pytest.mark.parametrize("keep", [30, 200, 1000, -9, -1])
def test_truncated_gzip_is_named_as_such(volumes: Any, keep: int) -> None:
    path = volumes.nifti()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(VolumeError, match=r"^ct\.nii\.gz: the file is truncated: its gzip stream breaks off$"):
        read_volume(str(path))


@pytest.mark.parametrize("at", [-6, -3, 700])
def test_corrupt_gzip_is_named_as_such(volumes: Any, at: int) -> None:
    path = volumes.nifti()
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(
        VolumeError, match=r"^ct\.nii\.gz: the file is (corrupt: its gzip stream does not decode|trunc)"
    ):
        read_volume(str(path))


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_fewer_voxels_than_promised(volumes: Any, name: str) -> None:
    path = volumes.nifti(name="whole.nii")
    data = path.read_bytes()[:-7]
    path = path.with_name(name)
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(VolumeError, match="header promises 2640 bytes of voxels, it holds 2633"):
        read_volume(str(path))


def zero_column(header: Any) -> None:
    header["srow_x"][1] = header["srow_y"][1] = header["srow_z"][1] = 0


def not_finite(header: Any) -> None:
    header["srow_x"][1] = np.nan


def in_metres(header: Any) -> None:
    header["xyzt_units"] = 1


def other_zooms(header: Any) -> None:
    header["pixdim"][1:4] = 5


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (zero_column, "affine is singular"),
        (not_finite, "affine is not a finite 4x4 matrix"),
        (in_metres, "gives its voxel size in metres"),
        (other_zooms, r"5 x 5 x 5 mm in pixdim but 0\.8 x 0\.9 x 2 mm in the sform.*input\.forms: sform"),
    ],
)
def test_unusable_geometry_is_refused(volumes: Any, edit: Any, message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        read_volume(str(volumes.nifti(edit=edit)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((8, 9), np.int16), r"is 2-D \(8x9\)"),
        (np.zeros((8, 9, 1), np.int16), r"is 2-D \(8x9x1\)"),
        (np.zeros((8, 9, 4, 3), np.int16), r"is 4-D with 3 frames \(8x9x4x3\)"),
        (np.zeros((4, 5, 6), [(c, "u1") for c in "RGB"]), "unsupported type 'RGB'"),
        (np.zeros((4, 5, 6), np.complex64), "unsupported type 'complex64'"),
    ],
)
def test_arrays_that_are_no_scalar_volume_are_refused(volumes: Any, values: Any, message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        read_volume(str(volumes.nifti(values)))


def test_forms_that_disagree_are_refused_or_followed(volumes: Any) -> None:
    sform, qform = volumes.affine(4), volumes.affine(4)
    qform[:3, 3] += (3, 4, 0)
    path = str(volumes.nifti(affine=sform, qform=1, q_affine=qform))
    with pytest.raises(VolumeError, match=r"corners 5\.00 mm apart.*input\.forms: sform \| qform"):
        read_volume(path)
    assert np.allclose(read_volume(path, Input(forms="sform")).grid.affine, sform, atol=1e-4)
    assert np.allclose(read_volume(path, Input(forms="qform")).grid.affine, qform, atol=1e-4)


def test_forms_within_a_tenth_of_a_millimetre_agree(volumes: Any) -> None:
    sform, qform = volumes.affine(4), volumes.affine(4)
    qform[:3, 3] += 0.05
    assert np.allclose(
        read_volume(str(volumes.nifti(affine=sform, qform=1, q_affine=qform))).grid.affine, sform, atol=1e-4
    )


def test_without_codes_the_zooms_are_taken_as_nibabel_does(volumes: Any) -> None:
    path = volumes.nifti(sform=0, qform=0)
    volume = read_volume(str(path))
    assert np.allclose(volume.grid.affine, nib.load(path).affine)
    assert np.allclose(volume.grid.spacing_mm, (0.8, 0.9, 2))


@pytest.mark.parametrize("forms", [(1, 0), (0, 1), (2, 1), (0, 0)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_crop_lies_where_its_voxels_lay(volumes: Any, forms: tuple[int, int], order: str) -> None:
    affine = volumes.affine(5)
    path = volumes.nifti(affine=affine, q_affine=affine, sform=forms[0], qform=forms[1], order=order)
    volume, source = read_volume(str(path)), nib.load(path)
    box = Box((3, 2, 1), (9, 8, 7))
    crop = load(encode_nifti(crop_header(volume.header, box), volume.raw[box.slices]))
    assert np.array_equal(np.asanyarray(crop.dataobj), np.asanyarray(source.dataobj)[3:9, 2:8, 1:7])
    assert np.allclose(crop.affine, source.slicer[3:9, 2:8, 1:7].affine, atol=1e-3)
    if forms != (0, 0):
        assert (crop.header["sform_code"], crop.header["qform_code"]) == forms
    if forms[1]:
        assert np.allclose(crop.header.get_qform(), crop.affine, atol=1e-3)
    file = volumes.folder / "crop.nii.gz"
    file.write_bytes(encode_nifti(crop_header(volume.header, box), volume.raw[box.slices]))
    assert read_volume(str(file)).grid.same_space(volume.grid.crop(box))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_label_lies_on_the_grid_of_its_image(volumes: Any, order: str) -> None:
    path = volumes.nifti(affine=volumes.affine(6), q_affine=volumes.affine(6), qform=1, order=order)
    volume, source = read_volume(str(path)), nib.load(path)
    labels = np.random.default_rng(0).integers(0, 3, volume.raw.shape).astype(np.uint8)
    label = load(encode_label(volume.header, labels))
    assert label.get_data_dtype() == np.uint8
    assert np.array_equal(np.asanyarray(label.dataobj), labels)
    assert label.header.endianness == order
    assert label.dataobj.slope == 1
    assert label.dataobj.inter == 0
    for field in ("dim", "pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
        assert label.header[field].tobytes() == source.header[field].tobytes()


def test_equal_voxels_give_equal_bytes_without_time_or_name(volumes: Any) -> None:
    volume = read_volume(str(volumes.nifti()))
    data = encode_nifti(volume.header, volume.raw)
    assert data == encode_nifti(volume.header, np.ascontiguousarray(volume.raw))
    assert data[:8] == b"\x1f\x8b\x08\x00" + bytes(4)
    assert gzip.GzipFile(fileobj=io.BytesIO(data)).read()[352:] == volume.raw.tobytes(order="F")


def test_voxels_that_do_not_fit_the_header_are_a_bug(volumes: Any) -> None:
    volume = read_volume(str(volumes.nifti()))
    for wrong in (volume.raw[1:], volume.raw.astype(np.float32)):
        with pytest.raises(ValueError, match="header of"):
            encode_nifti(volume.header, wrong)
