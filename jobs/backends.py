"""Which backend a setting's name stands for. The one list; nothing is imported by a string from a configuration."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from engine.core.errors import UsageError
from engine.core.requests import Segmenter
from engine.procedural.mask import ProceduralMasker
from engine.procedural.paint import ProceduralPainter
from engine.run import Run
from engine.settings import Settings
from engine.stage import MaskerFactory, PainterFactory
from jobs.organ_models import organ_models


def masker_for(settings: Settings) -> MaskerFactory:
    match settings.mask.backend:
        case "procedural":
            return ProceduralMasker
        case "lmnet":
            require_networks(settings)
            from actors.networks import lmnet_masker

            return partial(lmnet_masker, settings.mask)


def painter_for(settings: Settings) -> PainterFactory:
    match settings.paint.backend:
        case "procedural":
            return partial(ProceduralPainter, reach_vox=max(1, math.ceil(settings.blend.margin_mm)))
        case "linet":
            require_networks(settings)
            from actors.networks import linet_painter

            return partial(linet_painter, settings.paint, neighbour=_neighbour(settings))


def segmenter_for(run: Run) -> AbstractContextManager[Segmenter | None]:
    """The resident actors that make organ maps, for as long as the run works; None where cases bring them all."""
    models = organ_models(run.settings)
    if models is None:
        return nullcontext()
    from jobs.segmenters import segmenters

    return segmenters(run, models)


def _neighbour(settings: Settings) -> bool:
    pool = settings.execution.paint_pool
    return pool is not None and pool.vq == "neighbour"


def require_networks(settings: Settings) -> None:
    """Raises `UsageError` where torch and what the networks need besides are not installed."""
    try:
        import models.linet
        import models.text_source  # noqa: F401
    except ModuleNotFoundError as error:
        names = " and ".join(b.backend for b in (settings.mask, settings.paint) if b.is_network)
        raise UsageError(
            f"{names} need {error.name}, which is not installed; pip install 'lesionforge[networks]' brings it"
        ) from None
