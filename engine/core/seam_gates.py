"""Does the change fade into the tissue around it, without an edge of its own?

A lesion may have a sharp edge: then the step lies on its outline. A seam lies elsewhere: at the margin's end, on the
faces of a crop, between the tiles of a network. Crops of the model grid have faces along planes of native voxels, so
a seam is a step of the change across one such plane that no other plane shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.finished import Finished, Hu, Mask, mean
from engine.core.geometry import MODEL_SPACING_MM
from engine.core.limits import Limits

_FEW_VOXELS = 8
_FEW_PAIRS, _LEAST_AREA = 12, 0.3
"""Of voxel pairs across a plane, and of the widest plane's, from which a mean step is worth a look."""
_FEW_PLANES = 3
_ALTERNATING_PAIRS, _ALTERNATING_LAGS = 60, 4
"""From so many pairs on, and so many lags along the axis: over less, a plain slope looks like an alternation."""
_AXES = (0, 1, 2)


def fades_out(lesion: Finished, limits: Limits) -> str | None:
    """Little of the change is left in the margin, before it is weighted: the painter lets it end there itself."""
    weight = lesion.weight
    margin = (weight > 0) & ~lesion.label
    if np.count_nonzero(margin) < _FEW_VOXELS:
        return None
    left_hu = float(lesion.added_hu[margin].sum(dtype=np.float64) / weight[margin].sum(dtype=np.float64))
    most_hu = limits.halo * lesion.strength_hu + limits.least_step_hu
    if abs(left_hu) <= most_hu:
        return None
    return (
        f"change does not fade: {left_hu:+.0f} HU are left in the margin of {lesion.strength_hu:.0f} HU in the lesion, "
        f"at most {most_hu:.0f} HU may be"
    )


def no_seam(lesion: Finished, limits: Limits) -> str | None:
    """No plane of voxels across which the change steps, and the written values with it."""
    zone = lesion.label
    rest = lesion.added_hu - _by_distance(lesion, zone)
    for axis in _AXES:
        # Interpolation spreads a step over a millimetre: on a fine axis, over two planes.
        lag = 2 if lesion.native.spacing_mm[axis] < 2 * MODEL_SPACING_MM else 1
        steps = list(_planes(rest, lesion.after_hu, zone, axis, lag))
        widest = max((s.pairs for s in steps), default=0)
        steps = [s for s in steps if s.pairs >= max(_FEW_PAIRS, _LEAST_AREA * widest)]
        if len(steps) <= _FEW_PLANES:
            continue
        worst = max(steps, key=lambda s: abs(s.visible_hu))
        others = float(np.median([abs(s.change_hu) for s in steps if s is not worst]))
        share = limits.step[0] + limits.step[1] / worst.pairs**0.5
        most_hu = share * lesion.strength_hu + limits.least_step_hu
        if abs(worst.visible_hu) > max(most_hu, limits.step_over_others * others):
            return (
                f"change has a seam: it steps by {worst.visible_hu:+.0f} HU across a plane of {worst.pairs} voxels "
                f"({others:.0f} HU across the others), at most {most_hu:.0f} HU may be"
            )
    return None


@dataclass(frozen=True)
class _Step:
    """Mean steps across one plane between voxels: of the change, and of what is written."""

    pairs: int
    change_hu: float
    after_hu: float

    @property
    def visible_hu(self) -> float:
        """The part of the change's step that shows: one that levels an edge which was there before does not."""
        if self.change_hu * self.after_hu <= 0:
            return 0.0
        return float(np.sign(self.change_hu)) * min(abs(self.change_hu), abs(self.after_hu))


def _planes(change: Hu, after: Hu, zone: Mask, axis: int, lag: int) -> Iterator[_Step]:
    """Every plane across one axis that has voxels of the zone on both of its sides, `lag` apart."""
    others = tuple(a for a in _AXES if a != axis)
    in_zone, of_change, of_after = (_pairs(a, axis, lag) for a in (zone, change, after))
    both = in_zone[0] & in_zone[1]
    pairs = both.sum(axis=others)
    steps = [
        ((b - a) * both).sum(axis=others, dtype=np.float64) / np.maximum(pairs, 1) for a, b in (of_change, of_after)
    ]
    for n, c, a in zip(pairs, *steps, strict=True):
        if n:
            yield _Step(int(n), float(c), float(a))


def _pairs(values: NDArray[Any], axis: int, lag: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The values at both ends of each pair of voxels that lie `lag` apart along an axis (views)."""
    lined = np.moveaxis(values, axis, 0)
    ends = lined[:-lag], lined[lag:]
    return np.moveaxis(ends[0], 0, axis), np.moveaxis(ends[1], 0, axis)


def _by_distance(lesion: Finished, zone: Mask) -> Hu:
    """The mean change at each voxel's distance from the outline: edges, rims and cores, which follow the outline."""
    step_mm = float(lesion.native.spacing_mm.min())
    signed = np.rint((lesion.off_mm - lesion.depth_mm) / step_mm).astype(int)
    bins = signed[zone] - int(signed[zone].min())
    totals = np.bincount(bins, lesion.added_hu[zone])
    profile = np.zeros(zone.shape, np.float32)
    profile[zone] = (totals / np.maximum(np.bincount(bins), 1))[bins]
    return profile


def no_alternation(lesion: Finished, limits: Limits) -> str | None:
    """No checkerboard, in what was added or in what came of it where that replaced other structure."""
    added = lesion.added_hu - _by_distance(lesion, lesion.label)
    written = lesion.after_hu - np.float32(mean(lesion.after_hu[lesion.label]))
    for lag, least in enumerate(limits.alternation, start=1):
        for axis in _AXES:
            found = min(_correlation(values, lesion.label, axis, lag) for values in (added, written))
            if found < least:
                return (
                    f"pattern alternates: its correlation at {lag} voxels' distance is {found:+.2f}, "
                    f"at least {least:+.2f} should be"
                )
    return None


def _correlation(values: Hu, zone: Mask, axis: int, lag: int) -> float:
    """Of a zone's voxels with those `lag` further along an axis; 0 where there are too few to tell."""
    in_zone, ends = _pairs(zone, axis, lag), _pairs(values, axis, lag)
    both = in_zone[0] & in_zone[1]
    across = int(np.count_nonzero(zone.any(axis=tuple(a for a in _AXES if a != axis))))
    if np.count_nonzero(both) < _ALTERNATING_PAIRS or across < _ALTERNATING_LAGS * lag:
        return 0.0
    a, b = (end[both] for end in ends)
    power = float((a * a + b * b).sum(dtype=np.float64)) / 2
    return float((a * b).sum(dtype=np.float64)) / power if power else 0.0
