"""Quality gates on a finished lesion: what a sample must hold to be `done`.

A miss is one line with the measured values and what would be right; the sample is drawn again, and in the end rejected
with that line. Each gate is a function of the finished lesion and the limits (engine/core/limits.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from engine.core.contrast_gates import changed, plausible, right_sign, right_size
from engine.core.errors import LesionForgeError
from engine.core.finished import Finished
from engine.core.limits import Limits
from engine.core.paste import NativeLesion
from engine.core.seam_gates import fades_out, no_alternation, no_seam
from engine.core.site_gates import at_the_wall, in_its_organ, nothing_spilled
from engine.core.size_gates import asked_volume, enough_voxels, in_its_place, one_piece

Gate = Callable[[Finished, Limits], str | None]

GATES: tuple[Gate, ...] = (
    enough_voxels, one_piece, asked_volume, in_its_place,
    in_its_organ, nothing_spilled, at_the_wall,
    changed, right_sign, right_size, plausible,
    fades_out, no_seam, no_alternation,
)  # fmt: skip
"""In this order: the first makes the others' arithmetic safe, and what is plainest comes before what is subtle."""

_NEIGHBOURS = np.ones((3, 3, 3), bool)


class GateMiss(LesionForgeError):
    """A finished sample that will not do. Neither the case's fault nor a bug: it is drawn again."""


def check_lesion(lesion: Finished, limits: Limits, others: Sequence[NativeLesion] = ()) -> str | None:
    """Why this lesion will not do, or None. `others` are the sample's other lesions."""
    shared = max((touching_voxels(lesion.lesion, other) for other in others), default=0)
    if shared:
        return f"touches another lesion of this sample at {shared} voxels"
    return next((line for gate in GATES if (line := gate(lesion, limits)) is not None), None)


def touching_voxels(lesion: NativeLesion, other: NativeLesion) -> int:
    """Voxels of this lesion's label that coincide with, or are neighbours (faces, edges, corners) of, another's."""
    frame = lesion.box.grown(1)
    if not frame.overlaps(other.box):
        return 0
    near = ndimage.binary_dilation(other.label_on(frame), _NEIGHBOURS)[1:-1, 1:-1, 1:-1]
    return int(np.count_nonzero(near & lesion.label))
