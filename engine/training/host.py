"""Whose lesion it is: of what a report names, the entry and the organ that the lesion lies in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.anatomy import find_organ, organ_of_id
from engine.core.errors import ReportError
from engine.core.report import Wanted, from_reference
from engine.core.vocabulary import LesionType
from engine.io.type_json import read_type_json
from engine.training.known import KnownLesion


@dataclass(frozen=True)
class Host:
    """`said` of the lesion, in the organ `organ_id` (v1); `ids` has more than that for pneumonia of several lobes."""

    said: Wanted
    organ_id: int
    ids: tuple[int, ...]


def reported(lesion: KnownLesion) -> list[Wanted]:
    """Every lesion that its report names, one at least. Raises `ReportError`."""
    said = read_type_json(lesion.report_uri) if lesion.report_uri else _parsed(lesion.report)
    if not said:
        raise ReportError("its report names no lesion")
    return said


def _parsed(text: str) -> list[Wanted]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"its report is not valid JSON ({error})") from None
    if not isinstance(data, dict):
        raise ReportError("its report should be one JSON object")
    return from_reference(data) if _is_reference(data) else [Wanted.from_json(data)]


def _is_reference(data: Mapping[str, Any]) -> bool:
    """{organ id: [shape, text, attributes, ...]}, as no attribute of ours looks."""
    return all(isinstance(v, list) and len(v) > 2 and isinstance(v[2], dict) for v in data.values())


def host_of(said: Sequence[Wanted], inside: NDArray[np.uint8]) -> Host:
    """Of lesions that a report names, the one whose organ holds most of the lesion; `inside` are the ids there (n,).

    Of an organ in parts, such as both kidneys, that part. A single lesion in a single organ is taken as it is: an organ
    map often leaves the lesion out. Pneumonia is in every lobe that its report names, as the reference has it. Raises
    `ReportError` where an entry names no organ, or none of several organs holds any of the lesion.
    """
    held = np.bincount(inside, minlength=256)
    organs = [_ids(wanted) for wanted in said]
    best = max(range(len(said)), key=lambda n: int(held[list(organs[n])].sum()))
    ids = organs[best]
    several = len(said) > 1 or len(ids) > 1
    if several and not held[list(ids)].any():
        names = ", ".join(dict.fromkeys(str(wanted.organ) for wanted in said))
        raise ReportError(f"its report names {names}, and the organ map has nothing of that where the lesion is")
    organ_id = max(ids, key=lambda organ_id: int(held[organ_id]))
    lobes = sorted({organ_id for parts in organs for organ_id in parts if organ_of_id(organ_id).airy})
    spread = said[best].lesion_type is LesionType.PNEUMONIA and organ_id in lobes
    return Host(said[best], organ_id, tuple(lobes) if spread else (organ_id,))


def _ids(wanted: Wanted) -> tuple[int, ...]:
    if wanted.organ is None:
        raise ReportError("its report names no organ")
    return find_organ(wanted.organ).ids
