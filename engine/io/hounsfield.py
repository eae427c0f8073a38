"""Telling CT in Hounsfield units from everything else that comes in the same files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.core.errors import VolumeError

PADDING_HU = -1500.0
"""Scanners fill the corners with -2000, -3024 and the like; nothing real is this dark."""

_DARK_HU = (-1150.0, -30.0)
"""Air, lung and fat. No other modality holds them, for they are negative."""
_BODY_HU = (-200.0, 200.0)
_LEAST_DARK = 0.002
_LEAST_BODY = 0.005
_ALL_BODY = 0.999
_MOST_AT_FLOOR = 0.2
_LEAST_NOISE_HU = 3.0


def require_hu(values: NDArray[np.floating]) -> None:
    """Raises `VolumeError` unless `values` (any shape) have the peaks that HU have.

    Padding and non-finite values are left out. What remains is CT where air, lung or fat and some soft tissue are seen,
    or where it is soft tissue throughout: all between -200 and 200 HU, noisy, and without a floor such as the zero
    background of MR, PET and label maps.
    """
    seen = values[np.isfinite(values) & (values > PADDING_HU)]
    if seen.size == 0:
        raise VolumeError(f"is not in Hounsfield units: every value is padding (below {PADDING_HU:g}) or not finite")
    dark, body = (_share(seen, low, high) for low, high in (_DARK_HU, _BODY_HU))
    if dark >= _LEAST_DARK and body >= _LEAST_BODY:
        return
    at_floor = float(np.mean(seen == seen.min()))
    if body >= _ALL_BODY and at_floor <= _MOST_AT_FLOOR and float(seen.std()) >= _LEAST_NOISE_HU:
        return
    low, high = np.percentile(seen, [5, 95])
    raise VolumeError(
        f"is not in Hounsfield units: 90% of its values lie from {low:.4g} to {high:.4g}, without the peaks of a CT "
        "(air -1000, fat -100, soft tissue 0 to 100)"
    )


def _share(values: NDArray[np.floating], low: float, high: float) -> float:
    return float(np.mean((values >= low) & (values < high)))
