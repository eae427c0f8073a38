"""Quality gates on a finished lesion: what a sample must hold to be `done`.

A miss is one line with the measured values; the sample is drawn again, and in the end rejected with that line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.errors import LesionForgeError
from engine.core.geometry import Grid
from engine.core.paste import NativeLesion, vanished
from engine.core.report import Report
from engine.core.vocabulary import Cavity

MIN_ORGAN_SHARE = 0.6

_NEIGHBOURS = np.ones((3, 3, 3), bool)


class GateMiss(LesionForgeError):
    """A finished sample that will not do. Neither the case's fault nor a bug: it is drawn again."""


def check_lesion(
    lesion: NativeLesion,
    report: Report,
    native: Grid,
    *,
    shift_hu: float,
    changed_voxels: int | None = None,
    organ: NDArray[np.bool_] | None = None,
    others: Sequence[NativeLesion] = (),
    min_voxels: int = 1,
) -> str | None:
    """Why this lesion will not do, or None.

    `shift_hu` is the mean over the label of what the file will hold, less the source; `changed_voxels` how many of
    the label's voxels differ at all after rounding; `organ` where the host organ is, on `lesion.box`; `others` the
    sample's other lesions. What is not given is not judged.
    """
    fewest = max(min_voxels, 1)
    if lesion.voxels < fewest:
        return vanished(native, lesion.voxels, fewest)
    if not np.isfinite(lesion.delta_hu).all():
        bad = int(np.count_nonzero(~np.isfinite(lesion.delta_hu)))
        return f"painted change is not finite at {bad} of {lesion.delta_hu.size} voxels"
    shared = max((touching_voxels(lesion, other) for other in others), default=0)
    if shared:
        return f"touches another lesion of this sample at {shared} voxels"
    if organ is not None and report.cavity is Cavity.PARENCHYMA:
        share = float(organ[lesion.label].mean())
        if share < MIN_ORGAN_SHARE:
            return f"{share:.0%} of the lesion lies in {report.organ}, at least {MIN_ORGAN_SHARE:.0%} should"
    if changed_voxels == 0:
        return f"rounding leaves all {lesion.voxels} voxels of the lesion as they were"
    return _wrong_shift(report, shift_hu)


def _wrong_shift(report: Report, shift_hu: float) -> str | None:
    sign = report.contrast_sign
    if sign == 0 or sign * shift_hu > 0:
        return None
    way = "rise" if sign > 0 else "fall"
    return f"mean shift is {shift_hu:+.1f} HU, it should {way} ({report.density.text}, {report.contrast_hu:+.0f} HU)"


def touching_voxels(lesion: NativeLesion, other: NativeLesion) -> int:
    """Voxels of this lesion's label that coincide with, or are neighbours (faces, edges, corners) of, another's."""
    frame = lesion.box.grown(1)
    if not frame.overlaps(other.box):
        return 0
    near = ndimage.binary_dilation(other.label_on(frame), _NEIGHBOURS)[1:-1, 1:-1, 1:-1]
    return int(np.count_nonzero(near & lesion.label))
