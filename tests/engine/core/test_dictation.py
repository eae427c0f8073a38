"""What a model is told of a lesion, and what its answer may be."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from awkward_server import lesion_for
from engine.core.anatomy import V1_NAMES
from engine.core.dictation import Question, read_answer
from engine.core.errors import ReportError
from engine.core.organ_site import OrganView
from engine.core.plausible import choices_in
from engine.core.report import Report, Wanted
from engine.core.template import fill_report
from engine.core.vocabulary import Cavity, Density, LesionType

SEEN = OrganView((120.0, 90.0, 100.0), 55.4, 6.0)


def question(seed: int = 7, **fixed: Any) -> Question:
    return Question(Wanted.from_json({"organ": "liver", **fixed}), SEEN, seed)


def answer(asked: Question | None = None, /, **changes: Any) -> str:
    """A good answer, changed; None takes a key out."""
    asked = asked or question()
    facts = json.loads(asked.messages[1]["content"])
    lesion = lesion_for(facts, random.Random(0)) | changes
    return json.dumps({k: v for k, v in lesion.items() if v is not None})


@settings(max_examples=200)
@given(st.sampled_from(V1_NAMES), st.integers(0, 2**63 - 1))
def test_an_answer_in_the_words_offered_makes_a_report(organ: str, seed: int) -> None:
    asked = question(seed, organ=organ)
    proposal = read_answer(answer(asked), asked)
    report = fill_report(asked.fixed.over(proposal), SEEN, default_rng(0))
    assert Report.loads(report.dumps()) == report
    assert (report.organ, report.density, report.size_mm) == (organ, proposal.density, proposal.size_mm)


@settings(max_examples=100)
@given(st.sampled_from(V1_NAMES))
def test_schema_and_prompt_offer_the_same(organ: str) -> None:
    asked = question(organ=organ)
    offered = json.loads(asked.messages[1]["content"])["open"]
    properties = asked.schema["properties"]
    assert list(properties) == asked.schema["required"]
    assert set(properties) == set(offered)
    for name, words in choices_in(organ).items():
        assert offered[name] == [w.text for w in words], name
        assert len(words) >= 1
        assert (properties[name].get("items") or properties[name])["enum"] == offered[name]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I would rather not.", "holds no JSON object"),
        ('{"lesion_type": "cyst", ', "not valid JSON"),
        ("{" * 5000, "not valid JSON"),
        ("{}", "has none of lesion_type"),
        ("x" * 30_000, "30000 characters"),
        (answer(density="rather dark"), "density: unknown value 'rather dark'"),
        (answer(lesion_type="polip"), "did you mean 'polyp'"),
        (answer(lesion_type="pneumonia"), "lesion_type: 'pneumonia' does not occur in liver; one of 'cancer'"),
        (answer(density="low-density ground-glass opacity"), "does not occur in liver"),
        (answer(cavity="wall thickening"), "cavity: 'wall thickening' does not occur in liver"),
        (answer(organ="spleen"), "the lesion is in liver, not in spleen"),
        (answer(centre_mm=[1, 2, 3]), "'centre_mm' was not asked for"),
        (answer(contrast_hu=-20), "'contrast_hu' was not asked for"),
        (answer(severity="high"), "unknown attribute 'severity'"),
        (answer(size_mm={"superior": 20, "anterior": 91, "left": 20}), "91 along anterior exceeds the liver"),
        (answer(size_mm=[20, 3, 20]), "3 along anterior is below the 6 that this volume can show"),
        (answer(size_mm={"superior": 20}), "should have superior, anterior, left"),
        (answer(size_mm=[20, float("nan"), 20]), "holds no number"),
        (answer(size_mm=-4), "above 0"),
        (answer(lesion_type="cyst", density="hyperdense lesion"), "a cyst is hypoattenuating fluid-like lesion or"),
        (answer(free_text="A cyst of 12 mm."), "no measurements"),
        (answer(free_text="word " * 300), "one or two sentences"),
        (answer(free_text="rings the \u0007 bell"), "plain words"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(ReportError) as error:
        read_answer(text, question())
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("around", ["{}", "Here it is:\n```json\n{}\n```\nAnything else?", "<think>{{a}}</think> {}"])
def test_words_around_the_object_do_not_matter(around: str) -> None:
    text = around.replace("{}", answer()).replace("{{", "{").replace("}}", "}")
    assert read_answer(text, question()).lesion_type is LesionType.CANCER


def test_what_the_user_fixed_is_neither_asked_nor_taken() -> None:
    asked = question(density="hyperdense lesion", size_mm=14, free_text="Doe, Jane: known haemangioma")
    assert not {"density", "size_mm", "free_text"} & set(asked.schema["properties"])
    disobedient = answer(asked, density="hypodense lesion", size_mm=[30, 30, 30], free_text="No.")
    wanted = asked.fixed.over(read_answer(disobedient, asked))
    assert wanted.density is Density.HYPERDENSE
    assert wanted.size_mm == (14, 14, 14)
    assert wanted.free_text == "Doe, Jane: known haemangioma"


def test_an_answer_agrees_with_what_is_fixed() -> None:
    asked = question(contrast_hu=40)
    with pytest.raises(ReportError, match="contradicts the contrast asked for, \\+40 HU"):
        read_answer(answer(asked, density="hypodense lesion"), asked)


def test_a_prompt_holds_nothing_of_the_patient() -> None:
    """What comes with a case as text, and where a lesion is in it, stay at home."""
    asked = question(free_text="Doe, Jane", centre_mm=[11.25, 22.5, 33.75], lesion_type="cyst")
    prompt = json.dumps(asked.messages)
    assert "Jane" not in prompt
    assert "11.25" not in prompt
    facts = json.loads(asked.messages[1]["content"])
    assert facts["fixed"] == {"lesion_type": "cyst"}
    assert set(facts) == {"fixed", "open", "organ", "organ_extent_mm", "organ_mean_hu", "smallest_axis_mm", "variety"}


def test_a_stone_of_the_kidney_lies_in_its_lumen() -> None:
    asked = question(organ="kidney_left")
    stone = {"lesion_type": "stone", "density": "hyperdense lesion", "shape": ["punctate"]}
    said = answer(asked, **stone, cavity=Cavity.PARENCHYMA.text)
    assert fill_report(asked.fixed.over(read_answer(said, asked)), SEEN, default_rng(0)).cavity is Cavity.LUMEN


def test_a_digest_knows_all_that_an_answer_depends_on() -> None:
    asked = {"model": "m", "temperature": 1.0}
    digests = [
        question().digest(asked),
        question(8).digest(asked),
        question(density="isodense").digest(asked),
        question().digest({"model": "m", "temperature": 0.5}),
        Question(question().fixed, OrganView((120.0, 90.0, 101.0), 55.4, 6.0), 7).digest(asked),
    ]
    assert len(set(digests)) == len(digests)
    assert question().digest(asked) == digests[0]


def test_a_question_again_says_what_was_wrong() -> None:
    again = question().again("{}", ReportError("nothing in it"))
    assert again[:2] == question().messages
    assert again[2] == {"role": "assistant", "content": "{}"}
    assert "nothing in it" in again[3]["content"]
