"""Is the lesion as dark or as bright as asked, in numbers that a CT can hold?"""

from __future__ import annotations

import numpy as np

from engine.core.finished import Finished, mean
from engine.core.limits import Limits
from engine.core.paste import NativeLesion

_TOUCHED_SHARE, _TOUCHED_HU = 0.1, 0.5
"""A voxel counts as painted where it changes by this share of the contrast, and at all."""
_LOST_HU = 2.0
_LOST_SHARE = 0.02


def finite(lesion: NativeLesion) -> str | None:
    """No NaN, no infinity in what was painted. To be asked before anything is added to the source."""
    bad = int(np.count_nonzero(~np.isfinite(lesion.delta_hu)))
    return f"painted change is not finite at {bad} of {lesion.delta_hu.size} voxels" if bad else None


def changed(lesion: Finished, limits: Limits) -> str | None:
    """The label names voxels that were painted, rounding included."""
    same = int(np.count_nonzero((lesion.before_hu == lesion.after_hu)[lesion.label]))
    if same == lesion.lesion.voxels:
        return f"rounding leaves all {same} voxels of the lesion as they were"
    added = np.abs(lesion.added_hu[lesion.label])
    least_hu = _TOUCHED_SHARE * min(float(added.mean()), abs(lesion.report.contrast_hu))
    share = float((added >= max(least_hu, _TOUCHED_HU)).mean())
    if share >= limits.changed:
        return None
    return f"{share:.0%} of the lesion's voxels were changed, at least {limits.changed:.0%} should be"


def right_sign(lesion: Finished, limits: Limits) -> str | None:
    """Darker or brighter than what was there."""
    del limits
    sign, shift_hu = lesion.report.contrast_sign, lesion.shift_hu
    if sign == 0 or sign * shift_hu > 0:
        return None
    way = "rise" if sign > 0 else "fall"
    asked = f"{lesion.report.density.text}, {lesion.report.contrast_hu:+.0f} HU"
    return f"mean shift is {shift_hu:+.1f} HU, it should {way} ({asked})"


def right_size(lesion: Finished, limits: Limits) -> str | None:
    """About as dark or bright as asked, against what was there.

    Where that was gas, fat or a lumen the shift may be larger, if the lesion is right against the organ's tissue.
    """
    if lesion.report.ct_value_hu is not None:
        return _right_value(lesion, lesion.report.ct_value_hu, limits)
    sign, asked = lesion.report.contrast_sign, abs(lesion.report.contrast_hu)
    low = limits.contrast_share[0] * asked - limits.contrast_slack_hu[0]
    high = limits.contrast_share[1] * asked + limits.contrast_slack_hu[1]
    if sign == 0:
        sign, low, high = 1, -limits.isodense_hu, limits.isodense_hu
    shift_hu, measured = lesion.shift_hu, f"{lesion.shift_hu:+.0f} HU against what was there"
    if low <= sign * shift_hu <= high:
        return None
    if lesion.against_tissue and np.isfinite(lesion.tissue_hu):
        above_hu = mean(lesion.after_hu[lesion.label]) - lesion.tissue_hu
        if sign * shift_hu > high and low <= sign * above_hu <= high:
            return None
        measured += f" and {above_hu:+.0f} HU against the organ's tissue"
    bounds = sorted((sign * low, sign * high))
    return (
        f"contrast is {measured}; {lesion.report.contrast_hu:+.0f} HU was asked: "
        f"{bounds[0]:+.0f} to {bounds[1]:+.0f} will do"
    )


def _right_value(lesion: Finished, asked_hu: float, limits: Limits) -> str | None:
    got_hu, was_hu = mean(lesion.after_hu[lesion.label]), mean(lesion.before_hu[lesion.label])
    slack_hu = limits.value_slack_hu + limits.contrast_share[0] * abs(asked_hu - was_hu)
    if abs(got_hu - asked_hu) <= slack_hu:
        return None
    return f"mean is {got_hu:.0f} HU, {asked_hu:.0f} HU was asked: within {slack_hu:.0f} HU will do"


def plausible(lesion: Finished, limits: Limits) -> str | None:
    """Within what CT measures, and what the file's type holds."""
    touched = lesion.added_hu != 0
    before, after = lesion.before_hu[touched], lesion.after_hu[touched]
    if not after.size:
        return None
    low, high = min(limits.hu[0], float(before.min())), max(limits.hu[1], float(before.max()))
    lowest, highest = float(after.min()), float(after.max())
    if lowest < low or highest > high:
        return f"holds {lowest:.0f} to {highest:.0f} HU, {low:.0f} to {high:.0f} HU are plausible"
    lost = np.abs(after - before - lesion.added_hu[touched]) > _LOST_HU
    if lost.mean() <= _LOST_SHARE:
        return None
    return (
        f"the file's type cannot hold {lost.mean():.0%} of the changed voxels, at most {_LOST_SHARE:.0%} may be clipped"
    )
