"""What flows between stages: a sample with its lesions, and the arrays they carry.

Arrays on the way are crops on the model grid (1 mm, axes S A L), never volumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.core.errors import CaseError
from engine.core.geometry import Box, Grid
from engine.core.report import Report

T = TypeVar("T")


def given(value: T | None) -> T:
    """A field that an earlier stage has filled in; that it has is a promise of the boundary's schema."""
    if value is None:
        raise ValueError("a stage ran before the one that feeds it")
    return value


class Status(StrEnum):
    """Where a sample stands. Done, rejected and failed end in the manifest."""

    PENDING = "pending"
    DONE = "done"
    REJECTED = "rejected"
    FAILED = "failed"
    UNWRITABLE = "unwritable"
    """The output folder refused the files: not the case's fault, so it is never committed and the run stops."""
    UNANSWERED = "unanswered"
    """A service turned the run away: never committed, either, and the run stops."""


@dataclass(frozen=True)
class Crop:
    """An array and the box of the model grid that it covers (`values.shape == box.shape`)."""

    box: Box
    values: NDArray[Any]

    def __post_init__(self) -> None:
        if self.values.shape != self.box.shape:
            raise ValueError(f"crop of shape {self.values.shape} on a box of shape {self.box.shape}")

    def cut(self, box: Box) -> NDArray[Any]:
        """The values in `box`, which must lie inside (a view)."""
        return self.values[box.relative_to(self.box).slices]

    def onto(self, box: Box) -> Crop:
        """The same values on another box of the grid, zero where this crop says nothing."""
        out = np.zeros(box.shape, self.values.dtype)
        shared = self.box & box
        if shared.voxels:
            out[shared.relative_to(box).slices] = self.cut(shared)
        return Crop(box, out)


@dataclass(frozen=True)
class Lesion:
    """One site. Fields fill up from stage to stage and arrays are dropped once consumed.

    `box`      where the mask must lie, on the model grid
    `organ_id` v1 id of the organ under the centre
    `organs`   uint8 v1 ids around the box, for the masker
    `ct`       int16 HU around the box, for the painter
    `mask`     float32 in [0, 1] on the lesion's own box; 0.5 is the boundary
    `delta`    int16 HU to be added, on the lesion's box and its margin
    """

    index: int
    report: Report
    seed: int = 0
    organ_id: int = 0
    box: Box | None = None
    organs: Crop | None = None
    ct: Crop | None = None
    mask: Crop | None = None
    delta: Crop | None = None
    backends: Mapping[str, str] = field(default_factory=dict)
    size_fixed: bool = False
    """The user asked for this size; otherwise `place` may take a smaller one where the organ is narrow."""


@dataclass(frozen=True)
class Source:
    """What was learnt of the source volume when it was read."""

    grid: Grid
    sha256: str
    organs_sha256: str = ""


@dataclass(frozen=True)
class Sample:
    """One synthetic output of a case: the unit of work, of retry and of the manifest."""

    sample_id: str
    case_id: str
    variant: int
    ordinal: int
    ct_uri: str
    organs_uri: str = ""
    wanted: str = ""
    """JSON list of what the user fixed, one entry a lesion; empty where everything is open."""
    attempt: int = 0
    status: Status = Status.PENDING
    stage: str = ""
    reason: str = ""
    source: Source | None = None
    lesions: tuple[Lesion, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """CPU seconds by stage; kept out of the manifest."""
    devices: Mapping[str, str] = field(default_factory=dict)
    """Node and device by what ran there; kept out of the manifest, too."""

    @property
    def pending(self) -> bool:
        return self.status is Status.PENDING

    def failed(self, stage: str, error: CaseError) -> Sample:
        """The end of this sample: what is wrong, where. Arrays are dropped."""
        return self.ended(Status.FAILED, stage, str(error))

    def ended(self, status: Status, stage: str, reason: str) -> Sample:
        return replace(self, status=status, stage=stage, reason=reason)

    def with_lesions(self, lesions: Sequence[Lesion]) -> Sample:
        return replace(self, lesions=tuple(lesions))


def sample_id_of(case_id: str, variant: int) -> str:
    return f"{case_id}-v{variant:03d}"
