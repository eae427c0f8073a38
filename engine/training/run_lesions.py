"""Lesions that a run of ours painted: every lesion of every sample that is done, as the manifest has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.core.errors import CaseListError, UsageError
from engine.core.sample import Status
from engine.io.case_uris import absolute
from engine.io.ledger import Ledger
from engine.io.organ_cache import opened_as
from engine.io.runfile import RUN_FILE, RunFile
from engine.io.storage import OutputFolder, open_input
from engine.organ_maps import Organs
from engine.settings import Write
from engine.training.known import KnownLesion, Point

_COLUMNS = ("case_id", "status", "organs_uri", "image_uri", "label_uri", "lesions")


@dataclass(frozen=True)
class _Made:
    """What a row does not say of itself."""

    output: OutputFolder
    write: Write
    organs: Organs
    cases_base: str

    def file(self, name: str) -> str:
        """A name of the manifest as any process can open it."""
        return self.output.uri_of(f"{self.write.dataset_folder}/{name}")


def lesions_of_run(uri: str, cases_base: str = "") -> list[KnownLesion]:
    """By sample, then by lesion. `cases_base`: the folder that relative URIs of organ maps start from.

    Raises `CaseListError`: no run, an unfinished one, or one of patches, which hold no volume to crop from.
    """
    made = _opened(uri, cases_base)
    return [lesion for row in Ledger(made.output).rows(_COLUMNS) for lesion in _lesions(row, made)]


def _opened(uri: str, cases_base: str) -> _Made:
    try:
        output = open_input(absolute(uri), RUN_FILE)
        file = RunFile.read(output)
    except UsageError as error:
        raise CaseListError(str(error)) from None
    if file is None:
        raise CaseListError(f"{uri} holds no run: there is no {RUN_FILE} in it")
    if not file.complete:
        raise CaseListError(f"{uri} is a run that has not finished; run its command again first")
    write = Write.model_validate(file.config["write"])
    if write.form == "patch":
        raise CaseListError(
            f"{uri} is a run of patches; `lesionforge materialise {uri} OUTPUT` makes volumes of it first"
        )
    # What made maps is of no matter here: only how those that were given are to be read.
    organs = Organs.model_validate({k: v for k, v in file.config["organs"].items() if k in ("labels", "names")})
    return _Made(output, write, organs, absolute(cases_base or "."))


def _lesions(row: Mapping[str, Any], made: _Made) -> Iterator[KnownLesion]:
    if row["status"] != Status.DONE.value:
        return
    organs_uri, ours = opened_as(row["organs_uri"], made.cases_base, made.output)
    names = made.organs.names
    centroids = [_point(lesion["centroid_mm"]) for lesion in row["lesions"]]
    for n, lesion in enumerate(row["lesions"]):
        yield KnownLesion(
            case_id=row["case_id"],
            index=lesion["index"],
            image_uri=made.file(row["image_uri"]),
            label_uri=made.file(row["label_uri"]),
            organs_uri=organs_uri,
            report=lesion["report"],
            centroid_mm=centroids[n],
            others_mm=tuple(centroids[:n] + centroids[n + 1 :]),
            organ_id=lesion["organ_id"],
            scheme="total_v1" if ours else made.organs.labels,
            names=None if ours or names is None else tuple(sorted(names.items())),
            ours=True,
        )


def _point(values: list[float]) -> Point:
    x, y, z = values
    return x, y, z
