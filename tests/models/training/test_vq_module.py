"""The VQ-GAN's training by Lightning: its discriminators, and the perceptual network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.training import vq_module
from models.training.module import make_module
from models.training.perceptual import LPIPS
from models.training.vq_loss import VQLossConfig
from models.training.vq_module import VQModule
from small_trainings import batches, module, recipe, train

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]
ALONE = VQLossConfig(perceptual=False)


@pytest.fixture(autouse=True)
def training(inference: None) -> Iterator[None]:
    with torch.enable_grad():
        yield


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    assert list(a) == list(b)
    return [name for name in a if not torch.equal(a[name], b[name])]


def test_learning_is_learning() -> None:
    trained = module("vq", loss=ALONE)
    losses: list[float] = []
    remember = trained.told
    trained.told = lambda terms, batch: (losses.append(float(terms["loss"])), remember(terms, batch))[-1]  # type: ignore[method-assign,func-returns-value]
    train(trained, batches(1), 12)
    assert losses[-1] < 0.7 * losses[0]


def test_discriminators_wait_for_their_step() -> None:
    trained = module("vq", loss=VQLossConfig(perceptual=False, adversarial_from_step=2))
    assert isinstance(trained, VQModule)
    before = {name: tensor.clone() for name, tensor in trained.loss.named_parameters()}
    train(trained, batches(2), 2)
    assert differing(before, dict(trained.loss.named_parameters())) == []
    trainer = train(trained, batches(2), 1)
    assert int(trained.autoencoder_steps) == 3
    assert trainer.global_step == 1
    assert not all(torch.equal(tensor, before[name]) for name, tensor in trained.loss.named_parameters())


def test_the_perceptual_network_is_looked_through_and_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(lpips: LPIPS, _files: Sequence[Path]) -> None:
        random = torch.Generator().manual_seed(0)
        lpips.load_state_dict(
            {name: 0.05 * torch.randn(tensor.shape, generator=random) for name, tensor in lpips.state_dict().items()}
        )

    monkeypatch.setattr(vq_module, "load_perceptual", load)
    trained = make_module(recipe("vq", loss=VQLossConfig(adversarial_from_step=0)))
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items() if "perceptual_loss" in name}
    trainer = train(trained, batches(1), 1)
    assert float(trainer.callback_metrics["train/perceptual"]) != 0
    after = trained.state_dict()
    assert len(before) > 30
    assert [name for name, tensor in before.items() if not torch.equal(tensor, after[name])] == []


def test_discriminators_to_begin_with() -> None:
    first, judges = make_module(recipe("vq", seed=1)), dict(module("vq").loss.state_dict())  # type: ignore[union-attr,operator]
    begun = make_module(recipe("vq", seed=1), judges=judges)
    assert differing(judges, dict(begun.loss.state_dict())) == []  # type: ignore[union-attr,operator]
    assert differing(dict(first.vq.state_dict()), dict(begun.vq.state_dict())) == []  # type: ignore[union-attr,operator]
    name = "frame_discriminator.model0.0.weight"
    with pytest.raises(ValueError, match=rf"'{name}' is of shape \(3,\), \(64, 1, 4, 4\) is wanted"):
        make_module(recipe("vq"), judges={name: torch.zeros(3)})
    with pytest.raises(ValueError, match=f"'{name}' is missing"):
        make_module(recipe("vq"), judges={})
