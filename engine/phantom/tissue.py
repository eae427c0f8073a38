"""HU of each tissue in one body: unenhanced CT, the means drawn once a phantom."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Tissues:
    """Mean HU of one body's tissues. The defaults are what a body has on average."""

    air: float = -1000.0
    skin: float = 15.0
    fat: float = -102.0
    muscle: float = 55.0
    lung: float = -850.0
    lung_vessel: float = 30.0
    spongy_bone: float = 330.0
    dense_bone: float = 620.0
    disc: float = 80.0
    cord: float = 35.0
    blood: float = 44.0
    heart: float = 46.0
    liver: float = 56.0
    spleen: float = 50.0
    kidney: float = 35.0
    pancreas: float = 42.0
    wall: float = 42.0
    bile: float = 10.0
    urine: float = 5.0
    chyme: float = 18.0
    stool: float = 30.0

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Self:
        """Each tissue by itself, within what is seen from one healthy person to the next."""
        usual = cls()
        names = [f.name for f in fields(cls)]
        return cls(**{name: getattr(usual, name) + _spread(name) * float(rng.uniform(-1, 1)) for name in names})


def _spread(tissue: str) -> float:
    """Half width of a tissue's range, HU."""
    match tissue:
        case "air":
            return 0.0
        case "liver":
            return 10.0
        case "lung":
            return 25.0
        case "spongy_bone" | "dense_bone":
            return 60.0
        case _:
            return 5.0
