"""Which Hounsfield units a picture shows: narrow enough for a lesion to be seen, wide enough for what surrounds it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.core.anatomy import find_organ
from engine.core.report import Report
from engine.core.vocabulary import LesionType, SpecificFeatures

_BONES = ("vertebrae", "rib", "sacrum", "hip", "femur", "humerus", "scapula", "clavicula", "face")


@dataclass(frozen=True)
class Window:
    """HU from `low_hu` (black) to `high_hu` (white)."""

    name: str
    low_hu: float
    high_hu: float

    def grey(self, hu: NDArray[np.floating]) -> NDArray[np.uint8]:
        """HU of any shape -> 0 to 255."""
        shade = np.clip((hu - self.low_hu) / (self.high_hu - self.low_hu), 0, 1)
        return np.asarray(np.rint(shade * 255), np.uint8)

    @property
    def text(self) -> str:
        """As a radiologist would say it: width and level."""
        return f"{self.name} window, W {self.high_hu - self.low_hu:.0f} L {(self.low_hu + self.high_hu) / 2:.0f}"


ABDOMEN = Window("abdomen", -160, 240)
LUNG = Window("lung", -1350, 150)
BONE = Window("bone", -450, 1050)
STONE = Window("stone", -200, 600)
_NARROW_HU, _LEVELS_HU = 260.0, (50.0, 220.0)


def close_window(report: Report, around_hu: float) -> Window:
    """For a close look at this lesion: a parenchyma hides differences of 20 HU in any wider window.

    It is centred on the tissue around, `around_hu`, which contrast medium may have made bright.
    """
    if LesionType.STONE is report.lesion_type or SpecificFeatures.STONE in report.specific_features:
        return STONE
    wide = wide_window(report)
    if wide is not ABDOMEN:
        return wide
    level = float(np.clip(round(around_hu, -1), *_LEVELS_HU)) if np.isfinite(around_hu) else _LEVELS_HU[0]
    return Window("narrow organ", level - _NARROW_HU / 2, level + _NARROW_HU / 2)


def wide_window(report: Report) -> Window:
    """For the body around this lesion."""
    organ = find_organ(report.organ)
    if organ.airy:
        return LUNG
    return BONE if organ.name.startswith(_BONES) else ABDOMEN
