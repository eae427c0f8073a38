"""How the rate rises and falls."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.training.optimiser import adamw, scheduled

RATE = 0.1


def rates(steps: int, *, warm_up: int, falls_until: int | None = None) -> list[float]:
    optimiser = adamw([nn.Parameter(torch.zeros(1))], RATE, 0.0)
    schedule = scheduled(optimiser, warm_up=warm_up, falls_until=falls_until)
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"] / RATE)
        optimiser.step()
        schedule.step()
    return found


def test_it_stays() -> None:
    assert rates(5, warm_up=0) == [1.0] * 5


def test_it_rises_evenly() -> None:
    assert rates(6, warm_up=4) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


def test_it_falls_along_a_cosine_to_nothing() -> None:
    falling = rates(7, warm_up=0, falls_until=6)
    assert falling == pytest.approx([1.0, 0.933, 0.75, 0.5, 0.25, 0.067, 0.0], abs=1e-3)


def test_it_rises_while_it_falls() -> None:
    assert rates(3, warm_up=2, falls_until=6) == pytest.approx([0.5, 0.933, 0.75], abs=1e-3)
