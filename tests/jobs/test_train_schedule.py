"""Stops of a training and its workers' shares: every example is somebody's, and nobody's twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.training.settings import TrainSettings, parse_training
from jobs.training.schedule import Share, Stretch


def settings(steps: int, checkpoint_every: int, validate_every: int) -> TrainSettings:
    return parse_training(
        {
            "network": "vq",
            "output": "nowhere",
            "data": {"table": "nowhere.parquet"},
            "steps": steps,
            "checkpoint_every": checkpoint_every,
            "validate_every": validate_every,
        }
    )


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20), st.integers(0, 60))
def test_stretches_lead_from_any_step_to_the_end(steps: int, checkpoints: int, validations: int, begin: int) -> None:
    asked = settings(steps, checkpoints, validations)
    at, stops, validated = begin, [], []
    while (stretch := Stretch.after(at, asked)) is not None:
        assert stretch.start == at < stretch.stop
        at = stretch.stop
        stops.append(at)
        validated += [at] * stretch.validates
    expected = {n for n in range(begin + 1, steps) if n % checkpoints == 0 or n % validations == 0}
    assert stops == sorted(expected | {steps} if begin < steps else set())
    assert validated == [n for n in stops if n % validations == 0 or n == steps]


@given(st.sampled_from([1, 2, 3, 4, 6, 12]), st.sampled_from([1, 2]), st.integers(0, 5))
def test_workers_share_every_step(world: int, at_once: int, step: int) -> None:
    shares = [Share(rank, world, 24, at_once) for rank in range(world)]
    of_step = [
        share.ordinal(position)
        for share in shares
        for position in range(step * share.examples_a_step, (step + 1) * share.examples_a_step)
    ]
    assert of_step == list(range(24 * step, 24 * (step + 1)))
    assert all(share.batches_a_step * share.at_once * world == 24 for share in shares)


@pytest.mark.parametrize(("step", "stop"), [(0, 4), (5, 8), (9, 10), (10, None)])
def test_a_training_goes_on_from_a_step_that_is_no_stop(step: int, stop: int | None) -> None:
    stretch = Stretch.after(step, settings(10, 4, 100))
    assert (stretch and stretch.stop) == stop
