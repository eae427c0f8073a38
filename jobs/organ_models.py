"""Which of TotalSegmentator's networks a run needs, found and looked at before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from engine.core.errors import UsageError
from engine.core.template import DEFAULT_ORGANS
from engine.io.cases import open_cases
from engine.organ_maps import OrganPart
from engine.settings import Settings

if TYPE_CHECKING:
    from actors.organ_models import OrganModels


def organ_models(settings: Settings) -> OrganModels | None:
    """None where no organ map is to be made.

    Raises `UsageError`, one line: the package is not installed, weights are missing or damaged.
    """
    if settings.organs.backend == "given":
        return None
    try:
        from actors.organ_models import find_models
        from models.tensor_file import CheckpointError
    except ModuleNotFoundError as error:
        raise UsageError(
            f"organs.backend totalsegmentator needs {error.name}, which is not installed; "
            "pip install 'lesionforge[organs]' brings it"
        ) from None
    try:
        return find_models(fast=settings.organs.fast, parts=parts_of(settings))
    except CheckpointError as error:
        raise UsageError(f"organs: {error}") from None


def parts_of(settings: Settings) -> tuple[OrganPart, ...]:
    """The networks at 1.5 mm that `organs.parts` stands for."""
    from actors.organ_models import ALL_PARTS, parts_with

    match settings.organs.parts:
        case "all":
            return ALL_PARTS
        case "auto":
            if settings.organs.fast or settings.mask.is_network or _names_organs(settings):
                return ALL_PARTS
            return parts_with([str(entry.wanted.organ) for entry in settings.lesions.mix] or DEFAULT_ORGANS)
        case parts:
            return tuple(part for part in ALL_PARTS if part in parts)


def _names_organs(settings: Settings) -> bool:
    """Whether the case list fixes lesions of its own."""
    batches = open_cases(settings.cases).batches()
    return any(pc.any(pc.not_equal(batch.column("wanted"), "")).as_py() for batch in batches)
