"""Whatever has happened to a file, reading it gives a volume or one line; nothing else would leave the others alone."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from engine.core.errors import VolumeError
from engine.io.volumes import looks_like_ct, of_file, read_volume
from made_cases import body, dicom_series, oblique, save

DAMAGES = 60


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    hu = body(0, (24, 20, 16))[0].astype(np.int16)
    save(folder / "ct.nii", hu, oblique(12))
    save(folder / "ct.nii.gz", hu, oblique(12))
    image = sitk.GetImageFromArray(hu.T)
    sitk.WriteImage(image, str(folder / "ct.nrrd"), True)
    sitk.WriteImage(image, str(folder / "ct.mha"), True)
    dicom_series(folder / "series", [0, 2, 4])
    return folder


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, lost or cut off; most damage is to the header, where it can do most."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(min(len(out), 400 if rng.random() < 0.8 else len(out))))
        match int(rng.integers(8)):
            case 0:
                del out[at:]
            case 1 | 2:
                del out[at : at + int(rng.integers(1, 8))]
            case _:
                out[at : at + 2] = rng.bytes(int(rng.integers(1, 5)))
        out = out or bytearray(b"\0")
    return bytes(out)


def hurt(file: Path, rng: np.random.Generator, *, inside_gzip: bool) -> None:
    data = file.read_bytes()
    file.write_bytes(gzip.compress(damaged(gzip.decompress(data), rng), 1) if inside_gzip else damaged(data, rng))


@pytest.mark.filterwarnings("ignore")  # what numpy and pydicom think of the values
@pytest.mark.parametrize(
    ("name", "part", "inside_gzip"),
    [
        ("ct.nii", "", False),
        ("ct.nii.gz", "", False),
        ("ct.nii.gz", "", True),
        ("ct.nrrd", "", False),
        ("ct.mha", "", False),
        ("series", "0001.dcm", False),
    ],
)
def test_damage_never_surprises(whole: Path, tmp_path: Path, name: str, part: str, inside_gzip: bool) -> None:
    refusals = []
    for seed in range(DAMAGES):
        copy = tmp_path / str(seed)
        shutil.copytree(whole, copy)
        hurt(copy / name / part, np.random.default_rng(seed), inside_gzip=inside_gzip)
        try:
            volume = read_volume(str(copy / name))
            with of_file(name):
                looks_like_ct(volume)
        except VolumeError as error:
            refusals.append(str(error))
    assert len(refusals) > DAMAGES / 4
    for refusal in refusals:
        assert refusal.startswith(f"{name}: ")
        assert "\n" not in refusal
        assert str(tmp_path) not in refusal


@pytest.mark.parametrize("name", ["ct.mha", "ct.mhd", "ct.nrrd", "ct.nhdr", "ct.nii.gz"])
def test_no_changed_bit_of_compressed_voxels_goes_unseen(tmp_path: Path, name: str) -> None:
    """Decoders know many of them by the checksum alone, and ITK does not look."""
    hu = body(0, (24, 20, 16))[0].astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(hu.T), str(tmp_path / name), True)
    voxels = next((path for path in tmp_path.iterdir() if path.suffix in (".zraw", ".gz")), tmp_path / name)
    whole = voxels.read_bytes()
    start = next((whole.index(end) + len(end) for end in (b"LOCAL\n", b"\n\n") if end in whole[:1000]), 0)
    assert np.array_equal(read_volume(str(tmp_path / name)).raw, hu)
    for at in np.linspace(start + 10, len(whole) - 1, 50).astype(int):
        voxels.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(VolumeError, match=rf"^{name}: (the file is|its voxels) "):
            read_volume(str(tmp_path / name))


def test_compressed_voxels_of_another_size_than_the_headers(tmp_path: Path) -> None:
    path = tmp_path / "ct.mha"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((16, 20, 24), np.int16)), str(path), True)
    path.write_bytes(path.read_bytes().replace(b"DimSize = 24 20 16", b"DimSize = 24 20 19"))
    with pytest.raises(VolumeError, match=r"its voxels decompress to 15360 bytes, and its header asks for 18240"):
        read_volume(str(path))
