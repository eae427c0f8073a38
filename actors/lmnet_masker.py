"""LMNet as the engine's masker: organ crop, box and report in, soft mask out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actors.out_of_memory import room_for
from actors.words import told_mask
from engine.backends import Mask
from engine.core.geometry import Box
from engine.core.requests import MaskRequest, Refusal
from engine.core.sample import Crop
from models import lmnet
from models.lmnet import Drawing, LMNet


class LMNetMasker:
    """Crops of one shape, so that a batch has one; they may reach beyond the volume, where there is no organ."""

    name = "lmnet"

    def __init__(self, network: LMNet, settings: Mask) -> None:
        self._network, self._words = network, settings.words

    def __call__(self, requests: Sequence[MaskRequest]) -> list[Crop | Refusal]:
        """Soft masks, each on the smallest box that holds it. Raises `ServiceLostError` where one crop has no room."""
        fitting = [request for request in requests if request.organs.box.contains(request.box)]
        with room_for("mask"):
            drawings = iter(self._network.draw([self._asked(request) for request in fitting]))
        return [
            _answer(request, next(drawings)) if request.organs.box.contains(request.box) else _too_large(request)
            for request in requests
        ]

    def _asked(self, request: MaskRequest) -> lmnet.MaskRequest:
        organs = request.organs
        box = np.zeros(organs.box.shape, bool)
        box[request.box.relative_to(organs.box).slices] = True
        return lmnet.MaskRequest(
            organ_ids=organs.values,
            host=np.isin(organs.values, request.organ_ids),
            box=box,
            attributes=told_mask(request, self._words),
            volume_vox=request.report.asked_mm3,  # a voxel of the model grid is a cubic millimetre
            seed=request.seed,
        )


def _answer(request: MaskRequest, drawing: Drawing | None) -> Crop | Refusal:
    soft = None if drawing is None else drawing.soft
    if soft is None or (found := Box.of_mask(soft)) is None:
        return Refusal("LMNet drew no lesion in its box")
    return Crop(found.shifted(request.organs.box.start), soft[found.slices])


def _too_large(request: MaskRequest) -> Refusal:
    box, seen = ("x".join(map(str, box.shape)) for box in (request.box, request.organs.box))
    return Refusal(f"its box of {box} mm exceeds the {seen} mm that LMNet sees")
