"""Aligned list files of lesions, as the reference has them: line n of each belongs to the same case.

Every line is a URI, relative ones to the folder of the file they stand in. A case without a healthy organ map has a
blank line there; every other line is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import fsspec
import pyarrow as pa

from engine.core.errors import CaseListError
from engine.io.case_id import PathNaming
from engine.io.case_uris import absolute, folder_of, normal, reading
from engine.io.uris import resolve
from engine.training.known import KnownLesion
from engine.training.settings import LesionLists

_MAY_BE_BLANK = "healthy_organs"


def listed_lesions(lists: LesionLists, scheme: str) -> list[KnownLesion]:
    """The largest lesion of each case; `scheme` of the organ maps' ids. Case ids are made of the images' paths.

    Raises `CaseListError`: a list that cannot be read, lists of unequal length, a blank line.
    """
    files = {kind: absolute(uri) for kind, uri in lists.model_dump().items() if uri is not None}
    columns = {kind: _lines(uri) for kind, uri in files.items()}
    _require_aligned(files, columns)
    uris = {kind: _resolved(kind, files[kind], lines) for kind, lines in columns.items()}
    ids = case_ids_of(uris["image"])
    healthy = [*uris.get(_MAY_BE_BLANK, []), *[""] * len(ids)]
    return [
        KnownLesion(
            case_id=case_id,
            index=index,
            image_uri=uris["image"][n],
            label_uri=uris["label"][n],
            organs_uri=uris["organs"][n],
            healthy_organs_uri=healthy[n] or None,
            report_uri=uris["report"][n],
            scheme=scheme,
        )
        for n, (case_id, index) in enumerate(zip(ids, indices_of(ids), strict=True))
    ]


def case_ids_of(uris: Sequence[str]) -> list[str]:
    """Ids made of images' paths; an image that comes twice has one id."""
    naming = PathNaming.over(lambda: iter([pa.array(sorted(set(uris)), pa.string())]))
    ids: list[str] = naming.ids(pa.array(uris, pa.string())).to_pylist()
    return ids


def indices_of(case_ids: Sequence[str]) -> list[int]:
    """How many rows before it have the same id."""
    seen = Counter[str]()
    indices = []
    for case_id in case_ids:
        indices.append(seen[case_id])
        seen[case_id] += 1
    return indices


def _lines(uri: str) -> list[str]:
    """Blank ones at the end are none."""
    with reading(uri), fsspec.open(uri, "rt", encoding="utf-8-sig") as stream:
        lines = [line.strip() for line in stream]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _require_aligned(files: Mapping[str, str], columns: Mapping[str, Sequence[str]]) -> None:
    count = len(columns["image"])
    for kind, lines in columns.items():
        short = kind == _MAY_BE_BLANK and len(lines) < count  # the last cases have none
        if len(lines) != count and not short:
            raise CaseListError(
                f"list files of unequal length: {files['image']} has {count} lines, {files[kind]} has {len(lines)}"
            )


def _resolved(kind: str, uri: str, lines: Sequence[str]) -> list[str]:
    """Raises `CaseListError` for a blank line where there must be none."""
    if kind != _MAY_BE_BLANK and "" in lines:
        raise CaseListError(f"{uri}:{lines.index('') + 1}: blank line, should be a URI ({kind})")
    return [normal(resolve(line, folder_of(uri))) if line else "" for line in lines]
