"""What a masker and a painter are asked, and what they answer: the same for procedural code and for networks.

Both work on a batch of lesions from any samples. An answer depends on its own request alone, never on its batch.
`Services` are what the stages before them may ask over Ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.core.dictation import Answer, Question
from engine.core.geometry import Box
from engine.core.report import Report
from engine.core.sample import Crop


@dataclass(frozen=True)
class MaskRequest:
    """Draw a lesion mask in `box`.

    `organs` uint8 v1 ids on a box of the model grid that contains `box`; `organ_ids` those of the organ asked for.
    """

    organs: Crop
    organ_ids: tuple[int, ...]
    box: Box
    report: Report
    seed: int


@dataclass(frozen=True)
class PaintRequest:
    """Paint a lesion into `ct` (int16 HU) where `mask` (float32 in [0, 1], 0.5 the boundary) says so.

    `organ` (bool, on the CT's box) marks the voxels of the host organ, whose v1 id is `organ_id`.
    """

    ct: Crop
    organ: Crop
    organ_id: int
    mask: Crop
    report: Report
    seed: int


@dataclass(frozen=True)
class Refusal:
    """The backend could not fulfil a request; the sample is drawn again, then `rejected` with this reason."""

    reason: str


class Masker(Protocol):
    name: str

    def __call__(self, requests: Sequence[MaskRequest]) -> list[Crop | Refusal]:
        """Soft masks float32 in [0, 1], each on some box inside its request's organ crop."""
        ...


class Painter(Protocol):
    name: str

    def __call__(self, requests: Sequence[PaintRequest]) -> list[Crop | Refusal]:
        """Painted HU float32, each on the box of its request's CT crop; far from the mask it may equal the CT."""
        ...


class Reporter(Protocol):
    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        """An answer to each. Raises `OutputError`, and `ServiceError` where none will ever come."""
        ...


class Segmenter(Protocol):
    def __call__(self, ct_uri: str, ct_sha256: str) -> str:
        """URI of an organ map of this CT, made now or earlier, with v1 ids on its grid.

        `ct_uri` can be opened from anywhere, `ct_sha256` is the CT's digest as stored. Raises `OrganMapError` for a CT
        that cannot be segmented, `OutputError` where the map cannot be kept or the segmenter be had.
        """
        ...


@dataclass(frozen=True)
class Services:
    """What the CPU stages ask of resident actors; picklable, so that every task has it."""

    segmenter: Segmenter | None = None
    """For cases that bring no organ map."""
    reporter: Reporter | None = None
    """Of a run whose reports a language model writes."""
