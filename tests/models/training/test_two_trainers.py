"""Two processes train as one does with the same examples."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch

from small_trainings import NETWORKS, Name
from two_trainers import VARIANTS, Told, Weights, trained_alone, trained_by_two

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]

_NORMALISED_AWAY = re.compile(r"discriminator\.model[123]\.0\.bias")
"""Biases before a normalisation over the batch: their gradient is rounding alone, and Adam makes steps of it."""
_AS_GOOD_AS_ALL = 0.9999
"""Of a discriminator's weights: over ranks it normalises in float32, and some gradients are not larger than that."""


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], tuple[Weights, Told]]:
    return trained_by_two(tmp_path_factory.mktemp("ranks"))


@pytest.fixture(autouse=True)
def training(inference: None) -> Iterator[None]:
    with torch.enable_grad():
        yield


@pytest.mark.parametrize("network", NETWORKS)
def test_two_processes_are_one(network: Name, by_two: dict[tuple[str, int], tuple[Weights, Told]]) -> None:
    weights, told = trained_alone(network)
    for rank in range(2):
        theirs, said = by_two[network, rank]
        alike = {
            name: float(((theirs[name] - tensor).abs() < 1e-6).double().mean())
            for name, tensor in weights.items()
            if not _NORMALISED_AWAY.search(name)
        }
        assert [name for name, share in alike.items() if share < _AS_GOOD_AS_ALL] == []
        assert [name for name, share in alike.items() if share < 1 and not name.startswith("loss.")] == []
        assert said == pytest.approx(told, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("trained", [*NETWORKS, *VARIANTS])
def test_both_end_with_the_same_weights(trained: str, by_two: dict[tuple[str, int], tuple[Weights, Told]]) -> None:
    first, second = (by_two[trained, rank] for rank in range(2))
    assert [name for name, tensor in first[0].items() if not torch.equal(tensor, second[0][name])] == []
    assert first[1] == pytest.approx(second[1], rel=1e-12, nan_ok=True)
