"""Does the lesion lie where the report's cavity says?"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from engine.core.finished import Finished
from engine.core.limits import Limits
from engine.core.vocabulary import Cavity


def in_its_organ(lesion: Finished, limits: Limits) -> str | None:
    """In the parenchyma, the lumen, the wall; or partly outside where it protrudes."""
    organ, cavity = lesion.report.organ, lesion.report.cavity
    share = float(lesion.in_host[lesion.label].mean())
    if cavity is not Cavity.PROTRUDING:
        if share >= limits.min_inside:
            return None
        return f"{share:.0%} of the lesion lies in {organ}, at least {limits.min_inside:.0%} should ({cavity.text})"
    low, high = limits.protruding_inside
    if low <= share <= high:
        return None
    return f"{share:.0%} of the lesion lies in {organ}, {low:.0%} to {high:.0%} should ({cavity.text})"


def nothing_spilled(lesion: Finished, limits: Limits) -> str | None:
    """Not into lung, airway, bone or another organ's gas."""
    share = float(lesion.closed[lesion.label].mean())
    if share <= limits.spilled:
        return None
    return (
        f"{share:.0%} of the lesion lies in lung, airway, bone or gas outside {lesion.report.organ}, "
        f"at most {limits.spilled:.0%} may"
    )


def at_the_wall(lesion: Finished, limits: Limits) -> str | None:
    """A lesion of a wall comes near its organ's outer surface, where the frame shows that there is one."""
    if lesion.report.cavity is not Cavity.WALL:
        return None
    spacing = lesion.native.spacing_mm
    outside = ~lesion.in_host
    if not outside.any():
        return f"lies deep in {lesion.report.organ}, it should touch the wall"
    # Counted in reaches, so that a coarse axis still gets its one neighbour.
    reach_mm = np.maximum(limits.wall_mm, spacing)
    nearest = float(ndimage.distance_transform_edt(~outside, sampling=spacing / reach_mm)[lesion.label].min())
    if nearest <= 1 + 1e-6:
        return None
    return f"lies {nearest * limits.wall_mm:.0f} mm deep in {lesion.report.organ}, it should touch the wall"
