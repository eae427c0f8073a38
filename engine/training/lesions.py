"""The lesions that a training is given, whatever lists them, and which of them it is validated on.

Only lists are read here: what is wrong with a single case is found when it is decoded, and is that case's alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.core.errors import CaseListError
from engine.core.seeds import SAMPLE_LEVEL, seed_for
from engine.core.suggest import did_you_mean
from engine.training.known import KnownLesion
from engine.training.lists import listed_lesions
from engine.training.run_lesions import lesions_of_run
from engine.training.settings import TrainingData
from engine.training.table import lesions_in_table

__all__ = ["KnownLesion", "known_lesions", "split"]

_SCHEMES: Mapping[str, str] = {"total_v1": "total_v1", "total": "total_v2", "total_v2": "total_v2"}
"""`data.labels` -> the engine's name of it; "total" is TotalSegmentator's own name of its newer task."""


def known_lesions(data: TrainingData) -> tuple[KnownLesion, ...]:
    """Every lesion of the source, in its order; there is at least one. Raises `CaseListError`, one line."""
    if data.lists is not None:
        origin, lesions = data.lists.image, listed_lesions(data.lists, _scheme(data.labels))
    elif data.table is not None:
        origin, lesions = data.table, lesions_in_table(data.table, _scheme(data.labels))
    else:
        origin = str(data.run)
        lesions = lesions_of_run(origin, data.cases or "")
    if not lesions:
        raise CaseListError(f"{origin}: holds no lesion to train on")
    return tuple(lesions)


def split(
    lesions: Sequence[KnownLesion], share: float, seed: int
) -> tuple[tuple[KnownLesion, ...], tuple[KnownLesion, ...]]:
    """(train, validation): `share` of the cases for validation, all lesions of a case on one side, order kept.

    Which ones follows from `seed` and the set of case ids alone. Where any share is asked for, validation gets one case
    at least, but never the training's last.
    """
    cases = sorted({lesion.case_id for lesion in lesions}, key=lambda case_id: (_place(case_id, seed), case_id))
    count = min(max(round(share * len(cases)), 1), len(cases) - 1) if share > 0 and cases else 0
    held_out = frozenset(cases[:count])
    train = tuple(lesion for lesion in lesions if lesion.case_id not in held_out)
    return train, tuple(lesion for lesion in lesions if lesion.case_id in held_out)


def _place(case_id: str, seed: int) -> int:
    return seed_for(seed, case_id, SAMPLE_LEVEL, 0, "validation")


def _scheme(labels: str) -> str:
    """Raises `CaseListError` for a scheme that nobody knows."""
    if labels not in _SCHEMES:
        raise CaseListError(f"data.labels: unknown scheme '{labels}'{did_you_mean(labels, _SCHEMES)}")
    return _SCHEMES[labels]
