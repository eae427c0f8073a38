"""Which backend a setting's name stands for. The one list; nothing is imported by a string from a configuration."""

from __future__ import annotations

import math
from functools import partial

from engine.procedural.mask import ProceduralMasker
from engine.procedural.paint import ProceduralPainter
from engine.settings import Settings
from engine.stage import MaskerFactory, PainterFactory


def masker_for(settings: Settings) -> MaskerFactory:
    match settings.mask.backend:
        case "procedural":
            return ProceduralMasker


def painter_for(settings: Settings) -> PainterFactory:
    match settings.paint.backend:
        case "procedural":
            return partial(ProceduralPainter, reach_vox=max(1, math.ceil(settings.blend.margin_mm)))
