"""Whose lesion it is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.core.errors import ReportError
from engine.core.report import Wanted
from engine.core.vocabulary import LesionType
from engine.training.host import host_of, reported
from engine.training.known import KnownLesion
from known_cases import REPORT, TYPE_JSON

LIVER, STOMACH, KIDNEY_RIGHT, KIDNEY_LEFT = 5, 6, 2, 3
UPPER_LEFT, LOWER_LEFT, UPPER_RIGHT = 13, 14, 15


def ids(**held: int) -> np.ndarray:
    """So many voxels of each organ, by its name above, in the lesion."""
    return np.repeat([globals()[name] for name in held], list(held.values())).astype(np.uint8)


def named(*organs: str, **other: object) -> list[Wanted]:
    return [Wanted(organ=organ, **other) for organ in organs]


def test_the_entry_whose_organ_holds_most():
    host = host_of(named("liver", "stomach"), ids(LIVER=3, STOMACH=9))
    assert (host.said.organ, host.organ_id, host.ids) == ("stomach", STOMACH, (STOMACH,))


def test_a_single_one_is_taken_as_it_is():
    assert host_of(named("liver"), ids(STOMACH=9)).organ_id == LIVER
    assert host_of(named("liver"), np.zeros(9, np.uint8)).organ_id == LIVER


def test_the_part_of_an_organ_in_parts():
    host = host_of(named("kidney"), ids(KIDNEY_RIGHT=1, KIDNEY_LEFT=4))
    assert (host.organ_id, host.ids) == (KIDNEY_LEFT, (KIDNEY_LEFT,))


def test_pneumonia_is_in_every_lobe_named():
    said = named("lung_upper_lobe_left", "lung_lower_lobe_left", "liver", lesion_type=LesionType.PNEUMONIA)
    host = host_of(said, ids(UPPER_LEFT=2, LOWER_LEFT=7, UPPER_RIGHT=1))
    assert (host.organ_id, host.ids) == (LOWER_LEFT, (UPPER_LEFT, LOWER_LEFT))


@pytest.mark.parametrize("said", [named("liver", "stomach"), named("kidney")])
def test_none_of_several(said):
    with pytest.raises(ReportError, match="has nothing of that where the lesion is"):
        host_of(said, ids(UPPER_LEFT=4))


def test_an_entry_without_an_organ():
    with pytest.raises(ReportError, match="names no organ"):
        host_of([Wanted()], ids(LIVER=4))


def lesion(**report: str) -> KnownLesion:
    return KnownLesion("p1", 0, "", "", "", **report)


def test_reports_in_our_form_and_theirs(tmp_path):
    (tmp_path / "type.json").write_text(json.dumps(TYPE_JSON))
    ours = reported(lesion(report=json.dumps(REPORT)))
    theirs = reported(lesion(report=json.dumps(TYPE_JSON)))
    assert ours == [Wanted.from_json(REPORT)]
    assert theirs == reported(lesion(report_uri=str(tmp_path / "type.json")))
    assert (theirs[0].organ, theirs[0].ct_value_hu, theirs[0].size_mm) == ("liver", -20, (18, 16, 16))


@pytest.mark.parametrize(
    ("text", "line"),
    [("{", "not valid JSON"), ("[1]", "one JSON object"), ("{}", "names no lesion"), ('{"organ": "livr"}', "liver")],
)
def test_reports_that_are_none(text, line):
    with pytest.raises(ReportError, match=line):
        reported(lesion(report=text))
