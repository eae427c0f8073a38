"""The gates against faults they have not seen: planted in lesions that the chain made, by code of its own.

A small edition of `python -m benchmarks.gates`: one phantom, and every kind of fault at a site or two.
"""

from __future__ import annotations

import pytest

from benchmarks.gates import judge, try_faults
from benchmarks.painted import Painted, paint, run_in, save_phantom
from benchmarks.planted_faults import FAULTS

SHAPE, SPACING_MM = (200, 150, 140), (1.9, 1.9, 3.0)
LESIONS, SITES = 52, 2


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> list[Painted]:
    folder = tmp_path_factory.mktemp("gates")
    case = save_phantom(folder / "body", 3, SHAPE, SPACING_MM)
    return list(paint(case, run_in(folder), range(LESIONS)))


def test_good_lesions_pass(lesions: list[Painted]) -> None:
    lines = [line for p in lesions if (line := judge(p)) is not None]
    assert len(lesions) > 0.9 * LESIONS
    assert len(lines) <= 0.04 * len(lesions), lines


def test_planted_faults_are_caught(lesions: list[Painted]) -> None:
    good = [p for p in lesions if judge(p) is None]
    found = try_faults(good, SITES)
    planted = sum(c.planted for c in found.values())
    missed = {name: c.missed for name, c in found.items() if c.missed}
    assert planted >= 1.8 * len(FAULTS), "most kinds of fault find a site"
    assert sum(map(len, missed.values())) <= 0.1 * planted, missed
