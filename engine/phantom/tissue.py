"""HU of each tissue in one body and phase, the means drawn once a phantom."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from engine.phantom.phase import HU_BY_PHASE, PLAIN_HU, Phase

_ENHANCES = (0.85, 1.15)
"""How strongly one body enhances against the table: its weight, its heart."""


@dataclass(frozen=True, kw_only=True)
class Tissues:
    """Mean HU of one body's tissues at one time."""

    air: float
    skin: float
    fat: float
    muscle: float
    lung: float
    lung_vessel: float
    spongy_bone: float
    dense_bone: float
    cartilage: float
    disc: float
    cord: float
    artery: float
    vena_cava: float
    portal_vein: float
    hepatic_vein: float
    myocardium: float
    left_heart: float
    right_heart: float
    liver: float
    spleen: float
    pancreas: float
    adrenal: float
    renal_cortex: float
    renal_medulla: float
    renal_pelvis: float
    wall: float
    bile: float
    urine: float
    chyme: float
    stool: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, phase: Phase) -> Self:
        """Each tissue by itself, within what is seen from one healthy person to the next.

        Every phase takes the same draws: one seed is one body, scanned at several times.
        """
        share = float(rng.uniform(*_ENHANCES))
        own = {f.name: float(rng.uniform(-1, 1)) for f in fields(cls)}
        return cls(**{name: _hu(name, phase, draw, share) for name, draw in own.items()})


def _hu(tissue: str, phase: Phase, draw: float, share: float) -> float:
    """`draw` (-1 to 1) places the body in the tissue's range, `share` is its part of the enhancement."""
    if tissue in PLAIN_HU:
        mean, spread = PLAIN_HU[tissue]
        return mean + spread * draw
    *by_phase, spread = HU_BY_PHASE[tissue]
    plain, now = by_phase[0], by_phase[list(Phase).index(phase)]
    return plain + spread * draw + share * (now - plain)
