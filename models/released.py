"""What the released inference does and ours does not; kept so that its numbers can be made again.

Its first version shifts a painted crop to the mean of what was there, and blurs the seam. Its second maps HU in
float16. Arrays are (z y x).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.crops import Crop

Field = NDArray[np.floating]

_RAMP = np.array([0, 1 / 3, 2 / 3, 1], np.float32)
_REACH_VOX = 2  # of the ramp, either side of a face
_SIGMA_VOX = 1.0


def pasted(volume: Field, painted: Field, crop: Crop, *, mirrored: bool = True) -> Field:
    """The volume in HU with a painted crop in it, shifted to the mean of what it covers, its seam blurred.

    `mirrored` False keeps a mistake of the original: see `seam_weights`.
    """
    there = volume[crop.slices]
    whole = volume.copy()
    whole[crop.slices] = painted - (painted.mean() - there.mean())
    weights = seam_weights(volume.shape, crop, mirrored=mirrored)
    blurred: Field = ndimage.gaussian_filter(whole, _SIGMA_VOX)
    return weights * blurred + (1 - weights) * whole


def seam_weights(shape: Sequence[int], crop: Crop, *, mirrored: bool = True) -> NDArray[np.float32]:
    """How much of the blurred volume stands in each voxel: a ramp across every face of the crop, inwards to 1.

    Four voxels, two of them outside; none at a face within two voxels of the volume's own; the highest where ramps
    meet. With `mirrored` False the ramp at the high face rises outwards on all axes but the first.
    """
    weights = np.zeros(tuple(shape), np.float32)
    for axis, (length, along) in enumerate(zip(shape, crop.slices, strict=True)):
        rising = _RAMP.reshape([-1 if other == axis else 1 for other in range(3)])
        falling = np.flip(rising, axis)
        at_high_face = falling if mirrored or axis == 0 else rising
        for face, ramp, inside in (
            (along.start, rising, along.start > _REACH_VOX),
            (along.stop, at_high_face, along.stop < length - _REACH_VOX),
        ):
            if inside:
                across = slice(face - _REACH_VOX, face + _REACH_VOX)
                band = tuple(across if other == axis else crop.slices[other] for other in range(3))
                weights[band] = np.maximum(weights[band], ramp)
    return weights


def curve_in_half(values: Field, knots: Sequence[float], heights: Sequence[float]) -> NDArray[np.float16]:
    """The piecewise linear curve through (knot, height), clamped, every number and operation rounded to float16."""
    x = values.astype(np.float16)
    y = np.where(x < knots[0], heights[0], heights[-1]).astype(np.float16)
    for (low, high), (from_height, to_height) in zip(pairwise(knots), pairwise(heights), strict=True):
        slope = np.float16((to_height - from_height) / (high - low))
        piece = (x >= low) & (x < high)
        y[piece] = (x[piece] - np.float16(low)) * slope + np.float16(from_height)
    return y
