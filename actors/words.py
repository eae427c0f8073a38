"""What the networks are told of a request, in the words of their training."""

from __future__ import annotations

from typing import Literal

from engine.core.network_text import full_text, linet_text, lmnet_text
from engine.core.requests import MaskRequest, PaintRequest

Words = Literal["published", "full"]


def told_mask(request: MaskRequest, words: Words) -> dict[str, str]:
    organ_id = request.organ_ids[0]
    if words == "full":
        return full_text(request.report, organ_id=organ_id)
    return lmnet_text(request.report, organ_id=organ_id)


def told_paint(request: PaintRequest, words: Words) -> dict[str, str]:
    """The mean in HU that the networks are told is the report's, or what its contrast makes of the tissue there."""
    replaced = request.ct.cut(request.mask.box)[request.mask.values >= 0.5]
    wanted = float(replaced.mean()) + request.report.contrast_hu if replaced.size else None
    text = full_text if words == "full" else linet_text
    return text(request.report, organ_id=request.organ_id, measured_hu=wanted)
