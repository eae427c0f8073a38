"""Is the lesion as large as asked, of one piece, and can the native grid hold it?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.finished import Finished
from engine.core.geometry import Box
from engine.core.limits import Limits
from engine.core.paste import smallest_mm, vanished

_NEIGHBOURS = np.ones((3, 3, 3), bool)


def enough_voxels(lesion: Finished, limits: Limits) -> str | None:
    """Enough voxels in all, and enough along every axis."""
    fewest = max(limits.min_voxels, 1)
    if lesion.lesion.voxels < fewest:
        return vanished(lesion.native, lesion.lesion.voxels, fewest)
    thinnest = min(lesion.lesion.label_box.shape)
    if thinnest < limits.min_thickness_vox:
        spacing = lesion.native.spacing_mm
        # A ball of n spacings holds n planes of voxel centres wherever it lies.
        holds_mm = max(smallest_mm(lesion.native, fewest), limits.min_thickness_vox * float(spacing.max()))
        return (
            f"is {thinnest} voxels thick on this grid of {'x'.join(f'{mm:.2g}' for mm in spacing)} mm, at least "
            f"{limits.min_thickness_vox} are wanted; smallest lesion it can hold is {holds_mm:.1f} mm"
        )
    return None


def one_piece(lesion: Finished, limits: Limits) -> str | None:
    """Not scattered specks. Voxels that meet at a corner count as connected."""
    pieces, count = ndimage.label(lesion.label, _NEIGHBOURS)
    if count <= 1:
        return None
    share = float(np.bincount(pieces.ravel())[1:].max()) / lesion.lesion.voxels
    if share >= limits.largest_piece:
        return None
    return f"falls into {count} pieces, the largest holds {share:.0%}, at least {limits.largest_piece:.0%} should"


def asked_volume(lesion: Finished, limits: Limits) -> str | None:
    """The report's volume, give or take."""
    voxel_mm3 = lesion.native.voxel_mm3
    got, asked = lesion.lesion.voxels * voxel_mm3, lesion.report.asked_mm3
    slack = limits.volume_slack * float(np.sqrt(asked * voxel_mm3))
    low, high = (share * asked for share in limits.volume_share)
    if low - slack <= got <= high + slack:
        return None
    return f"holds {got / 1000:.2f} ml, {asked / 1000:.2f} ml were asked: {low / 1000:.2f} to {high / 1000:.2f} will do"


def in_its_place(lesion: Finished, limits: Limits) -> str | None:
    """Within the box that placement gave it: where the organ was looked at, and no larger than asked."""
    if lesion.placed is None:
        return None
    spacing = lesion.native.spacing_mm
    room = lesion.placed.grown([round(limits.beyond_place_mm / mm) for mm in spacing])
    label = lesion.lesion.label_box
    if room.contains(label):
        return None
    beyond_mm = max(_beyond(label, lesion.placed) * spacing)
    size = "x".join(f"{mm:.0f}" for mm in lesion.report.size_mm)
    extent = "x".join(f"{mm:.0f}" for mm in lesion.native.extent_mm(label))
    return (
        f"reaches {beyond_mm:.1f} mm beyond the box it was given "
        f"(it spans {extent} mm, {size} mm were asked, S x A x L)"
    )


def _beyond(inner: Box, outer: Box) -> NDArray[np.int_]:
    """Voxels by which a box sticks out of another, on each axis."""
    low = np.subtract(outer.start, inner.start)
    return np.asarray(np.maximum(np.maximum(low, np.subtract(inner.stop, outer.stop)), 0))
