"""Reports in the words of the networks; those of the published ones against what the reference told them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.anatomy import V1_IDS
from engine.core.network_text import full_text, full_vocabulary, linet_text, lmnet_text
from engine.core.report import Wanted, from_reference
from engine.core.vocabulary import Cavity, Density, EnhancementStatus, Shape, SpecificFeatures

LMNET_ORDER = [
    "enhancement status", "lesion location", "shape", "surface characteristics", "relationship with adjacent organs",
    "specific features", "cavity",
]  # fmt: skip
LINET_ORDER = [
    "enhancement status", "lesion location", "shape", "density", "density variations", "CT value",
    "surface characteristics", "relationship with adjacent organs", "specific features", "cavity",
]  # fmt: skip


def told(golden: Path, case: str) -> dict:
    with np.load(golden / case / "io.npz") as stored:
        return json.loads(str(stored["meta_json"]))


def test_transforms_as_the_reference(golden):
    """Dictionaries and their order; the reference's cavity comes from a folder's name, ours from the report."""
    meta = told(golden, "transforms")
    liver, stomach = from_reference(meta.pop("type_json_5_6"))
    texts = [(case["lm_text"], case["li_text"]) for case in meta.values() if "lm_text" in case]
    assert len(texts) >= 5
    for lm_text, li_text in texts:
        wanted = liver if li_text["lesion location"] == "liver" else stomach
        in_cavity = replace(wanted, cavity=Cavity.parse(lm_text["cavity"]))
        assert list(lmnet_text(in_cavity).items()) == list(lm_text.items())
        assert list(linet_text(wanted).items()) == list(li_text.items())


def test_second_entry_keeps_its_specific_features(golden):
    _, stomach = from_reference(told(golden, "transforms")["type_json_5_6"])
    for texts in (lmnet_text(stomach), linet_text(stomach)):
        assert texts["lesion location"] == "stomach"
        assert texts["specific features"] == "spiculated margins,"
    assert linet_text(stomach)["CT value"] == "43.0 HU,"


def test_lmnet_inference_as_the_reference(golden):
    (wanted, _) = from_reference(told(golden, "transforms")["type_json_5_6"])
    seen = [text for case in told(golden, "lmnet_post").values() for text in case["texts"]]
    assert len(seen) >= 3
    for text in seen:
        assert lmnet_text(replace(wanted, cavity=Cavity.parse(text["cavity"]))) == text


def test_linet_inference_as_the_reference_trained(golden):
    """Its released inference forgets to shorten the CT value, and then to look at the text at all."""
    (wanted, _) = from_reference(told(golden, "transforms")["type_json_5_6"])
    for text in told(golden, "linet_v2")["texts"]:
        assert linet_text(wanted) == {**text, "CT value": "42.0 HU,"}


def test_the_text_case_is_said_as_it_was(golden):
    with np.load(golden / "text" / "io.npz") as stored:
        first, second = json.loads(str(stored["attributes_json"]))
    for attributes in (first, second):
        assert lmnet_text(Wanted.from_json(attributes)) == attributes


@given(st.data())
def test_every_report_can_be_told(any_report, data):
    report = data.draw(any_report)
    lmnet, linet = lmnet_text(report), linet_text(report)
    features = ["specific features"] * bool(report.specific_features)
    assert list(lmnet) == [name for name in LMNET_ORDER if name != "specific features" or features]
    assert list(linet) == [name for name in LINET_ORDER if name != "CT value" or report.ct_value_hu is not None]
    assert all(linet[name] == text for name, text in lmnet.items())
    assert all(text for text in lmnet.values())


@given(st.data())
def test_what_is_told_is_in_the_vocabulary(any_report, data):
    report = data.draw(any_report)
    vocabulary = dict(full_vocabulary())
    texts = full_text(report)
    assert set(texts) == set(vocabulary)
    for name, text in texts.items():
        phrases = [phrase for phrase in text.split(",") if phrase]
        if vocabulary[name]:
            assert set(phrases) <= set(vocabulary[name])
        else:
            assert all(any(char.isdigit() for char in phrase) for phrase in phrases)


def test_their_wording_goes_to_their_networks(make_report):
    assert linet_text(make_report(density=Density.HYPODENSE))["density"] == "low density lesion,"
    assert linet_text(make_report(density=Density.HYPERDENSE))["density"] == "high density lesion,"
    assert linet_text(make_report(density=Density.ISODENSE))["density"] == "isodense lesion,"
    several = make_report(
        shape=(Shape.ROUND_LIKE, Shape.PROTRUSION),
        specific_features=(SpecificFeatures.INCREASED_AREAS, SpecificFeatures.DECREASED_AREAS),
        enhancement_status=EnhancementStatus.NON_CONTRAST,
    )
    assert lmnet_text(several)["shape"] == "round-like,protrusion into the lumen,"
    assert lmnet_text(several)["enhancement status"] == "non-contrast CT,"
    assert lmnet_text(several)["specific features"] == (
        "presence of increased density areas,presence of decreased density areas,"
    )


@pytest.mark.parametrize(
    ("asked", "measured", "text"),
    [(57.0, None, "57.0 HU,"), (-12.5, 40.0, "-12.5 HU,"), (None, 41.73, "42.0 HU,"), (None, -0.2, "0.0 HU,")],
)
def test_the_mean_in_hu(make_report, asked, measured, text):
    report = make_report(ct_value_hu=asked)
    assert linet_text(report, measured_hu=measured)["CT value"] == text
    assert full_text(report, measured_hu=measured)["CT value"] == text


def test_a_mean_that_nobody_knows_is_left_out(make_report):
    assert "CT value" not in linet_text(make_report())
    assert full_text(make_report())["CT value"] == ""


@pytest.mark.parametrize(
    ("organ", "organ_id", "name"),
    [
        ("urinary_bladder", None, "urinary bladder"),
        ("vertebrae_L1", None, "vertebrae L1"),
        ("kidney", V1_IDS["kidney_left"], "kidney left"),
        ("kidney", None, "kidney right"),
        ("lung", V1_IDS["lung_lower_lobe_left"], "lung lower lobe left"),
    ],
)
def test_the_organ_is_named_as_they_name_it(make_report, organ, organ_id, name):
    report = make_report(organ=organ)
    for tell in (lmnet_text, linet_text, full_text):
        assert tell(report, organ_id=organ_id)["lesion location"] == name


def test_what_is_not_set_is_not_told():
    assert lmnet_text(Wanted()) == {}
    assert linet_text(Wanted()) == {"specific features": ""}


def test_extents_volume_and_contrast_for_our_own(make_report):
    texts = full_text(make_report(size_mm=(12.0, 14.0, 10.0), contrast_hu=-40.0))
    assert (texts["size"], texts["volume"], texts["contrast"]) == ("12.0 x 14.0 x 10.0 mm,", "880 mm3,", "-40.0 HU,")
    assert texts["lesion type"] == "cyst,"
