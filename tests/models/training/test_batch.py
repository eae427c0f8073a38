"""What is random in a step: the example's own, whatever its batch is."""

from __future__ import annotations

import pytest
import torch

from models.training.batch import Batch, collate
from small_trainings import example


def test_an_example_draws_the_same_in_any_batch() -> None:
    one, other = example(1), example(2)
    together, alone = collate([other, one]), collate([one])
    shape = (4, 3, 3, 3)
    assert torch.equal(together.noise(shape)[1:], alone.noise(shape))
    assert torch.equal(together.timesteps(1000)[1:], alone.timesteps(1000))
    assert torch.equal(together.planes()[1:], alone.planes())
    assert together.untold(0.5)[1:] == alone.untold(0.5)
    assert not torch.equal(together.noise(shape)[0], together.noise(shape)[1])


def test_nothing_is_drawn_from_the_global_generator() -> None:
    before, batch = torch.random.get_rng_state(), collate([example(1)])
    batch.noise((1, 2, 2, 2)), batch.timesteps(10), batch.planes(), batch.untold(0.5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_draws_are_spread_evenly() -> None:
    batch = Batch(tuple(example(0, side=8)._replace(seed=2**63 + seed) for seed in range(1000)))
    t, planes = batch.timesteps(10), batch.planes()
    assert torch.bincount(t, minlength=10).min() > 60
    assert torch.bincount(planes, minlength=8).min() > 80
    assert len(torch.bincount(planes)) == 8
    assert 200 < sum(batch.untold(0.25)) < 300
    assert not any(batch.untold(0.0))
    assert all(batch.untold(1.0))
    assert abs(float(torch.corrcoef(torch.stack([t, planes]).double())[0, 1])) < 0.1


def test_batches_of_one_shape_and_of_none() -> None:
    assert collate([example(0), example(1)]).images().shape == (2, 1, 16, 16, 16)
    assert len(collate([])) == 0
    with pytest.raises(ValueError, match="no examples has no shape"):
        _ = collate([]).shape
    with pytest.raises(ValueError, match=r"shapes \(1, 16, 16, 16\), \(1, 8, 8, 8\)"):
        collate([example(0), example(1, side=8)])
    with pytest.raises(ValueError, match="one crop size is wanted"):
        collate([example(0)._replace(organs=example(0, side=8).organs)])
