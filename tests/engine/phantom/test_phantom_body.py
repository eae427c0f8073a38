"""A phantom's anatomy, judged in world coordinates, whatever the array's orientation."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from engine.core.anatomy import V1_IDS, V1_NAMES, find_organ
from engine.core.errors import UsageError
from engine.core.geometry import Box
from engine.core.resample import resample
from engine.phantom.body import make_phantom

COARSE = {"shape": (95, 72, 116), "spacing_mm": (4.0, 4.0, 4.0)}
ORIENTATIONS = ("RAS", "LPS", "PSR", "IRA")


@pytest.fixture(scope="module")
def phantoms():
    return {orientation: make_phantom(7, orientation=orientation, **COARSE) for orientation in ORIENTATIONS}


@pytest.fixture(scope="module")
def fine():
    return make_phantom(11)


def centroid(phantom, organ: str) -> np.ndarray:
    """World RAS mm."""
    return phantom.grid.to_world(np.argwhere(find_organ(organ).mask(phantom.organs)).mean(axis=0))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_anatomy_lies_on_its_sides_of_the_world(phantoms, orientation):
    phantom = phantoms[orientation]
    x, y, z = np.moveaxis(
        np.array([centroid(phantom, name) for name in ("liver", "spleen", "urinary_bladder", "heart_myocardium")]),
        -1,
        0,
    )
    assert phantom.grid.orientation == orientation
    assert x[0] > 20  # liver: the patient's right
    assert x[1] < -60  # spleen: left
    assert z[2] < z[0] - 100  # bladder far below the liver
    assert z[3] > z[0]  # heart above it
    assert x[3] < 0  # and to the left
    assert y[2] > y[1]  # bladder in front of the spleen
    for organ in ("aorta", "liver", "stomach", "pancreas", "colon"):
        assert centroid(phantom, "vertebrae")[1] < centroid(phantom, organ)[1] - 5  # spine behind
    for organ in ("kidney", "lung", "iliac_artery", "iliopsoas", "hip"):
        assert centroid(phantom, f"{organ}_right")[0] > 20
        assert centroid(phantom, f"{organ}_left")[0] < -20
    assert centroid(phantom, "inferior_vena_cava")[0] > centroid(phantom, "aorta")[0]


def test_vertebrae_and_ribs_are_in_order_from_below(phantoms):
    heights = [centroid(phantoms["RAS"], f"vertebrae_{v}")[2] for v in ("L5", "L3", "L1", "T12", "T10", "T8")]
    assert heights == sorted(heights)
    ribs = [centroid(phantoms["RAS"], f"rib_left_{n}")[2] for n in (11, 9, 7)]
    assert ribs == sorted(ribs)


@pytest.mark.parametrize("orientation", ORIENTATIONS[1:])
def test_the_body_is_the_same_in_the_world_whatever_the_orientation(phantoms, orientation):
    ras, other = phantoms["RAS"], phantoms[orientation]
    for name in ("hu", "organs"):
        turned = nib.as_closest_canonical(nib.Nifti1Image(getattr(other, name).astype(np.int16), other.grid.affine))
        np.testing.assert_array_equal(np.asarray(turned.dataobj), getattr(ras, name))
        np.testing.assert_allclose(turned.affine, ras.grid.affine, atol=1e-9)


def test_the_body_does_not_depend_on_where_and_how_finely_it_is_scanned(phantoms):
    coarse = phantoms["RAS"]
    moved = make_phantom(7, shape=(91, 70, 100), spacing_mm=(4.0, 4.0, 4.0), centre_mm=(8.0, 0.0, -8.0))
    there = resample(moved.organs, moved.grid, coarse.grid, interpolation="nearest", fill=255)
    seen = there != 255
    assert seen.sum() > 500_000
    np.testing.assert_array_equal(there[seen], coarse.organs[seen])  # the two grids share their lattice


def test_same_seed_same_bytes_and_other_seed_another_body(phantoms):
    again, other = make_phantom(7, **COARSE), make_phantom(8, **COARSE)
    assert again.hu.tobytes() == phantoms["RAS"].hu.tobytes()
    assert again.organs.tobytes() == phantoms["RAS"].organs.tobytes()
    assert (other.organs != again.organs).mean() > 0.02


@pytest.mark.parametrize(
    "organ",
    ["liver", "spleen", "kidney_right", "kidney_left", "pancreas", "colon", "urinary_bladder", "stomach"],
)
def test_every_organ_of_the_demo_holds_a_20_mm_lesion(fine, organ):
    mask = find_organ(organ).mask(fine.organs)
    box = Box.of_mask(mask)
    assert box is not None
    depth_mm = ndimage.distance_transform_edt(np.pad(mask[box.slices], 1), sampling=fine.grid.spacing_mm)
    assert depth_mm.max() > 11


def test_hu_are_those_of_the_tissues(fine):
    def inner_median(organ: str) -> float:
        return float(np.median(fine.hu[ndimage.binary_erosion(find_organ(organ).mask(fine.organs), iterations=2)]))

    assert inner_median("liver") == pytest.approx(56, abs=12)
    assert inner_median("spleen") == pytest.approx(50, abs=8)
    assert inner_median("kidney") == pytest.approx(35, abs=8)
    assert inner_median("urinary_bladder") == pytest.approx(5, abs=10)
    assert inner_median("lung") == pytest.approx(-850, abs=40)
    assert inner_median("vertebrae") > 150
    assert fine.hu[0, 0, 0] < -900
    assert (fine.hu[find_organ("colon").mask(fine.organs)] < -800).any()  # gas
    assert (fine.hu[find_organ("stomach").mask(fine.organs)] < -800).any()
    assert fine.hu.dtype == np.int16
    assert fine.hu.min() >= -1024


def test_noise_is_that_of_a_scanner(fine):
    deep = ndimage.binary_erosion(fine.organs == V1_IDS["liver"], iterations=4)
    assert 9 < fine.hu[deep].std() < 16
    both = deep[1:] & deep[:-1]
    assert np.corrcoef(fine.hu[1:][both], fine.hu[:-1][both])[0, 1] > 0.3


def test_organ_ids_are_v1_and_organs_lie_in_the_body(fine):
    assert fine.organs.dtype == np.uint8
    assert fine.organs.max() <= len(V1_NAMES)
    solid = (fine.organs != 0) & ~np.isin(fine.organs, [*find_organ("lung").ids, V1_IDS["trachea"]])
    for name in ("colon", "stomach"):
        solid &= fine.organs != V1_IDS[name]
    assert (fine.hu[solid] > -300).mean() > 0.999


@pytest.mark.parametrize("wrong", ["RAX", "RA", "RLS", "", "RASS"])
def test_an_orientation_that_is_none_is_refused(wrong):
    with pytest.raises(UsageError, match="should hold one of R/L"):
        make_phantom(1, orientation=wrong, **COARSE)
