"""One lesion as the networks are shown it in training: image, organs and label on the model grid, and what is told.

A crop travels as a row of Ray Data: arrays, numbers and texts, nothing else. An example that could not be had travels
as a row, too, with what is wrong with it, so that there is a row for every ordinal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.core.geometry import Shape3

ORGAN, LESION = 1, 2
"""In a label."""


@dataclass(frozen=True, eq=False)
class LesionCrop:
    """One example, on the model grid: axes (z y x) = (S A L), 1 mm.

    `image_hu`   (z y x) whole HU; -1000 (air) or 0 beyond the volume, as `data.outside` says
    `organs`     (z y x) TotalSegmentator v1 ids, 0 beyond the volume; all 0 for the VQ-GAN, which sees none
    `label`      (z y x) 0 nothing, 1 the host organ, 2 THE lesion of this example; other lesions of its case are 1
                 where the organ map has them in the host, else 0
    `hosts`      v1 ids of the organ it lies in, several where that is an organ in parts; none for the VQ-GAN
    `mask_text`, `paint_text`   what LMNet and LINet are told, attribute -> text, see `engine.core.network_text`
    `asked_hu`   mean that the report asks for, if it gives one
    """

    case_id: str
    image_hu: NDArray[np.float32]
    organs: NDArray[np.uint8]
    label: NDArray[np.uint8]
    hosts: tuple[int, ...]
    mask_text: dict[str, str]
    paint_text: dict[str, str]
    asked_hu: float | None

    def to_record(self) -> dict[str, Any]:
        """A row: the arrays as they are, `hosts` int32 (n,), texts as JSON in their order, no number as NaN."""
        return {
            "case_id": self.case_id,
            "image_hu": self.image_hu,
            "organs": self.organs,
            "label": self.label,
            "hosts": np.asarray(self.hosts, np.int32),
            "mask_text": json.dumps(self.mask_text),
            "paint_text": json.dumps(self.paint_text),
            "asked_hu": math.nan if self.asked_hu is None else float(self.asked_hu),
            "problem": "",
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The crop of a row. Raises ValueError for the row of a bad example: ask `problem_of` first."""
        if problem := problem_of(record):
            raise ValueError(f"the row holds no crop: {problem}")
        asked_hu = float(record["asked_hu"])
        return cls(
            case_id=str(record["case_id"]),
            image_hu=np.asarray(record["image_hu"], np.float32),
            organs=np.asarray(record["organs"], np.uint8),
            label=np.asarray(record["label"], np.uint8),
            hosts=tuple(int(host) for host in record["hosts"]),
            mask_text=json.loads(str(record["mask_text"])),
            paint_text=json.loads(str(record["paint_text"])),
            asked_hu=None if math.isnan(asked_hu) else asked_hu,
        )


def bad_record(case_id: str, problem: str, shape: Shape3) -> dict[str, Any]:
    """The row of an example that could not be had: `problem` is the decoder's error, the arrays are all 0."""
    if not problem:
        raise ValueError("a bad example needs its problem")
    nothing = LesionCrop(
        case_id, np.zeros(shape, np.float32), np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), (), {}, {}, None
    )
    return nothing.to_record() | {"problem": problem}


def problem_of(record: Mapping[str, Any]) -> str:
    """What is wrong with the example of a row; "" for a good one."""
    return str(record["problem"])
