"""What the networks are told of a lesion that is there to be seen: its report, and what of it can be measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.anatomy import organ_of_id
from engine.core.errors import ReportError
from engine.core.finished import GAS_HU
from engine.core.network_text import full_text, linet_text, lmnet_text
from engine.core.report import Report, Size3, Wanted
from engine.core.vocabulary import Cavity, LesionType, SpecificFeatures
from engine.training.host import Host

_FEW_VOXELS = 20
_INSIDE_SHARE = 0.9
"""Of the voxels around a lesion that are the host's, where it lies within it."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A lesion in its crop. The arrays are (z y x) on the 1 mm model grid.

    `lesion`    its voxels
    `in_host`   the host's, by the organ map
    `size_mm`   of all of it, also where it reaches out of the crop
    """

    image_hu: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    in_host: NDArray[np.bool_]
    size_mm: Size3

    @property
    def mean_hu(self) -> float:
        return float(self.image_hu[self.lesion].mean(dtype=np.float64))

    def tissue_hu(self, *, airy: bool) -> float | None:
        """Median of the host around it, gas left out; None where hardly any is in view."""
        values = self.image_hu[self.in_host & ~self.lesion]
        values = values if airy else values[values > GAS_HU]
        return float(np.median(values)) if values.size >= _FEW_VOXELS else None

    @property
    def enclosed(self) -> bool:
        """Whether the host is on all sides of it, the end of the crop left out."""
        around = ndimage.binary_dilation(self.lesion) & ~self.lesion
        return float(self.in_host[around].mean()) >= _INSIDE_SHARE if around.any() else True


@dataclass(frozen=True)
class Told:
    """As `LesionCrop` has it."""

    mask_text: dict[str, str]
    paint_text: dict[str, str]
    asked_hu: float | None


def told_of(host: Host, seen: Seen, words: str) -> Told:
    """Texts in the "published" words, or "full" ones. A cavity that the report does not name is seen.

    The mean that LINet is told is the report's, else the lesion's own. Raises `ReportError`: "full" words of a report
    that lacks what cannot be measured.
    """
    said = host.said if host.said.cavity is not None else replace(host.said, cavity=_cavity(host, seen))
    mean_hu = seen.mean_hu
    if words == "full":
        report = _completed(said, host, seen, mean_hu)
        mask_text = full_text(report, organ_id=host.organ_id)
        paint_text = full_text(report, organ_id=host.organ_id, measured_hu=mean_hu)
    else:
        mask_text = lmnet_text(said, organ_id=host.organ_id)
        paint_text = linet_text(said, organ_id=host.organ_id, measured_hu=mean_hu)
    return Told(mask_text, paint_text, said.ct_value_hu)


def _cavity(host: Host, seen: Seen) -> Cavity:
    """Reports of the reference name none; it goes by the organ and by what its organ maps leave over."""
    stone = host.said.lesion_type is LesionType.STONE or SpecificFeatures.STONE in (host.said.specific_features or ())
    if organ_of_id(host.organ_id).hollow:
        return Cavity.LUMEN if stone else Cavity.WALL
    return Cavity.PARENCHYMA if seen.enclosed else Cavity.PROTRUDING


def _completed(said: Wanted, host: Host, seen: Seen, mean_hu: float) -> Report:
    """With the size and contrast that are there, where it gives none."""
    organ = organ_of_id(host.organ_id)
    tissue_hu = seen.tissue_hu(airy=organ.airy)
    contrast_hu = None if tissue_hu is None else mean_hu - tissue_hu
    measured = Wanted(organ=organ.name, size_mm=seen.size_mm, contrast_hu=contrast_hu)
    try:
        return Report.from_json(said.over(measured).to_json())
    except ReportError as error:
        raise ReportError(f"{error}, which text.words: full tells") from None
