"""LINet as the engine's painter: CT crop, mask and report in, painted HU out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from actors.out_of_memory import room_for
from actors.words import told_paint
from engine.backends import Paint
from engine.core.intensity import KNOTS_HU, hu_to_unit, unit_to_hu
from engine.core.requests import PaintRequest, Refusal
from engine.core.sample import Crop
from models import linet
from models.linet import LINet

_BOUNDARY = 0.5


class LINetPainter:
    """Crops of one shape, so that a batch has one; they may reach beyond the volume, into air."""

    name = "linet"

    def __init__(self, network: LINet, settings: Paint) -> None:
        self._network, self._words = network, settings.words

    def __call__(self, requests: Sequence[PaintRequest]) -> list[Crop | Refusal]:
        """Painted HU, each on its request's CT crop. Raises `ServiceLostError` where one crop has no room."""
        fitting = [request for request in requests if request.ct.box.contains(request.mask.box)]
        with room_for("paint"):
            painted = iter(self._network.paint([self._asked(request) for request in fitting]))
        return [
            Crop(request.ct.box, _in_hu(request, next(painted).numpy()))
            if request.ct.box.contains(request.mask.box)
            else _too_large(request)
            for request in requests
        ]

    def _asked(self, request: PaintRequest) -> linet.PaintRequest:
        return linet.PaintRequest(
            image=torch.from_numpy(hu_to_unit(request.ct.values)),
            mask=torch.from_numpy(_lesion(request)),
            attributes=told_paint(request, self._words),
            seed=request.seed,
        )


def _too_large(request: PaintRequest) -> Refusal:
    lesion, seen = ("x".join(map(str, box.shape)) for box in (request.mask.box, request.ct.box))
    return Refusal(f"its lesion of {lesion} mm exceeds the {seen} mm that LINet sees")


def _lesion(request: PaintRequest) -> NDArray[np.bool_]:
    return request.mask.onto(request.ct.box).values >= _BOUNDARY


def _in_hu(request: PaintRequest, painted: NDArray[np.float32]) -> NDArray[np.float32]:
    """The curve knows -1000 to 1000 HU. Around the lesion, what lies beyond is left there: metal stays metal."""
    hu, there = unit_to_hu(painted), request.ct.values.astype(np.float32)
    beyond = there - np.clip(there, KNOTS_HU[0], KNOTS_HU[-1])
    return np.where(_lesion(request), hu, hu + beyond)
