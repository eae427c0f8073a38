"""Training of each of the networks by Lightning: steps, averages, checkpoints, validation, and what is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.checkpoints import load_text, load_unet, load_vq
from models.contents import description
from models.diffusion import Noising
from models.ema import key_of
from models.layout import Network
from models.tensor_file import CheckpointError, write_checkpoint
from models.training.batch import Batch, collate
from models.training.diffusion_module import DiffusionModule
from models.training.linet_module import LINetModule
from models.training.lora import LowRank
from models.training.module import make_module
from models.training.objectives import box_of
from models.training.training_module import TrainingModule
from models.training.vq_loss import VQLossConfig
from models.training.vq_module import VQModule
from models.unet import UNet
from small_trainings import (
    NETWORKS,
    SIDE,
    Name,
    batches,
    encoder,
    example,
    module,
    random_unet,
    recipe,
    small_vq,
    train,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),  # of workers and of logging, to whoever decides
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # of Lightning's use of torch
]
each = pytest.mark.parametrize("network", NETWORKS)
ALONE = VQLossConfig(perceptual=False)
"""No discriminators for a long time."""
_SEEN = ("latent_mean", "latent_std")
"""What validation has seen of latents, for the weights on their way out; training never reads it."""


@pytest.fixture(autouse=True)
def training(inference: None) -> Iterator[None]:
    with torch.enable_grad():
        yield


def weights(trained: TrainingModule) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trained.named_parameters()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert list(a) == list(b)
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def assert_close(a: TrainingModule, b: TrainingModule, far: float) -> None:
    of_b = dict(b.named_parameters())
    apart = {name: float((tensor - of_b[name]).detach().abs().max()) for name, tensor in a.named_parameters()}
    assert {name: difference for name, difference in apart.items() if not difference < far} == {}


@each
def test_steps_change_what_is_trained_and_nothing_else(network: Name) -> None:
    trained = module(network, drop_text=0.5)
    before = weights(trained)
    trainer = train(trained, batches(2), 2)
    moved = {name for name, tensor in weights(trained).items() if not torch.equal(tensor, before[name])}
    needing = {name for name, parameter in trained.named_parameters() if parameter.requires_grad}
    assert moved == needing
    assert trainer.global_step == 2
    assert not any(name.startswith("vq.") for name in moved) or network == "vq"
    assert {f"train/{name}" for name in ("loss",)} <= set(trainer.callback_metrics)


@each
def test_a_checkpoint_is_harmless_and_goes_on_as_if_never_interrupted(network: Name, tmp_path: Path) -> None:
    given, saved = batches(3, 1), str(tmp_path / "training.ckpt")
    options: dict[str, Any] = {"warm_up_steps": 2}
    whole = module(network, **options)
    train(whole, given, 3)
    train(first := module(network, **options), given, 1).save_checkpoint(saved)
    assert not torch.equal(first.published_state()[_some(network)], whole.published_state()[_some(network)])
    torch.load(saved, weights_only=True)
    resumed = module(network, **options, seed=5)
    train(resumed, given[1:], 3, resume=saved)
    assert_same(dict(whole.state_dict()), dict(resumed.state_dict()))


def _some(network: Name) -> str:
    return "decoder.conv_out.weight" if network == "vq" else "model.out.2.weight"


@pytest.mark.parametrize("network", ["lmnet", "linet"])
def test_a_network_that_says_nothing_loses_all_of_the_velocity(network: Name) -> None:
    fresh = UNet(replace(random_unet(network).config, predicts="velocity"))  # its last convolution is zero
    trained, given = make_module(recipe(network), start=fresh, text=encoder(), vq=small_vq()), batches(1)[0]
    lesion = torch.stack([example.label == 2 for example in given.examples])[:, None].float()
    if isinstance(trained, LINetModule):
        told, x0, where = trained._terms(given).noise, trained.vq.encode(given.images()), lesion[..., ::2, ::2, ::2]
    else:
        told, x0, where = loss_of(trained, given), lesion, lesion
    t, eps, box = given.timesteps(1000), given.noise(x0.shape[1:]), box_of(where)
    velocity = Noising.of().velocity(x0, eps, t)
    if network == "linet":
        each = (velocity.abs() * where).sum(dim=(1, 2, 3, 4)) / box.sum(dim=(1, 2, 3, 4))
    else:
        each = torch.where(box > 0, 1000 * velocity.square(), velocity.square()).mean(dim=(1, 2, 3, 4))
    assert float(told.detach()) == pytest.approx(float(each.mean()), rel=1e-5)


@each
def test_validation_tells_all_it_promises(network: Name) -> None:
    trained = module(network)
    trainer = train(trained, batches(1), 1, validation=[*batches(2), collate([])])
    told = trainer.callback_metrics
    assert {f"val/{name}" for name in trained.measured} <= set(told)
    assert bool(torch.isfinite(told[trained.monitored[0]]))
    if network == "vq":
        assert 1 <= float(told["val/codes_used"]) <= 64


@each
def test_validation_leaves_no_trace(network: Name) -> None:
    looked, blind = module(network), module(network)
    train(looked, batches(2), 2, validation=batches(1), val_check_interval=1)
    train(blind, batches(2), 2)
    assert_same(*({n: t for n, t in m.state_dict().items() if n not in _SEEN} for m in (looked, blind)))


@each
def test_a_rank_without_examples_gives_every_parameter_a_gradient_of_zero(network: Name) -> None:
    trained = module(network, drop_text=1.0)
    before = weights(trained)
    train(trained, [collate([])], 1)
    decayed = {name for name, tensor in weights(trained).items() if not torch.allclose(tensor, before[name], rtol=1e-4)}
    assert decayed == set()
    loss_of(trained, collate([])).backward()
    gradients = {name: parameter.grad for name, parameter in trained.named_parameters() if parameter.requires_grad}
    assert [name for name, gradient in gradients.items() if gradient is None or gradient.any()] == []


def loss_of(trained: TrainingModule, batch: Batch) -> Tensor:
    """Nobody is told of it: Lightning takes no word outside a training."""
    match trained:
        case VQModule():
            return trained._loss(batch, adversarial=True)
        case LINetModule():
            return trained._terms(batch).total
        case _:
            return trained.training_step(batch, 0)


@each
def test_pictures_of_every_example(network: Name) -> None:
    trained = module(network)
    pictures = trained.pictures(batches(1, 3)[0])
    assert list(pictures) == ["0", "1", "2"]
    panels = 4 if network == "lmnet" else 3
    assert {picture.shape for picture in pictures.values()} == {(SIDE, panels * SIDE + 2 * (panels - 1))}
    assert all(picture.dtype == np.uint8 for picture in pictures.values())
    assert trained.pictures(collate([])) == {}


@pytest.mark.parametrize("network", ["lmnet", "linet"])
def test_the_average_follows_the_steps_of_the_optimiser(network: Name) -> None:
    trained = module(network, accumulate=3)
    assert isinstance(trained, DiffusionModule)
    start = trained.unet.out[-1].weight.detach().clone()
    train(trained, batches(6, 1), 2, accumulate_grad_batches=3)
    assert int(trained.ema.num_updates) == 2
    average = trained.ema.state_dict()[key_of("out.2.weight")]
    now = trained.unet.out[-1].weight.detach()
    assert 0 < float((average - now).abs().max()) < float((start - now).abs().max())


@pytest.mark.parametrize("network", ["lmnet", "vq"])
def test_accumulated_batches_are_one_larger_batch(network: Name) -> None:
    """Where nothing but means is taken over a batch; LINet's mask and the discriminators look at it as a whole."""
    changes = {"loss": ALONE} if network == "vq" else {}
    large, small = module(network, **changes).double(), module(network, accumulate=2, **changes).double()
    train(large, batches(1, 2, side=8), 1)
    train(small, batches(2, 1, side=8), 1, **({} if network == "vq" else {"accumulate_grad_batches": 2}))
    assert_close(large, small, 1e-6)


def test_a_description_of_another_length_beside_it_changes_nothing() -> None:
    trained = module("lmnet")
    assert isinstance(trained, DiffusionModule)
    pair = [example(0, words=1), example(1, words=3)]
    with torch.no_grad():
        together = trained.measures(collate(pair))["loss"]
        alone = [trained.measures(collate([one]))["loss"][0] for one in pair]
    assert together == pytest.approx(alone, rel=1e-4)


@each
def test_what_is_written_loads_as_published_weights(network: Name, tmp_path: Path) -> None:
    trained = module(network)
    train(trained, batches(2), 2)
    written = tmp_path / "weights.ckpt"
    write_checkpoint(written, trained.published_state(), description(_whose(network)))
    if isinstance(trained, DiffusionModule):
        averaged, raw = load_unet(written, network=_whose(network)), load_unet(written, ema=False)
        assert_same(dict(raw.state_dict()), dict(trained.unet.state_dict()))
        with trained.averaged():
            assert_same(dict(averaged.state_dict()), dict(trained.unet.state_dict()))
        text = encoder()
        load_text(written, text)
        assert_same(dict(text.state_dict()), dict(trained.text.state_dict()))  # type: ignore[union-attr]
    if network != "lmnet":
        assert_same(dict(load_vq(written).state_dict()), dict(trained.vq.state_dict()))  # type: ignore[union-attr,operator]


def _whose(network: Name) -> Network:
    return {"vq": Network.VQ, "lmnet": Network.LMNET, "linet": Network.LINET}[network]


@pytest.mark.parametrize("network", ["lmnet", "linet"])
def test_low_rank_changes_are_merged_into_what_is_written(network: Name, tmp_path: Path) -> None:
    trained = module(network, lora_rank=2)
    assert isinstance(trained, DiffusionModule)
    before = random_unet(network).state_dict()
    train(trained, batches(2), 2)
    assert any(isinstance(layer, LowRank) for layer in trained.unet.modules())
    written, seen = tmp_path / "weights.ckpt", torch.randn(1, trained.unet.config.in_channels, 8, 8, 8)
    write_checkpoint(written, trained.published_state(), description(_whose(network)))
    context, t = torch.randn(1, 2, 32), torch.tensor([300])
    with torch.no_grad():
        raw, averaged = load_unet(written, ema=False), load_unet(written)
        assert torch.allclose(raw(seen, t, context), trained.unet(seen, t, context), atol=1e-5)
        with trained.averaged():
            assert torch.allclose(averaged(seen, t, context), trained.unet(seen, t, context), atol=1e-5)
    assert not torch.equal(raw.state_dict()["time_embed.0.weight"], before["time_embed.0.weight"])


@pytest.mark.parametrize("network", ["lmnet", "linet"])
def test_without_text(network: Name) -> None:
    trained = module(network, text=False)
    train(trained, batches(2), 2, validation=batches(1))
    assert not any(key.startswith("cond_stage_model.") for key in trained.published_state())


def test_recomputing_gives_the_same_gradients() -> None:
    for network in NETWORKS:
        plain, recomputed = module(network, loss=ALONE), module(network, loss=ALONE, checkpointing=True)
        train(plain, batches(1), 1)
        train(recomputed, batches(1), 1)
        assert_close(plain, recomputed, 1e-5)


def test_the_rate_rises() -> None:
    for network in NETWORKS:
        trained = module(network, warm_up_steps=4, rate=1.0)
        optimiser = trained.configure_optimizers()
        both = optimiser[0] if network == "vq" else [optimiser["optimizer"]]  # type: ignore[index,call-overload]
        rising = optimiser[1] if network == "vq" else [optimiser["lr_scheduler"]["scheduler"]]  # type: ignore[index,call-overload]
        rates = []
        for _ in range(6):
            rates.append(both[0].param_groups[0]["lr"])
            for one, schedule in zip(both, rising, strict=True):
                one.step()
                schedule.step()
        assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@each
def test_bfloat16_is_for_the_arithmetic_alone(network: Name) -> None:
    trained = module(network)
    trainer = train(trained, batches(1), 1, validation=batches(1), precision="bf16-mixed")
    assert all(parameter.dtype == torch.float32 for parameter in trained.parameters())
    assert bool(torch.isfinite(trainer.callback_metrics["train/loss"]))
    assert bool(torch.isfinite(trainer.callback_metrics[trained.monitored[0]]))


def test_parts_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="there is none"):
        make_module(recipe("linet"), start=random_unet("linet"))
    with pytest.raises(ValueError, match="a VQ to start from, where a UNet is wanted"):
        make_module(recipe("lmnet"), start=small_vq())
    with pytest.raises(ValueError, match="tokens are 32 wide, and the UNet's context 64"):
        make_module(recipe("lmnet"), start=random_unet("lmnet", context_channels=64), text=encoder())
    with pytest.raises(ValueError, match="without text the context's width 64 has to be"):
        make_module(recipe("lmnet"), start=random_unet("lmnet", context_channels=64))
    with pytest.raises(ValueError, match="4 latent channels, and the UNet paints 0"):
        make_module(recipe("linet"), start=random_unet("lmnet"), vq=small_vq(), text=encoder())
    with pytest.raises(CheckpointError, match="the perceptual loss has no weights"):
        make_module(recipe("vq", loss=VQLossConfig()))
    with pytest.raises(ValueError, match="low-rank changes are for lmnet and linet"):
        recipe("vq", lora_rank=2)
    with pytest.raises(ValueError, match="no sampler 'euler'"):
        recipe("lmnet", sampler="euler")


def test_weights_at_the_start_are_those_of_the_seed() -> None:
    first, again, other = (make_module(recipe("vq", seed=seed)) for seed in (1, 1, 2))
    assert_same(dict(first.state_dict()), dict(again.state_dict()))
    assert not torch.equal(first.vq.decoder.conv_out.weight, other.vq.decoder.conv_out.weight)  # type: ignore[union-attr]
