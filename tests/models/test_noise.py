"""A lesion's noise is its own."""

from __future__ import annotations

import pytest
import torch

from models.noise import SeededNoise

SHAPE = (2, 3, 4, 5)


def test_alone_or_among_others_and_in_any_order() -> None:
    together, alone = SeededNoise([7, 2**63, 9], SHAPE), SeededNoise([2**63], SHAPE)
    late_first = [alone.draw(number) for number in (5, 0)]
    assert torch.equal(together.draw(0)[1:2], late_first[1])
    assert torch.equal(together.draw(5)[1:2], late_first[0])


def test_draws_and_seeds_differ_and_are_normal() -> None:
    noise = SeededNoise([1, 2, 1 + 2**32, 2**64 - 1], (1, 32, 32, 32))  # the third is the first to torch's generator
    draws = torch.cat([noise.draw(0), noise.draw(1)]).flatten(1)
    assert draws.dtype == torch.float32
    torch.testing.assert_close(torch.corrcoef(draws), torch.eye(8), atol=0.03, rtol=0)
    torch.testing.assert_close(draws.mean(1), torch.zeros(8), atol=0.03, rtol=0)
    torch.testing.assert_close(draws.std(1), torch.ones(8), atol=0.03, rtol=0)
    torch.testing.assert_close((draws**4).mean(1), torch.full((8,), 3.0), atol=0.3, rtol=0)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range(seed: int) -> None:
    with pytest.raises(ValueError, match="must be from 0 to"):
        SeededNoise([seed], SHAPE)
