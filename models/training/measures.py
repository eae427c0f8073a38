"""How good a network is, in numbers that mean something to those who use it. Arrays are (z y x)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Field = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

TISSUES_HU: Mapping[str, tuple[float, float]] = {
    "air": (-np.inf, -900.0),
    "lung": (-900.0, -500.0),
    "fat": (-150.0, -30.0),
    "soft": (-30.0, 200.0),
    "bone": (200.0, np.inf),
}
"""By what a voxel truly has: from the first on, below the second."""

_SSIM_SIGMA_VOX, _SSIM_WINDOW_VOX = 1.5, 11
_SSIM_LUMINANCE, _SSIM_CONTRAST = 0.01**2, 0.03**2  # of a range of 1


class Means:
    """Of named numbers, one an example. Of a name without any, the mean is NaN."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._sums = torch.zeros((len(self._names), 2), dtype=torch.float64)  # of the numbers, and how many

    def add(self, numbers: Mapping[str, Sequence[float]]) -> None:
        """NaN counts as none. Raises ValueError for a name that is not expected."""
        if unknown := sorted(set(numbers) - set(self._names)):
            raise ValueError(f"'{unknown[0]}' is not among what is measured: {', '.join(self._names)}")
        for row, name in zip(self._sums, self._names, strict=True):
            found = [number for number in numbers.get(name, ()) if not np.isnan(number)]
            row += torch.tensor([sum(found), len(found)], dtype=torch.float64)

    def over(self, summed: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """`summed` adds a tensor up over all that have means of these names."""
        sums = summed(self._sums)
        return {name: float(total / count) for name, (total, count) in zip(self._names, sums, strict=True)}


def psnr_db(true: Tensor, made: Tensor) -> float:
    """Peak signal to noise of intensities whose peak is 1; infinite for equal ones."""
    squared = (true.double() - made.double()).square().mean()
    return float(-10 * torch.log10(squared))


def ssim(true: Tensor, made: Tensor) -> float:
    """Structural similarity of volumes (z y x) whose range is 1: 1 for equal ones. Wang et al. 2004, eq. 13.

    In three dimensions, under a Gaussian of sigma 1.5 in 11 voxels a side, fewer where a side has fewer; only where it
    lies inside. Variances are about the local mean, with the Gaussian's weights.
    """
    a, b = true.double()[None, None], made.double()[None, None]
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _SSIM_LUMINANCE) / (mean_a**2 + mean_b**2 + _SSIM_LUMINANCE)
    contrast = (2 * covariance + _SSIM_CONTRAST) / (var_a + var_b + _SSIM_CONTRAST)
    return float((luminance * contrast).mean())


def _blurred(x: Tensor) -> Tensor:
    """(1 1 z y x), smaller by the window."""
    for axis, side in enumerate(x.shape[2:], start=2):
        window = min(_SSIM_WINDOW_VOX, side - 1 + side % 2)
        offsets = torch.arange(window, dtype=x.dtype, device=x.device) - window // 2
        weights = torch.exp(-0.5 * (offsets / _SSIM_SIGMA_VOX).square())
        x = F.conv3d(x, (weights / weights.sum()).view([-1 if other == axis else 1 for other in range(5)]))
    return x


def hu_errors(true_hu: Field, made_hu: Field) -> dict[str, float]:
    """Mean absolute error of all voxels ("all"), and of each of `TISSUES_HU`; NaN of a tissue that is not there."""
    error = np.abs(true_hu.astype(np.float64) - made_hu)
    inside = {tissue: (true_hu >= low) & (true_hu < high) for tissue, (low, high) in TISSUES_HU.items()}
    return {"all": float(error.mean())} | {tissue: _mean(error[there]) for tissue, there in inside.items()}


def dice(true: Mask, drawn: Mask) -> float:
    """Twice what they share, of what both have together; 1 for two empty ones. Dice 1945."""
    both = int(true.sum()) + int(drawn.sum())
    return 2.0 * int((true & drawn).sum()) / both if both else 1.0


def volume_error(true: Mask, drawn: Mask) -> float:
    """How far the volume is off, as a share of the true one. NaN for an empty true mask."""
    volume = int(true.sum())
    return abs(int(drawn.sum()) - volume) / volume if volume else float("nan")


def lesion_hu_error(hu: Field, mask: Mask, asked_hu: float) -> float:
    """How far the mean inside the mask is from what was asked for."""
    return abs(_mean(hu[mask]) - asked_hu)


def margin_step_hu(hu: Field, mask: Mask) -> float:
    """The mean absolute step between voxels that share a face of which one is in the mask; NaN without such."""
    steps = [
        np.abs(np.diff(hu.astype(np.float64), axis=axis))[np.diff(mask.astype(np.int8), axis=axis) != 0]
        for axis in range(hu.ndim)
    ]
    return _mean(np.concatenate(steps))


def _mean(values: Field) -> float:
    return float(values.mean()) if values.size else float("nan")
