"""The HU curve of the networks, and its exact inverse.

Piecewise linear through (-1000, 0) (-200, 0.2) (200, 0.8) (1000, 1), clamped at both ends: soft tissue gets
three fifths of the range (LesionDiffusion, Tian et al., MICCAI 2025, released pre-processing).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating] | NDArray[np.integer]

KNOTS_HU = (-1000.0, -200.0, 200.0, 1000.0)
KNOTS_UNIT = (0.0, 0.2, 0.8, 1.0)
AIR_HU = -1000.0


def hu_to_unit(hu: Numbers) -> NDArray[np.float32]:
    """HU of any shape -> [0, 1] float32, clamped."""
    return np.interp(hu, KNOTS_HU, KNOTS_UNIT).astype(np.float32)


def unit_to_hu(unit: Numbers) -> NDArray[np.float32]:
    """[0, 1] of any shape -> HU in [-1000, 1000] float32, clamped. Inverse of `hu_to_unit` on that range."""
    return np.interp(unit, KNOTS_UNIT, KNOTS_HU).astype(np.float32)
