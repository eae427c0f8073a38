"""What the networks are told of a lesion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.core.anatomy import V1_IDS
from engine.core.errors import ReportError
from engine.core.report import Wanted, from_reference
from engine.core.vocabulary import LesionType
from engine.training.host import Host
from engine.training.told import Seen, told_of
from known_cases import REPORT, TYPE_JSON

COLON, LIVER = V1_IDS["colon"], V1_IDS["liver"]


def seen(*, beyond: bool = False) -> Seen:
    """A lesion of 4 x 4 x 4 at -20 HU in a host at 60; `beyond`: half of it out of its host."""
    lesion, in_host = np.zeros((12, 12, 12), bool), np.ones((12, 12, 12), bool)
    lesion[4:8, 4:8, 4:8] = True
    in_host[lesion] = False
    in_host[6 if beyond else 11 :] = False
    image_hu = np.where(lesion, -20.0, 60.0).astype(np.float32)
    image_hu[0, 0] = -900  # gas
    return Seen(image_hu, lesion, in_host, (4, 5, 6))


def host(said: Wanted, organ_id: int = LIVER) -> Host:
    return Host(said, organ_id, (organ_id,))


THEIRS = from_reference(TYPE_JSON)[0]
OURS = Wanted.from_json(REPORT)


def test_published_words():
    told = told_of(host(THEIRS), seen(), "published")
    assert told.paint_text["CT value"] == "-20.0 HU,"
    assert told.paint_text["density"] == "low density lesion,"
    assert "density" not in told.mask_text
    assert told.mask_text["lesion location"] == "liver"
    assert told.asked_hu == -20


def test_a_mean_that_the_report_does_not_give_is_measured():
    told = told_of(host(OURS), seen(), "published")
    assert told.paint_text["CT value"] == "-20.0 HU,"
    assert told.asked_hu is None
    other = told_of(host(replace(OURS, ct_value_hu=7.0)), seen(), "published")
    assert (other.paint_text["CT value"], other.asked_hu) == ("7.0 HU,", 7.0)


@pytest.mark.parametrize(
    ("said", "organ_id", "beyond", "cavity"),
    [
        (THEIRS, LIVER, False, "within the parenchymal organ,"),
        (THEIRS, LIVER, True, "protruding from the parenchymal organ,"),
        (THEIRS, COLON, False, "wall thickening,"),
        (replace(THEIRS, lesion_type=LesionType.STONE), COLON, False, "within the lumen of a hollow organ,"),
        (OURS, LIVER, True, "within the parenchymal organ,"),  # what a report says counts
    ],
)
def test_a_cavity_that_the_report_does_not_name_is_seen(said, organ_id, beyond, cavity):
    told = told_of(host(said, organ_id), seen(beyond=beyond), "published")
    assert told.mask_text["cavity"] == cavity == told.paint_text["cavity"]


def test_full_words_of_a_whole_report():
    told = told_of(host(OURS), seen(), "full")
    assert told.mask_text["size"] == "18.0 x 16.0 x 16.0 mm,"
    assert told.mask_text["contrast"] == "-80.0 HU,"
    assert told.mask_text["CT value"] == ""
    assert told.paint_text["CT value"] == "-20.0 HU,"
    assert set(told.mask_text) == set(told.paint_text)


def test_full_words_with_what_can_be_measured():
    told = told_of(host(replace(OURS, size_mm=None, contrast_hu=None)), seen(), "full")
    assert told.mask_text["size"] == "4.0 x 5.0 x 6.0 mm,"
    assert told.mask_text["contrast"] == "-80.0 HU,"


def test_full_words_of_what_cannot_be_measured():
    with pytest.raises(ReportError, match=r"report lacks lesion_type, which text.words: full tells"):
        told_of(host(THEIRS), seen(), "full")
