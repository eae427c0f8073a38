"""{number of a lesion} -> crop."""

from __future__ import annotations

import json
import pickle
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from engine.core.errors import CaseError
from engine.training import volumes
from engine.training.decoding import Decoder
from known_cases import LARGE, LESION_HU, SMALL, same_crop
from made_cases import LIVER, SPLEEN, oblique, revalue, sheared, spoil

ONE_MM = np.diag([-1.0, 1.0, 1.0, 1.0])
"""Axes L A S."""


def centroid_mm(lesion: tuple[slice, ...], affine: np.ndarray) -> tuple[float, ...]:
    middle = [(s.start + s.stop - 1) / 2 for s in lesion]
    return tuple(float(mm) for mm in (affine @ [*middle, 1.0])[:3])


def stored(folder: Any, name: str) -> np.ndarray:
    return np.asarray(nib.load(folder / f"{name}.nii.gz").dataobj)


def test_at_1_mm_a_crop_is_the_volume_s_own_voxels(known, training):
    """Lesion 8 x 8 x 6 from (18, 30, 26) on, so a crop of (S A L) = 24 x 20 x 16 begins at (17, 24, 14)."""
    folder = known.add("p1", affine=ONE_MM)
    crop = Decoder(training(), [known.lesion("p1")])(0)
    there = (slice(14, 30), slice(24, 44), slice(17, 41))
    image, organs = (stored(folder, name)[there].transpose(2, 1, 0) for name in ("ct", "organs"))
    label = np.zeros(organs.shape)
    label[organs == LIVER] = 1
    label[26 - 17 : 32 - 17, 30 - 24 : 38 - 24, 18 - 14 : 26 - 14] = 2
    assert crop.image_hu.shape == (24, 20, 16)
    assert np.array_equal(crop.image_hu, image)
    assert np.array_equal(crop.organs, organs)
    assert np.array_equal(crop.label, label)  # the smaller lesion, which is in view, is the host's
    assert (crop.case_id, crop.hosts, crop.asked_hu) == ("p1", (LIVER,), None)
    assert [getattr(crop, name).dtype for name in ("image_hu", "organs", "label")] == [np.float32, np.uint8, np.uint8]


def test_another_spacing_is_resampled(known, training):
    known.add("p1")
    crop = Decoder(training(data={"crop": (40, 40, 40)}), [known.lesion("p1")])(0)
    size = [int(np.ptp(np.nonzero(crop.label == 2)[axis])) + 1 for axis in range(3)]
    assert np.abs(np.subtract(size, (18, 16, 16))).max() <= 1
    assert np.median(crop.image_hu[crop.label == 2]) == LESION_HU


@pytest.mark.parametrize("affine", [oblique(16.0), sheared(12.0)], ids=["oblique", "sheared"])
def test_tilted_volumes(known, training, affine):
    known.add("p1", affine=affine)
    crop = Decoder(training(data={"crop": (40, 40, 40)}), [known.lesion("p1")])(0)
    voxels = int((crop.label == 2).sum())
    assert 0.85 < voxels / (16 * 16 * 18) < 1.15
    assert np.median(crop.image_hu[crop.label == 2]) == LESION_HU


@pytest.mark.parametrize(("outside", "fill"), [("air", -1000), ("zero_hu", 0)])
def test_beyond_the_volume(known, training, outside, fill):
    """48 slices of 3 mm are 142 mm; the crop is laid evenly about them."""
    known.add("p1")
    crop = Decoder(training(data={"crop": (162, 20, 16), "outside": outside}), [known.lesion("p1")])(0)
    beyond = np.r_[0:9, 153:162]
    assert (crop.image_hu[beyond] == fill).all()
    assert not crop.organs[beyond].any()
    assert not crop.label[beyond].any()
    assert (crop.image_hu[10:152] != fill).any(axis=(1, 2)).all()


def test_a_lesion_by_its_centroid(known, training):
    known.add("p1", affine=ONE_MM)
    by_place = [known.lesion("p1", centroid_mm=centroid_mm(place, ONE_MM)) for place in (LARGE, SMALL)]
    decoder = Decoder(training(), by_place)
    assert [int((decoder(n).label == 2).sum()) for n in (0, 1)] == [8 * 8 * 6, 3 * 3 * 2]


def test_pieces_of_one_lesion(known, training):
    """Where every lesion of the label is known, a piece is part of the nearest one."""
    folder = known.add("p1", affine=ONE_MM)
    large, small = (centroid_mm(place, ONE_MM) for place in (LARGE, SMALL))

    def apart(label: np.ndarray) -> np.ndarray:
        label[21, 33, 35] = 2  # beside the large one
        return label

    revalue(folder / "label.nii.gz", apart)
    alone = known.lesion("p1", centroid_mm=large)
    listed = [
        known.lesion("p1", centroid_mm=large, others_mm=(small,)),
        known.lesion("p1", centroid_mm=large, others_mm=()),
    ]
    decoder = Decoder(training(data={"crop": (60, 40, 40)}), [alone, *listed])
    assert [int((decoder(n).label == 2).sum()) for n in range(3)] == [384, 385, 384 + 1 + 18]


def test_lmnet_is_shown_the_healthy_map(known, training):
    folder = known.add("p1", affine=ONE_MM)

    def without_lesion(organs: np.ndarray) -> np.ndarray:
        organs[LARGE] = 0
        return organs

    (folder / "healthy.nii.gz").write_bytes((folder / "organs.nii.gz").read_bytes())
    revalue(folder / "organs.nii.gz", without_lesion)
    lesion = known.lesion("p1", healthy_organs_uri=str(folder / "healthy.nii.gz"))
    lmnet, linet = (Decoder(training(network), [lesion])(0) for network in ("lmnet", "linet"))
    assert (lmnet.organs[lmnet.label == 2] == LIVER).all()
    assert not linet.organs[linet.label == 2].any()


def test_the_vq_gan_opens_neither_organs_nor_report(known, training):
    known.add("p1")
    lesion = known.lesion("p1", organs_uri="gone.nii.gz", report_uri="gone.json")
    crop = Decoder(training("vq"), [lesion])(0)
    assert (crop.label == 2).any()
    assert not (crop.label == 1).any()
    assert not crop.organs.any()
    assert (crop.hosts, crop.mask_text, crop.paint_text, crop.asked_hu) == ((), {}, {}, None)


def test_ids_of_the_newer_task(known, training):
    folder = known.add("p1", affine=ONE_MM)
    before = Decoder(training(), [known.lesion("p1")])(0)
    revalue(folder / "organs.nii.gz", lambda organs: np.where(organs == 3, 3, organs).astype(np.uint8))
    after = Decoder(training(), [known.lesion("p1", scheme="total_v2")])(0)
    assert after.hosts == before.hosts == (LIVER,)


def test_the_same_number_is_the_same_crop(known, training):
    for n in range(2):
        known.add(f"p{n}", seed=n)
    decoder = Decoder(training(), [known.lesion("p0"), known.lesion("p1")])
    first = [decoder(0), decoder(1), decoder(0)]
    assert same_crop(first[0], first[2])
    assert not same_crop(first[0], first[1])
    assert same_crop(pickle.loads(pickle.dumps(decoder))(1), first[1])  # noqa: S301 - our own


def test_lesions_of_one_volume_read_it_once(known, training, monkeypatch):
    for case_id in ("p1", "p2"):
        known.add(case_id)
    read: list[str] = []

    def reading(name: str, function: Any) -> None:
        monkeypatch.setattr(volumes, name, lambda uri, *rest: (read.append(uri), function(uri, *rest))[1])

    for name in ("read_volume", "read_label", "read_organ_map"):
        reading(name, getattr(volumes, name))
    places = [centroid_mm(place, np.diag([-2.0, 2.0, 3.0, 1.0])) for place in (LARGE, SMALL)]
    lesions = [known.lesion(case_id, centroid_mm=place) for case_id in ("p1", "p2") for place in places]
    decoder = Decoder(training(), lesions)
    for n in range(4):
        decoder(n)
    assert len(read) == len(set(read)) == 6


def other_grid(label: np.ndarray) -> np.ndarray:
    return label[:-2]


def elsewhere(folder: Any, name: str) -> None:
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = 900
    revalue(folder / name, lambda values: values, affine=affine)


BAD: dict[str, tuple[Any, str]] = {
    "label without lesion": (
        lambda folder: revalue(folder / "label.nii.gz", lambda v: np.minimum(v, 1)),
        r"label.nii.gz: is a label without a lesion: no voxel is 2",
    ),
    "label of another grid": (
        lambda folder: revalue(folder / "label.nii.gz", other_grid),
        r"label.nii.gz: is a label of another grid: 70x64x48 from .* its image is 72x64x48 from",
    ),
    "label elsewhere": (lambda folder: elsewhere(folder, "label.nii.gz"), r"from \[900, 900, 900\] mm on, its image"),
    "label that is none": (
        lambda folder: revalue(folder / "label.nii.gz", lambda v: v.astype(np.int16) * 3),
        r"label.nii.gz: is no label: it holds 3; 0 is nothing, 1 the host organ, 2 lesion",
    ),
    "label gone": (lambda folder: (folder / "label.nii.gz").unlink(), r"label.nii.gz: no such file"),
    "organ map elsewhere": (
        lambda folder: elsewhere(folder, "organs.nii.gz"),
        r"organ map organs.nii.gz: lies in another space",
    ),
    "organ map of one organ": (
        lambda folder: revalue(folder / "organs.nii.gz", lambda v: v * (v == SPLEEN)),
        "",  # the only organ named is taken as it is
    ),
    "volume cut off": (
        lambda folder: spoil(folder / "ct.nii.gz", lambda data: data[: len(data) // 2]),
        r"ct.nii.gz: the file is truncated",
    ),
    "no CT": (
        lambda folder: revalue(folder / "ct.nii.gz", lambda v: np.abs(v).astype(np.uint8)),
        r"ct.nii.gz: is not in Hounsfield units",
    ),
    "NaN": (
        lambda folder: revalue(folder / "ct.nii.gz", lambda v: np.where(v == LESION_HU, np.nan, v).astype(np.float32)),
        r"ct.nii.gz: holds NaN or infinite values in the region used",
    ),
    "report gone": (lambda folder: (folder / "type.json").unlink(), r"report type.json: no such file"),
    "report without a key": (lambda folder: (folder / "type.json").write_text("{}"), r"its report names no lesion"),
    "report of other organs": (
        lambda folder: (folder / "type.json").write_text(
            json.dumps({"1": ["", "", {"shape": "cystic,"}], "3": ["", "", {"shape": "cystic,"}]})
        ),
        r"its report names spleen, kidney_left, and the organ map has nothing of that where the lesion is",
    ),
    "report of no known word": (
        lambda folder: (folder / "type.json").write_text('{"5": ["", "", {"shape": "rond-like,"}]}'),
        r"report type.json: shape: unknown value 'rond-like'; did you mean",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_cases_are_named_in_one_line(known, training, kind):
    spoiled, line = BAD[kind]
    folder = known.add("p1")
    spoiled(folder)
    decoder = Decoder(training(), [known.lesion("p1", report="", report_uri=str(folder / "type.json"))])
    if not line:
        assert decoder(0).hosts == (LIVER,)
        return
    with pytest.raises(CaseError, match=rf"^p1: .*{line}") as caught:
        decoder(0)
    assert "\n" not in str(caught.value)


def test_a_centroid_that_is_not_the_lesion_s(known, training):
    """Such as one in LPS."""
    known.add("p1")
    x, y, z = centroid_mm(LARGE, np.diag([-2.0, 2.0, 3.0, 1.0]))
    with pytest.raises(CaseError, match=r"label.nii.gz: has no lesion at its centroid_mm .* world RAS"):
        Decoder(training(), [known.lesion("p1", centroid_mm=(-x, -y, z))])(0)


def test_the_next_case_is_not_taken_for_a_bad_one(known, training):
    """Nor does a bad one leave anything behind."""
    for case_id in ("p1", "p2"):
        known.add(case_id)
    (known.folder / "p1" / "label.nii.gz").unlink()
    decoder = Decoder(training(), [known.lesion("p1"), known.lesion("p2")])
    for _ in range(2):
        with pytest.raises(CaseError, match=r"^p1: label"):
            decoder(0)
        assert decoder(1).case_id == "p2"
