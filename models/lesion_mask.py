"""From LMNet's sample, a real number per voxel that is high in the lesion, to a mask.

The reference tries seven thresholds and takes the mask whose volume is nearest to that of the lesion's *box*, so that
low thresholds win and lesions fill their boxes. `mask_of_volume` is our rule: the threshold at which the lesion has the
volume its report asks for. Arrays are (z y x) on the model grid.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BoolVolume = NDArray[np.bool_]
Sample = NDArray[np.float32]

REFERENCE_THRESHOLDS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
_MIN_VOXELS, _MIN_STONE_VOXELS = 400, 50
_SMALLEST_VOXELS = 50
_BISECTIONS = 20
_CLEAR = 2.0**-7  # a voxel of the mask is above one half, any other below, also when stored in eight bits
_LOWEST, _HIGHEST = 0.05, 0.95  # a sample outside says nothing: 0 is background, 1 lesion


class DrawnMask(NamedTuple):
    """What a threshold makes of a sample."""

    voxels: BoolVolume
    threshold: float

    @property
    def volume_vox(self) -> int:
        return int(self.voxels.sum())


def components(mask: BoolVolume) -> list[BoolVolume]:
    """6-connected components, the largest first; of equal ones the one that starts last in (z y x) order."""
    numbered, count = ndimage.label(mask)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    order = sorted(range(count), key=lambda n: (sizes[n], n), reverse=True)
    return [numbered == n + 1 for n in order]


def largest_component(mask: BoolVolume) -> BoolVolume:
    """The largest 6-connected component; nothing where there is nothing."""
    numbered, count = ndimage.label(mask)
    if count <= 1:
        return np.asarray(mask, bool)
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    largest: BoolVolume = numbered == sizes.argmax()
    return largest


def lesions_as_reference(mask: BoolVolume, most: int = 3) -> list[BoolVolume]:
    """The lesions the reference works on: the `most` largest, but those of 50 voxels or fewer only where all are."""
    found = components(np.asarray(mask))[:most]
    return [lesion for lesion in found if lesion.sum() > _SMALLEST_VOXELS] or found[:1]


def mask_as_reference(sample: Sample, box_vox: int) -> DrawnMask:
    """Of seven thresholds the one whose largest component comes nearest to the box's volume; the first of equals."""
    drawn = [DrawnMask(largest_component(sample > threshold), threshold) for threshold in REFERENCE_THRESHOLDS]
    return min(drawn, key=lambda mask: abs(mask.volume_vox - box_vox))


def acceptable_as_reference(mask: BoolVolume, accepted: BoolVolume, *, stone: bool, last_attempt: bool) -> bool:
    """Large enough, or the last attempt, and clear of the lesions there are."""
    enough = int(mask.sum()) > (_MIN_STONE_VOXELS if stone else _MIN_VOXELS)
    return (enough or last_attempt) and not bool((mask & accepted).any())


def mask_of_volume(sample: Sample, inside: BoolVolume, wanted_vox: float) -> DrawnMask | None:
    """The largest component above the threshold at which it is nearest to `wanted_vox`; never outside `inside`.

    The volume falls as the threshold rises, so the threshold is found by bisection. None where the sample shows no
    lesion inside at all.
    """
    if not bool((sample[inside] > _LOWEST).any()):
        return None
    low, high = _LOWEST, _HIGHEST
    best = _drawn(sample, inside, low)
    for _ in range(_BISECTIONS):
        if best.volume_vox == wanted_vox:
            break
        middle = 0.5 * (low + high)
        found = _drawn(sample, inside, middle)
        if abs(found.volume_vox - wanted_vox) < abs(best.volume_vox - wanted_vox):
            best = found
        low, high = (middle, high) if found.volume_vox > wanted_vox else (low, middle)
    return best


def _drawn(sample: Sample, inside: BoolVolume, threshold: float) -> DrawnMask:
    return DrawnMask(largest_component((sample > threshold) & inside), threshold)


def soft(sample: Sample, drawn: DrawnMask) -> NDArray[np.float32]:
    """On [0, 1], 0.5 where the sample crosses the threshold: resampled, the surface stays between the voxels."""
    near = ndimage.binary_dilation(drawn.voxels)
    shifted: NDArray[Any] = sample - drawn.threshold + 0.5
    lesion = np.clip(shifted, 0.5 + _CLEAR, 1.0)
    around = np.clip(shifted, 0.0, 0.5 - _CLEAR)
    return np.where(drawn.voxels, lesion, np.where(near, around, 0.0)).astype(np.float32)
