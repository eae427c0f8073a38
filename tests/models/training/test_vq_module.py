"""The VQ-GAN's training by Lightning: its discriminators, and the perceptual network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.training import vq_module
from models.training.codebook import reconstruct, restart_codes, unit_latents
from models.training.module import make_module
from models.training.perceptual import LPIPS
from models.training.vq_loss import VQLossConfig
from models.training.vq_module import VQModule
from models.vq import VQ
from small_trainings import VQ_SIZES, batches, module, recipe, small_vq, train

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


def test_without_discriminators_none_learns() -> None:
    trained = module("vq", loss=VQLossConfig(perceptual=False, adversarial=False, adversarial_from_step=0))
    before = {name: tensor.clone() for name, tensor in trained.loss.state_dict().items()}  # type: ignore[union-attr,operator]
    trainer = train(trained, batches(1), 2)
    assert differing(before, trained.loss.state_dict()) == []  # type: ignore[arg-type,operator,union-attr]
    assert len(trainer.optimizers) == 1


def test_codes_nobody_chose_go_where_latents_lie() -> None:
    vq, volume = small_vq(), batches(1)[0].images()[:1]
    codes = vq.quantize.embedding.weight.detach()
    unused = torch.arange(len(codes)) % 3 == 0
    before = codes.clone()
    restart_codes(vq, unused, volume, seed=5)
    assert torch.equal(codes[~unused], before[~unused])
    latents = vq.encode(volume).detach().movedim(1, -1).reshape(-1, codes.shape[1])
    assert float((codes[unused][:, None] - latents[None]).abs().sum(dim=2).amin(dim=1).max()) < 1e-5
    again = small_vq()
    restart_codes(again, unused, volume, seed=5)
    assert torch.equal(again.quantize.embedding.weight, codes)


def test_restarts_keep_a_codebook_in_use() -> None:
    def used(every: int) -> float:
        trained = module("vq", loss=ALONE, restart_codes_every=every)
        return float(train(trained, batches(4), 12, validation=batches(4)).callback_metrics["val/codes_used"])

    assert used(3) > used(0)


def test_codes_of_a_network_to_start_from_stay() -> None:
    start, loss = VQ(VQ_SIZES), VQLossConfig(perceptual=False, adversarial=False)
    before = start.quantize.embedding.weight.detach().clone()
    trained = make_module(recipe("vq", loss=loss, restart_codes_every=1000, rate=1e-9), start=start)
    train(trained, batches(1), 1)
    assert torch.allclose(trained.vq.quantize.embedding.weight, before, atol=1e-6)  # type: ignore[union-attr,operator,arg-type]


def test_unit_latents_are_the_same_network() -> None:
    trained = module("vq", loss=ALONE, restart_codes_every=5, unit_latents=True)
    looked_at = batches(4)
    train(trained, batches(4), 10, validation=looked_at)
    images = torch.cat([batch.images() for batch in looked_at])
    assert isinstance(trained, VQModule)
    written = VQ(VQ_SIZES)
    written.load_state_dict({name: t for name, t in trained.published_state().items() if not name.startswith("loss.")})
    there, made = reconstruct(trained.vq, images), reconstruct(written, images)
    assert float((made.indices == there.indices).double().mean()) > 0.999
    assert torch.allclose(made.image, there.image, atol=1e-4)
    assert torch.allclose(made.latent.mean(dim=(0, 2, 3, 4)), torch.zeros(4), atol=1e-3)
    assert float(made.latent.detach().square().mean()) == pytest.approx(1.0, abs=1e-3)
    assert not 0.9 < float(there.latent.detach().square().mean()) < 1.1


def test_unit_latents_of_numbers_known() -> None:
    state, mean = small_vq().state_dict(), torch.tensor([1.0, 2.0, -1.0, 0.5])
    changed = unit_latents(state, mean, torch.tensor(2.0))
    assert differing(state, changed) == [
        "quantize.embedding.weight", "quant_conv.weight", "quant_conv.bias",
        "post_quant_conv.weight", "post_quant_conv.bias",
    ]  # fmt: skip
    weight, bias = state["post_quant_conv.weight"][:, :, 0, 0, 0], state["post_quant_conv.bias"]
    latent = torch.randn(4)
    back = changed["post_quant_conv.weight"][:, :, 0, 0, 0] @ ((latent - mean) / 2) + changed["post_quant_conv.bias"]
    assert torch.allclose(back, weight @ latent + bias, atol=1e-5)
