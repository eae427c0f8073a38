"""Organ tables and loose names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.anatomy import V1_IDS, V1_NAMES, V2_NAMES, find_organ, organ_of_id, table_for, to_v1, v2_to_v1
from engine.core.errors import OrganMapError, PlacementError


@pytest.fixture(scope="module")
def class_map():
    return pytest.importorskip("totalsegmentator.map_to_binary").class_map


def test_both_tables_are_totalsegmentators(class_map):
    assert class_map["total_v1"] == dict(enumerate(V1_NAMES, 1))
    assert class_map["total"] == dict(enumerate(V2_NAMES, 1))


def test_version_2_ids_keep_their_names_in_version_1(class_map):
    table = v2_to_v1()
    v1_names = set(class_map["total_v1"].values())
    for v2_id, name in class_map["total"].items():
        if name in v1_names:
            assert class_map["total_v1"][int(table[v2_id])] == name
    assert table[0] == 0
    assert not table[len(V2_NAMES) + 1 :].any()
    lost = {V2_NAMES[i - 1] for i in range(1, 118) if not table[i]}
    assert lost == {
        "thyroid_gland", "prostate", "pulmonary_vein", "brachiocephalic_trunk", "subclavian_artery_right",
        "subclavian_artery_left", "common_carotid_artery_right", "common_carotid_artery_left", "atrial_appendage_left",
        "brachiocephalic_vein_left", "brachiocephalic_vein_right", "superior_vena_cava", "spinal_cord", "skull",
        "sternum", "costal_cartilages",
    }  # fmt: skip


@pytest.mark.parametrize("name", V1_NAMES)
def test_every_name_is_found_in_every_spelling(name):
    for spelling in (name, name.upper(), name.replace("_", " "), name.replace("_", "-"), str(V1_IDS[name])):
        assert find_organ(spelling).ids == (V1_IDS[name],)
    assert organ_of_id(V1_IDS[name]).name == name


@pytest.mark.parametrize(
    ("loose", "names"),
    [
        ("Bladder", ["urinary_bladder"]),
        ("left kidney", ["kidney_left"]),
        ("kidney", ["kidney_right", "kidney_left"]),
        ("Left Lung", ["lung_upper_lobe_left", "lung_lower_lobe_left"]),
        ("gall bladder", ["gallbladder"]),
        ("oesophagus", ["esophagus"]),
        ("spine", [n for n in V1_NAMES if n.startswith("vertebrae")]),
    ],
)
def test_loose_names(loose, names):
    assert set(find_organ(loose).ids) == {V1_IDS[n] for n in names}


@pytest.mark.parametrize(("wrong", "meant"), [("livr", "liver"), ("panceas", "pancreas"), ("splen", "spleen")])
def test_a_miss_suggests_the_nearest(wrong, meant):
    with pytest.raises(PlacementError, match=f"unknown organ '{wrong}'; did you mean '{meant}'"):
        find_organ(wrong)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["liver", "kidney", "lung", "heart", "vertebrae", "colon", "105"]))
def test_a_mask_holds_exactly_the_organs_ids(seed, name):
    organ = find_organ(name) if name != "105" else find_organ("heart")
    organs = np.random.default_rng(seed).integers(0, 256, (6, 5, 4)).astype(np.uint8)
    assert np.array_equal(organ.mask(organs), np.isin(organs, organ.ids))


def test_a_mask_of_scattered_ids():
    from engine.core.anatomy import Organ

    organs = np.arange(256).astype(np.uint8).reshape(16, 16, 1)
    assert np.array_equal(Organ("two", (3, 9)).mask(organs), np.isin(organs, (3, 9)))


def test_named_maps_are_translated():
    table = table_for("names", {"1": "Liver", "7": "left kidney"})
    assert to_v1(np.array([0, 1, 7, 2], np.int32), table).tolist() == [0, V1_IDS["liver"], V1_IDS["kidney_left"], 0]
    assert to_v1(np.array([1.0, 7.0]), table).dtype == np.uint8


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (np.array([0.5]), "not whole numbers"),
        (np.array([0, 300]), "ids from 0 to 300"),
        (np.array([-1, 3]), "ids from -1 to 3"),
    ],
)
def test_maps_that_hold_no_ids(labels, line):
    with pytest.raises(OrganMapError, match=line):
        to_v1(labels, table_for("total_v1"))


def test_unknown_schemes_and_keys():
    with pytest.raises(OrganMapError, match="did you mean 'total_v2'"):
        table_for("total_v3")
    with pytest.raises(OrganMapError, match="not a number from 1 to 255"):
        table_for("names", {"x": "liver"})
