"""The VQ-GAN's loss against the reference's values and gradients; its switches; its names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from golden import Case, Golden, error, rule_rs1, vq_config
from models.training.codebook import Reconstruction, codebook_loss, codebook_use, reconstruct
from models.training.vq_loss import VQLoss, VQLossConfig, VQTerms, plane_of
from models.vq import VQ, VQConfig

LOSS, PERCEPTUAL, WITH_GAN, GRADIENT = 2e-5, 1e-3, 2e-4, 1e-4

AS_STORED = VQLossConfig(perceptual_of_unit_range=True, commitment_on_codes=True)
"""As released, but for the dropout, without which the reference's numbers were made."""

BEFORE, LAST_BEFORE, AFTER = 0, 50_000, 60_000


@pytest.fixture(autouse=True)
def training(inference: None) -> Iterator[None]:
    with torch.enable_grad():
        yield


@pytest.fixture(scope="module")
def case(golden: Golden) -> Case:
    return golden.case("loss_vq")


@pytest.fixture(scope="module")
def loss(case: Case) -> VQLoss:
    """With the rule's weights; counters have none."""
    loss = VQLoss(AS_STORED).train()
    state = loss.state_dict()
    floats = [(key, tuple(tensor.shape)) for key, tensor in state.items() if tensor.is_floating_point()]
    loss.load_state_dict(state | rule_rs1(floats, case.config["loss_fill_seed"], case.config["loss_weights_sha256"]))
    return loss


@pytest.fixture(scope="module")
def vq(golden: Golden, case: Case) -> VQ:
    vq = VQ(vq_config(case.config["vq_params"])).train()
    vq.load_state_dict(golden.case("vq").weights)
    return vq


def generator_step(loss: VQLoss, vq: VQ, case: Case, step: int) -> tuple[VQTerms, Reconstruction]:
    made = reconstruct(vq, case["x"])
    last = vq.decoder.conv_out.weight
    return loss.autoencoder(case["x"], made, planes(case), step=step, last_weight=last), made


def planes(case: Case) -> Tensor:
    return case["frame_index"].view(1)


def norms(gradients: tuple[Tensor | None, ...]) -> Tensor:
    return torch.tensor([0.0 if g is None else float(g.double().norm()) for g in gradients], dtype=torch.float64)


@pytest.mark.parametrize("step", [BEFORE, LAST_BEFORE, AFTER])
def test_autoencoder_as_the_reference(loss: VQLoss, vq: VQ, case: Case, step: int) -> None:
    terms, made = generator_step(loss, vq, case, step)
    stored = {name: case[f"log.{name}.opt0.step{step}"] for name in ("nll_loss", "p_loss", "g_loss", "d_weight")}
    assert error(made.image.detach(), case["xrec"]) < LOSS
    assert error(terms.codebook, case["qloss"]) < LOSS
    assert error(terms.pixelwise + terms.perceptual, stored["nll_loss"]) < LOSS
    assert error(terms.perceptual, stored["p_loss"]) < PERCEPTUAL
    assert error(terms.perceptual, case["lpips_eval"].squeeze()) < PERCEPTUAL
    after = step == AFTER
    assert loss.adversarial(step) == after == bool(case[f"log.disc_factor.opt0.step{step}"])
    if after:
        assert error(terms.adversarial, stored["g_loss"]) < PERCEPTUAL
        assert error(terms.adversarial_weight, stored["d_weight"]) < PERCEPTUAL
    assert error(terms.total.detach(), case[f"loss.opt0.step{step}"]) < (WITH_GAN if after else LOSS)
    if f"grad_norms.opt0.step{step}" in case.arrays:
        named = dict(vq.named_parameters())
        names = list(case.arrays["grad_names.opt0"])
        found = norms(torch.autograd.grad(terms.total, [named[name] for name in names], allow_unused=True))
        wanted = case[f"grad_norms.opt0.step{step}"]
        assert float((found - wanted).abs().max()) < GRADIENT * float(wanted.max())


def test_codebook_use_as_the_reference(vq: VQ, case: Case) -> None:
    use = codebook_use(reconstruct(vq, case["x"]).indices, vq.config.codes)
    assert use.perplexity == pytest.approx(float(case["log.perplexity.opt0.step0"]), rel=1e-4)
    assert use.used == int(case["log.cluster_usage.opt0.step0"])


def test_discriminators_as_the_reference(loss: VQLoss, case: Case) -> None:
    terms = loss.discriminators(case["x"], case["xrec"], planes(case))
    assert error(terms.total.detach(), case[f"loss.opt1.step{AFTER}"]) < LOSS
    for ours, theirs in [
        (terms.real_plane, "frames_real"),
        (terms.fake_plane, "frames_fake"),
        (terms.real_volume, "ct_real"),
        (terms.fake_volume, "ct_fake"),
    ]:
        assert error(ours, case[f"log.logits_{theirs}.opt1.step{AFTER}"]) < LOSS
    parameters = {name: p for name, p in loss.named_parameters() if p.requires_grad}
    assert list(parameters) == list(case.arrays["grad_names.opt1"])
    found = norms(torch.autograd.grad(terms.total, list(parameters.values())))
    wanted = case[f"grad_norms.opt1.step{AFTER}"]
    assert float((found - wanted).abs().max()) < GRADIENT * float(wanted.max())


def test_published_names_shapes_and_order(golden: Golden, loss: VQLoss) -> None:
    published = {key: shape for key, shape in golden.manifest("vq_ckpt").items() if key.startswith("loss.")}
    ours = {f"loss.{key}": tuple(tensor.shape) for key, tensor in loss.state_dict().items()}
    assert list(ours.items()) == list(published.items())


def small(**switches: bool | int | str) -> tuple[VQLoss, VQ, Tensor]:
    torch.manual_seed(0)
    loss = VQLoss(VQLossConfig(**{"perceptual": False, **switches}))
    return loss, VQ(VQConfig(width=16, codes=8)), torch.rand(2, 1, 8, 16, 16)


@pytest.fixture(autouse=True)
def own_generator() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


def test_without_the_perceptual_network() -> None:
    loss, vq, volume = small()
    assert not any("perceptual" in key for key in loss.state_dict())
    terms = loss.autoencoder(
        volume, reconstruct(vq, volume), torch.tensor([0, 3]), step=0, last_weight=vq.decoder.conv_out.weight
    )
    assert float(terms.perceptual) == 0
    assert float(terms.total.detach()) == pytest.approx(float(terms.pixelwise + terms.codebook))


def test_rms_is_of_each_volume() -> None:
    loss, vq, volume = small(error="rms")
    made = reconstruct(vq, volume)
    terms = loss.autoencoder(volume, made, torch.tensor([0, 3]), step=0, last_weight=vq.decoder.conv_out.weight)
    squared = (made.image - volume).detach().double().square()
    wanted = sum(float(each.mean()) ** 0.5 for each in squared) / 2
    assert float(terms.pixelwise) == pytest.approx(wanted, rel=1e-5)
    assert float(terms.total.detach()) == pytest.approx(wanted + float(terms.codebook), rel=1e-5)


def test_a_perceptual_network_without_weights_does_not_judge() -> None:
    loss, vq, volume = small(perceptual=True)
    with pytest.raises(RuntimeError, match="the perceptual network has no weights: load them, or train without it"):
        loss.autoencoder(
            volume, reconstruct(vq, volume), torch.tensor([0, 3]), step=0, last_weight=vq.decoder.conv_out.weight
        )


def test_commitment_is_weighed_unless_as_released() -> None:
    """Latents get a quarter of the gradient that codes get; as released, four times as much."""
    _, vq, volume = small()
    pulls = {}
    for swapped in (False, True):
        made = reconstruct(vq, volume)
        value = codebook_loss(made, swapped=swapped)
        distance = (made.latent - made.codes).detach().square().mean()
        assert float(value.detach()) == pytest.approx(1.25 * float(distance), rel=1e-5)
        of_latent, of_codes = torch.autograd.grad(value, [made.latent, made.codes])
        pulls[swapped] = float(of_latent.norm() / of_codes.norm())
    assert pulls[False] == pytest.approx(0.25, rel=1e-4)
    assert pulls[True] == pytest.approx(4.0, rel=1e-4)


def test_gradient_passes_the_codes() -> None:
    _, vq, volume = small()
    made = reconstruct(vq, volume)
    made.image.sum().backward()
    assert float(vq.encoder.conv_in.weight.grad.abs().sum()) > 0
    assert vq.quantize.embedding.weight.grad is None
    codes = vq.quantize.embedding.weight[made.indices].movedim(-1, 1)
    assert torch.allclose(made.codes, codes)


def test_the_autoencoder_teaches_the_discriminators_nothing() -> None:
    loss, vq, volume = small(adversarial_from_step=0)
    made = reconstruct(vq, volume)
    terms = loss.autoencoder(volume, made, torch.tensor([0, 3]), step=0, last_weight=vq.decoder.conv_out.weight)
    terms.total.backward()
    assert float(terms.adversarial_weight) > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in loss.parameters())
    before = vq.decoder.conv_out.weight.grad.clone()
    loss.discriminators(volume, made.image, torch.tensor([0, 3])).total.backward()
    assert torch.equal(vq.decoder.conv_out.weight.grad, before)
    assert all(parameter.grad is not None for parameter in loss.parameters())


def test_perceptual_network_is_shown_what_it_was_made_for(loss: VQLoss, case: Case) -> None:
    """On [-1, 1] by default; as released, [0, 1]. Dropout only as released, and then another distance each time."""
    net, x, y = loss.perceptual_loss, plane_of(case["x"], planes(case)), plane_of(case["xrec"], planes(case))
    seen: list[Tensor] = []
    hook = net.scaling_layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    right = VQLoss(VQLossConfig())
    right.perceptual_loss = net
    right._perceptual(x, y)
    loss._perceptual(x, y)
    hook.remove()
    assert torch.equal(seen[0], 2 * x - 1)
    assert torch.equal(seen[2], x)
    assert torch.equal(net(x, y), net(x, y))
    net.dropout = True
    dropping = net.train()
    assert not torch.equal(dropping(x, y), dropping(x, y))
    assert torch.equal(dropping.eval()(x, y), net(x, y))
    net.dropout = False


def test_a_plane_for_each_sample() -> None:
    volume = torch.arange(2 * 3 * 4 * 5.0).view(2, 1, 3, 4, 5)
    chosen = plane_of(volume, torch.tensor([2, 0]))
    assert torch.equal(chosen, torch.stack([volume[0, :, 2], volume[1, :, 0]]))
