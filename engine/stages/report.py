"""{wanted, organs} -> + {lesions: report}: how many lesions, in which organs, and a complete report of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.core.anatomy import OrganMap, find_organ, organ_of_id
from engine.core.dictation import BY_TEMPLATE, Answer, Question
from engine.core.errors import PlacementError
from engine.core.organ_site import OrganView, organs_in_view, view_of
from engine.core.report import Wanted
from engine.core.sample import Lesion, Sample
from engine.core.seeds import SAMPLE_LEVEL, rng_for, seed_for
from engine.core.template import draw_wanted, fill_report
from engine.io.reader import CaseReader
from engine.io.type_json import read_type_json
from engine.io.uris import resolve
from engine.io.volumes import Volume
from engine.run import Run


@dataclass(frozen=True, eq=False)
class Draft:
    """A lesion whose organ is known. `rng` drew it, and will draw what neither the user nor a model says."""

    fixed: Wanted
    seen: OrganView
    rng: np.random.Generator


def write_reports(sample: Sample, run: Run, reader: CaseReader) -> Sample:
    """One sample in, one out. Raises `ReportError`, `PlacementError` (organ unknown or absent)."""
    return complete(sample, run, survey(sample, run, reader))


def survey(sample: Sample, run: Run, reader: CaseReader) -> list[Draft]:
    """How many lesions, in which organs, and what the volume shows of these. Raises as `write_reports`."""
    volume = reader.volume(sample.ct_uri)
    organs, _ = reader.organs(sample.organs_uri, volume.grid)
    present = organs_in_view(organs)
    seed = run.settings.seed
    rng = rng_for(seed, sample.sample_id, SAMPLE_LEVEL, sample.attempt, "report")

    drafts = []
    for index, wanted in enumerate(_wanted(sample, run, present, rng)):
        own = rng_for(seed, sample.sample_id, index, sample.attempt, "report")
        wanted = replace(wanted, organ=_one_organ(wanted, present, own))
        drafts.append(Draft(wanted, _view(wanted, organs, volume), own))
    return drafts


def questions(sample: Sample, run: Run, drafts: Sequence[Draft]) -> list[Question]:
    """What a language model is asked, one question a lesion; another attempt asks anew."""
    of = (run.settings.seed, sample.sample_id)
    seeds = [seed_for(*of, index, sample.attempt, "ask") for index in range(len(drafts))]
    return [Question(draft.fixed, draft.seen, seed) for draft, seed in zip(drafts, seeds, strict=True)]


def complete(sample: Sample, run: Run, drafts: Sequence[Draft], answers: Sequence[Answer] = ()) -> Sample:
    """A report of each draft: what the user fixed, then what its answer proposes, then the template's draws."""
    lesions = []
    for index, (draft, answer) in enumerate(zip(drafts, answers or [BY_TEMPLATE] * len(drafts), strict=True)):
        report = fill_report(draft.fixed.over(answer.proposal), draft.seen, draft.rng)
        lesions.append(
            Lesion(
                index=index,
                report=report,
                seed=seed_for(run.settings.seed, sample.sample_id, index, sample.attempt, "lesion"),
                organ_id=find_organ(report.organ).ids[0],
                size_fixed=draft.fixed.size_mm is not None,
                backends={"report": answer.writer},
            )
        )
    return sample.with_lesions(lesions)


def _wanted(sample: Sample, run: Run, present: Mapping[int, int], rng: np.random.Generator) -> list[Wanted]:
    """What the case list fixes, completed by a draw from the mix where it names no organ."""
    lesions = run.settings.lesions
    fixed = [w for item in json.loads(sample.wanted or "[]") for w in _parse(item, run.cases_base)]
    count = len(fixed) or int(rng.integers(lesions.per_sample[0], lesions.per_sample[1] + 1))
    fixed = fixed or [Wanted()] * count
    open_ones = sum(w.organ is None for w in fixed)
    drawn = iter(draw_wanted(lesions.mix, present, open_ones, rng, lesions.skip_absent) if open_ones else [])
    return [w if w.organ is not None else w.over(next(drawn)) for w in fixed]


def _parse(item: Mapping[str, Any], base: str) -> list[Wanted]:
    """One entry of the case list: attributes, or the path of a reference `type.json` beside further attributes."""
    if "type_json" not in item:
        return [Wanted.from_json(item)]
    rest = Wanted.from_json({k: v for k, v in item.items() if k != "type_json"})
    return [rest.over(w) for w in read_type_json(resolve(str(item["type_json"]), base))]


def _one_organ(wanted: Wanted, present: Mapping[int, int], rng: np.random.Generator) -> str:
    """A single organ in place of a group ("kidney"), drawn by size among those in view."""
    organ = find_organ(str(wanted.organ))
    ids = [i for i in organ.ids if i in present]
    if not ids:
        largest = sorted(present, key=lambda i: -present[i])[:5]
        seen = ", ".join(organ_of_id(i).name for i in largest) or "nothing"
        raise PlacementError(f"{organ.name} is absent from the organ map; in view: {seen}")
    weights = np.array([present[i] for i in ids], float)
    return organ_of_id(ids[int(rng.choice(len(ids), p=weights / weights.sum()))]).name


def _view(wanted: Wanted, organs: OrganMap, volume: Volume) -> OrganView:
    seen = view_of(organs, volume.hu, volume.grid, find_organ(str(wanted.organ)))
    if seen is None:
        raise PlacementError(f"{wanted.organ} is absent from the organ map")
    return seen
