"""Reports from a language model: what it is asked of one lesion, and how its answer becomes attributes.

It is told the organ and how this volume shows it, what is fixed, and the words it may use; nothing of the patient, and
no text that came with the case. HU stay with the engine's own table (`engine.core.habits`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from engine.core.errors import ReportError
from engine.core.family import THICKNESS_MM, Family, base_name, family_of
from engine.core.organ_site import OrganView
from engine.core.plausible import Choices, choices_in, require_sense
from engine.core.report import Size3, Wanted
from engine.core.vocabulary import LesionType, Vocabulary

LLM, REPAIRED = "llm", "llm repaired"

Message = Mapping[str, str]

_AXES = ("superior", "anterior", "left")
_MANY = ("shape", "specific_features")
_LEAST_MM = 4.0
_MOST_TEXT, _MOST_ANSWER, _MOST_ERROR = 600, 20_000, 300
_MEASURE = re.compile(r"\d\s*(mm|cm|ml|cc|hu|hounsfield|x|%)", re.IGNORECASE)
_UNTOLD = ("organ", "free_text", "centre_mm")

_ROLE = """\
You are a radiologist. For synthetic CT data you describe one plausible lesion that has been placed in a healthy organ.
You are given one JSON object: the organ, its extent in mm and its mean HU in this volume, what is already fixed, and \
the words allowed for each attribute that is still open. `variety` asks where, from 1 to 100, the lesion should stand \
among those seen in this organ: by size from the smallest to the largest, and by kind from the commonest to the rarest.
Answer with one JSON object and nothing else. Its keys are those of `open`: a text from the list, or for shape and \
specific_features a list of such texts (specific_features may be empty). size_mm is \
{"superior": ..., "anterior": ..., "left": ...}, the lesion's extents in mm; none may exceed the organ's, nor be \
below smallest_axis_mm. free_text is one or two sentences of a finding, without measurements and without names. All of \
it must agree with what is fixed and with itself."""


@dataclass(frozen=True)
class Answer:
    """What came of a question: attributes to be used where the user fixed none, and who proposed them.

    `writer` is "template", "llm", "llm repaired" (asked again, with what was wrong), or "template for llm: " and why.
    """

    proposal: Wanted
    writer: str


BY_TEMPLATE = Answer(Wanted(), "template")
"""Where no model is asked."""


def by_template(reason: str) -> Answer:
    """In place of a model that gave no answer that could be used."""
    return Answer(Wanted(), f"template for llm: {reason}")


@dataclass(frozen=True)
class Question:
    """One lesion of which something is open. `fixed` has its organ, by its exact name."""

    fixed: Wanted
    organ: OrganView
    seed: int

    @property
    def messages(self) -> list[Message]:
        return [_said("system", _ROLE), _said("user", json.dumps(self._facts, sort_keys=True))]

    def again(self, answer: str, error: ReportError) -> list[Message]:
        """The question once more, with the answer that was given and what is wrong with it."""
        mend = f"That cannot be used: {str(error)[:_MOST_ERROR]}. Answer again with the whole JSON object, mended."
        return [*self.messages, _said("assistant", answer[:_MOST_ANSWER]), _said("user", mend)]

    @property
    def schema(self) -> dict[str, Any]:
        """Of an answer, in the part of JSON schema that servers agree on: enums, all required, nothing else."""
        properties: dict[str, Any] = {}
        for name, values in self._open.items():
            one = {"type": "string", "enum": [v.text for v in values]}
            properties[name] = {"type": "array", "items": one} if name in _MANY else one
        if self.fixed.size_mm is None:
            properties["size_mm"] = _object({axis: {"type": "number"} for axis in _AXES})
        if not self.fixed.free_text:
            properties["free_text"] = {"type": "string"}
        return _object(properties)

    def digest(self, asked: Mapping[str, Any]) -> str:
        """32 hex digits of all that an answer depends on; `asked` is the model and how it samples."""
        whole = [self.messages, self.schema, self.seed, dict(asked)]
        return hashlib.blake2b(json.dumps(whole, sort_keys=True).encode(), digest_size=16).hexdigest()

    @cached_property
    def _open(self) -> Choices:
        """Words of the attributes that nobody fixed."""
        choices = choices_in(str(self.fixed.organ))
        return {name: values for name, values in choices.items() if getattr(self.fixed, name) is None}

    @cached_property
    def least_mm(self) -> Size3:
        """Along each axis: what the volume's voxels still show, or the whole of an organ that is thinner."""
        s, a, l = (round(min(max(self.organ.least_mm, _LEAST_MM), mm), 1) for mm in self.organ.extent_mm)  # noqa: E741
        return s, a, l

    @property
    def _facts(self) -> dict[str, Any]:
        organ = str(self.fixed.organ)
        facts: dict[str, Any] = {
            "organ": organ,
            "organ_extent_mm": {axis: round(mm) for axis, mm in zip(_AXES, self.organ.extent_mm, strict=True)},
            "organ_mean_hu": round(self.organ.mean_hu),
            "smallest_axis_mm": max(self.least_mm),
            "fixed": {k: v for k, v in self.fixed.to_json().items() if k not in _UNTOLD},
            "open": {name: [v.text for v in values] for name, values in self._open.items()},
            "variety": {"size": 1 + self.seed % 100, "kind": 1 + self.seed // 100 % 100},
        }
        if (thick_mm := THICKNESS_MM.get(base_name(organ))) is not None:
            facts["organ_thickness_mm"] = thick_mm
        for name in ("size_mm", "free_text"):
            if name in self.schema["properties"]:
                facts["open"][name] = "see the instructions"
        return facts


def read_answer(text: str, question: Question) -> Wanted:
    """The attributes in a model's answer that the user left open.

    Raises `ReportError`, one line fit to be told back: no JSON object, an attribute or a word that was not offered, a
    size that the organ or the voxels cannot hold, a contradiction within it or with what is fixed.
    """
    fixed, organ = question.fixed, str(question.fixed.organ)
    answered = _parsed(_object_in(text))
    if answered.organ not in (None, organ):
        raise ReportError(f"organ: the lesion is in {organ}, not in {answered.organ}")
    let_go: dict[str, Any] = dict.fromkeys(_set_in(fixed))
    proposal = replace(answered, **{**let_go, "free_text": "" if fixed.free_text else _finding(answered.free_text)})
    offered = question.schema["properties"]
    for name in _set_in(proposal):
        if name not in offered:
            raise ReportError(f"'{name}' was not asked for; asked for were {', '.join(offered)}")
        if name in question._open:
            _require_words(name, getattr(proposal, name), question)
    if not _set_in(proposal):
        raise ReportError(f"the answer has none of {', '.join(offered)}")
    _require_size(proposal.size_mm, question)
    require_sense(fixed.over(proposal), organ)
    return _without_cavity_of_stones(proposal, fixed, organ)


def _parsed(data: Mapping[str, Any]) -> Wanted:
    size = data.get("size_mm")
    if isinstance(size, Mapping):
        if set(size) != set(_AXES):
            raise ReportError(f"size_mm: should have {', '.join(_AXES)}")
        data = {**data, "size_mm": [size[axis] for axis in _AXES]}
    return Wanted.from_json(data)


def _object_in(text: str) -> Mapping[str, Any]:
    """The JSON object of an answer, whatever stands around it: thoughts, a code fence, a polite word."""
    if len(text) > _MOST_ANSWER:
        raise ReportError(f"the answer has {len(text)} characters; {_MOST_ANSWER} would do")
    text = text.rpartition("</think>")[2]
    start = text.find("{")
    if start < 0:
        raise ReportError("the answer holds no JSON object")
    try:
        data, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError) as error:
        raise ReportError(f"the answer is not valid JSON ({error})") from None
    return dict(data)


def _finding(text: str) -> str:
    """Free text on one line. Without measurements: placement may still change the lesion's."""
    line = " ".join(text.split())
    if len(line) > _MOST_TEXT:
        raise ReportError(f"free_text: has {len(line)} characters; one or two sentences would do")
    if _MEASURE.search(line):
        raise ReportError("free_text: should hold no measurements")
    if not line.isprintable():
        raise ReportError("free_text: should be plain words")
    return line


def _require_words(name: str, value: Vocabulary | tuple[Vocabulary, ...], question: Question) -> None:
    known = question._open[name]
    for word in value if isinstance(value, tuple) else (value,):
        if word not in known:
            texts = ", ".join(f"'{v.text}'" for v in known)
            raise ReportError(f"{name}: '{word.text}' does not occur in {question.fixed.organ}; one of {texts}")


def _require_size(size_mm: Size3 | None, question: Question) -> None:
    if size_mm is None:
        return
    organ = question.organ
    for axis, mm, most, least in zip(_AXES, size_mm, organ.extent_mm, question.least_mm, strict=True):
        if mm > most:
            raise ReportError(f"size_mm: {mm:g} along {axis} exceeds the {question.fixed.organ}, which has {most:.0f}")
        if mm < least:
            raise ReportError(f"size_mm: {mm:g} along {axis} is below the {least:g} that this volume can show")


def _without_cavity_of_stones(proposal: Wanted, fixed: Wanted, organ: str) -> Wanted:
    """A stone of the kidney lies in its lumen, which no model was offered."""
    stone = fixed.over(proposal).lesion_type is LesionType.STONE
    return replace(proposal, cavity=None) if stone and family_of(organ) is Family.KIDNEY else proposal


def _set_in(wanted: Wanted) -> list[str]:
    return [f.name for f in fields(Wanted) if getattr(wanted, f.name) not in (None, "")]


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}
