"""A phantom's anatomy, judged in world coordinates, whatever the array's orientation."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from engine.core.anatomy import V1_IDS, V1_NAMES, find_organ
from engine.core.errors import UsageError
from engine.core.geometry import Box
from engine.core.resample import resample
from engine.phantom.body import make_phantom
from engine.phantom.phase import Phase

COARSE = {"shape": (95, 72, 116), "spacing_mm": (4.0, 4.0, 4.0)}
LOIN = {"shape": (95, 72, 26), "spacing_mm": (4.0, 4.0, 4.0), "centre_mm": (0.0, 0.0, 12.0)}
"""Liver to kidneys."""
ORIENTATIONS = ("RAS", "PSR")
TURN_DEG = (4.0, -5.0, 6.0)
PARENCHYMA = ("liver", "spleen", "kidney_right", "kidney_left", "pancreas", "urinary_bladder")


@pytest.fixture(scope="module")
def phantoms():
    return {orientation: make_phantom(7, orientation=orientation, **COARSE) for orientation in ORIENTATIONS}


@pytest.fixture(scope="module")
def fine():
    return make_phantom(11)


@pytest.fixture(scope="module")
def turned():
    return make_phantom(7, turn_deg=TURN_DEG, **COARSE)


@pytest.fixture(scope="module")
def phases():
    return {phase: make_phantom(5, phase=phase, **LOIN) for phase in Phase}


def median_hu(phantom, organ: str) -> float:
    return float(np.median(phantom.hu[find_organ(organ).mask(phantom.organs)]))


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


def test_a_turned_patient_is_the_same_body_turned(phantoms, turned):
    turn = Rotation.from_euler("xyz", TURN_DEG, degrees=True)
    for organ in (*PARENCHYMA, "heart_myocardium", "vertebrae_L3", "rib_left_9"):
        np.testing.assert_allclose(centroid(turned, organ), turn.apply(centroid(phantoms["RAS"], organ)), atol=1.5)
    for organ in PARENCHYMA:
        assert volume_ml(turned, organ) == pytest.approx(volume_ml(phantoms["RAS"], organ), rel=0.05)


def test_an_oblique_grid_sees_the_same_body(phantoms):
    oblique = make_phantom(7, oblique_deg=(5.0, -4.0, 6.0), **LOIN)
    assert np.abs(oblique.grid.directions - np.eye(3)).max() > 0.05
    assert oblique.grid.is_orthogonal
    for organ in ("spleen", "kidney_left", "pancreas"):
        mask = find_organ(organ).mask(oblique.organs)
        there = resample(phantoms["RAS"].organs, phantoms["RAS"].grid, oblique.grid, interpolation="nearest", fill=255)
        overlap = (mask & find_organ(organ).mask(there)).sum() * 2 / (mask.sum() + find_organ(organ).mask(there).sum())
        assert overlap > 0.8  # voxels of 4 mm


def test_gas_rises_in_the_world_whatever_way_the_patient_lies():
    for turn in ((0.0, 0.0, 0.0), (0.0, 0.0, 20.0)):
        phantom = make_phantom(
            3, shape=(60, 60, 20), spacing_mm=(3.0, 3.0, 5.0), centre_mm=(-40, 10, 30), turn_deg=turn
        )
        stomach = find_organ("stomach").mask(phantom.organs)
        gas = np.argwhere(stomach & (phantom.hu < -900))
        juice = np.argwhere(ndimage.binary_erosion(stomach) & (phantom.hu > -100))
        assert len(gas) > 20
        assert np.percentile(gas[:, 1], 2) >= np.percentile(juice[:, 1], 60)


def test_same_seed_same_bytes_and_other_seed_another_body():
    one, again, other = (make_phantom(seed, **LOIN) for seed in (7, 7, 8))
    assert again.hu.tobytes() == one.hu.tobytes()
    assert again.organs.tobytes() == one.organs.tobytes()
    assert (other.organs != one.organs).mean() > 0.02


def volume_ml(phantom, organ: str) -> float:
    return float(find_organ(organ).mask(phantom.organs).sum()) * phantom.grid.voxel_mm3 / 1000


@pytest.mark.parametrize(
    ("organ", "least_ml", "most_ml"),
    [
        ("liver", 1000, 2000),
        ("spleen", 100, 350),
        ("kidney_right", 110, 220),
        ("kidney_left", 110, 220),
        ("pancreas", 50, 130),
        ("urinary_bladder", 60, 400),
        ("gallbladder", 10, 60),
        ("stomach", 150, 700),
        ("colon", 400, 1300),
        ("heart", 300, 850),
        ("adrenal_gland_right", 1, 8),
        ("adrenal_gland_left", 1, 8),
    ],
)
def test_organs_are_as_large_as_in_adults(phantoms, fine, turned, organ, least_ml, most_ml):
    for phantom in (phantoms["RAS"], fine, turned):
        assert least_ml <= volume_ml(phantom, organ) <= most_ml


def test_a_phase_changes_hu_and_no_organ(phases):
    for phantom in phases.values():
        np.testing.assert_array_equal(phantom.organs, phases[Phase.UNENHANCED].organs)
    plain, arterial, portal, delayed = (phases[p] for p in Phase)
    assert median_hu(plain, "aorta") < 60
    assert median_hu(arterial, "aorta") > 200 > median_hu(portal, "aorta") > median_hu(delayed, "aorta") > 80
    assert median_hu(portal, "liver") > median_hu(arterial, "liver") + 20 > median_hu(plain, "liver") + 25
    assert median_hu(portal, "inferior_vena_cava") > median_hu(arterial, "inferior_vena_cava") + 20
    assert median_hu(arterial, "pancreas") > median_hu(portal, "pancreas") + 5
    fat = phases[Phase.UNENHANCED].organs == 0
    assert np.abs(np.median(plain.hu[fat & (plain.hu > -140) & (plain.hu < -60)]) + 104) < 12


def test_kidneys_have_cortex_and_medulla_while_the_contrast_medium_arrives(phases):
    kidney = find_organ("kidney").mask(phases[Phase.ARTERIAL].organs)
    spread = {phase: np.subtract(*np.percentile(phantom.hu[kidney], [80, 15])) for phase, phantom in phases.items()}
    assert spread[Phase.ARTERIAL] > 30 + spread[Phase.UNENHANCED]
    assert spread[Phase.DELAYED] < spread[Phase.ARTERIAL] - 15


def test_the_liver_has_vessels_that_enhance(phases):
    liver = ndimage.binary_erosion(phases[Phase.PORTAL].organs == V1_IDS["liver"])
    gain = phases[Phase.PORTAL].hu[liver].astype(float) - phases[Phase.UNENHANCED].hu[liver]
    typical = np.median(gain)  # the noise of a seed is the same in each phase
    vessels = gain > typical + 25
    assert 0.01 < vessels.mean() < 0.2
    assert (gain > typical - 15).all()


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

    assert inner_median("liver") == pytest.approx(57, abs=10)
    assert inner_median("spleen") == pytest.approx(50, abs=7)
    assert inner_median("kidney") == pytest.approx(35, abs=7)
    assert inner_median("pancreas") == pytest.approx(41, abs=7)
    assert inner_median("urinary_bladder") == pytest.approx(5, abs=8)
    assert inner_median("lung") == pytest.approx(-860, abs=40)
    assert 100 < inner_median("vertebrae") < 450
    assert fine.hu[0, 0, 0] < -900
    for organ in ("colon", "stomach", "small_bowel"):
        assert (fine.hu[find_organ(organ).mask(fine.organs)] < -800).any()  # gas
    assert fine.hu.dtype == np.int16
    assert fine.hu.min() >= -1024


def test_organ_ids_are_v1_and_organs_lie_in_the_body(fine):
    assert fine.organs.dtype == np.uint8
    assert fine.organs.max() <= len(V1_NAMES)
    airy = ("lung", "trachea", "colon", "stomach", "small_bowel", "esophagus")
    solid = (fine.organs != 0) & ~np.isin(fine.organs, [i for name in airy for i in find_organ(name).ids])
    assert (fine.hu[solid] > -300).mean() > 0.999


@pytest.mark.parametrize("wrong", ["RAX", "RA", "RLS", "", "RASS"])
def test_an_orientation_that_is_none_is_refused(wrong):
    with pytest.raises(UsageError, match="should hold one of R/L"):
        make_phantom(1, orientation=wrong, **COARSE)


def test_a_phase_that_is_none_is_refused():
    with pytest.raises(UsageError, match="unknown phase 'portl'; did you mean 'portal'"):
        make_phantom(1, phase="portl", **LOIN)
