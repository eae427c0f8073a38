"""A batch on one process, and shared by two: the same gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.training.batch_norm import BatchNorm
from two_ranks import alone, by_two


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Dice sums, the discriminators' statistics and the adaptive weight are of the whole batch."""
    one, (first, second) = alone(), by_two(tmp_path)
    assert list(one) == list(first) == list(second)
    assert {"linet.dice", "vq.weight", "judges.ct_discriminator.model0.0.weight"} <= set(one)
    for key, whole in one.items():
        for half in (first[key], second[key]):
            assert float((half - whole).abs().max()) < 1e-6 + 1e-4 * float(whole.abs().max()), key


def test_batch_norm_is_torchs_in_one_process() -> None:
    features = torch.randn(3, 4, 5, 5)
    ours, theirs = BatchNorm(4), torch.nn.BatchNorm2d(4)
    assert torch.equal(ours(features), theirs(features))
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    assert torch.equal(ours.running_var, theirs.running_var)
    with pytest.raises(ValueError, match=r"features are \(3, 4\)"):
        ours(torch.zeros(3, 4))
