"""Objectives of LMNet and LINet against the reference's values and gradients, and by what they must be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from golden import Case, Golden, error, unet_config, vq_config
from models.diffusion import Noising
from models.linet import latent_mask
from models.training.objectives import (
    bound_weights,
    box_of,
    dice_loss,
    dice_sums,
    linet_input,
    linet_losses,
    linet_terms,
    lmnet_input,
    lmnet_losses,
)
from models.unet import UNet
from models.vq import VQ

LOSS, GRADIENT = 2e-5, 1e-4


@pytest.fixture(autouse=True)
def training(inference: None) -> Iterator[None]:
    with torch.enable_grad():
        yield


def unet_of(golden: Golden, case: Case, weights: str) -> UNet:
    unet = UNet(unet_config(case.config["unet_params"])).train()
    unet.load_state_dict(golden.case(weights).weights)
    return unet


def assert_gradients(case: Case, unet: UNet) -> None:
    """Norms of all of them, and the two that are stored whole."""
    gradients = {name: parameter.grad for name, parameter in unet.named_parameters()}
    assert list(gradients) == list(case.arrays["grad_names"])
    norms = torch.tensor([0.0 if g is None else float(g.double().norm()) for g in gradients.values()])
    stored = case["grad_norms"]
    assert float((norms - stored).abs().max()) < GRADIENT * float(stored.max())
    for name in ("input_blocks.0.0.weight", "out.2.weight"):
        whole = case[f"grad:{name}"]
        assert float((gradients[name] - whole).abs().max()) < GRADIENT * float(whole.abs().max())


def test_lmnet_as_the_reference(golden: Golden) -> None:
    case = golden.case("loss_lmnet")
    unet = unet_of(golden, case, "unet_lmnet")
    noised = Noising.of()(case["mask"], case["noise"], case["t"])
    assert error(noised, case["x_noisy"]) < 1e-6
    eps_hat = unet(lmnet_input(noised, case["x"]), case["t"], case["context"])
    losses = lmnet_losses(case["noise"], eps_hat, case["x"][:, 2:])
    told = losses.detach()
    assert error(told.mean(), case["loss"]) < LOSS
    assert error(told.mean(), case["loss_simple"]) < LOSS
    assert error((bound_weights()[case["t"]] * told).mean(), case["loss_vlb"]) < LOSS
    losses.mean().backward()
    assert_gradients(case, unet)


def test_lmnet_sees_the_box_of_the_mask(golden: Golden) -> None:
    case = golden.case("loss_lmnet")
    assert torch.equal(box_of(case["mask"]), case["x"][:, 2:])


def test_linet_as_the_reference(golden: Golden) -> None:
    case = golden.case("loss_linet")
    unet = unet_of(golden, case, "unet_linet_ctx")
    coarse, fine = case["mask_coarse_fine"].split(1, dim=1)
    seen = linet_input(case["z"], fine, case["noise"], case["t"], Noising.of())
    output = unet(seen, case["t"], case["context"])
    terms = linet_terms(case["noise"], output, fine)
    assert error(terms.noise.detach(), case["loss_simple"]) < LOSS
    assert error(terms.mask.detach(), case["mask_dice_loss"]) < LOSS
    assert error(terms.total.detach(), case["loss"]) < LOSS
    each = linet_losses(case["noise"], output[:, :4], fine, per=coarse)
    assert error(each.mean().detach(), case["loss_simple"]) < LOSS
    by_the_mask = linet_losses(case["noise"], output[:, :4], fine, per=fine).mean().detach()
    assert error(bound_weights()[case["t"]].mean() * by_the_mask, case["loss_vlb"]) < LOSS
    terms.total.backward()
    assert_gradients(case, unet)


def test_linet_input_is_made_as_the_reference_makes_it(golden: Golden) -> None:
    case = golden.case("loss_linet")
    vq = VQ(vq_config(case.config["vq_params"])).eval()
    vq.load_state_dict(golden.case("vq").weights)
    coarse, fine = case["mask_coarse_fine"].split(1, dim=1)
    with torch.no_grad():
        assert error(vq.encode(case["image"]), case["z"]) < LOSS
    ours = torch.stack([latent_mask(label == 2) for label in case["label"]])[:, None]
    assert torch.equal(ours, fine > 0)
    assert torch.equal(box_of(fine), coarse)


@given(hnp.arrays(np.bool_, (2, 1, 4, 5, 3), elements=st.booleans(), fill=st.just(False)))
def test_box_is_the_smallest(mask: np.ndarray) -> None:
    boxes = box_of(torch.from_numpy(mask))
    assert boxes.dtype == torch.bool
    for one, box in zip(mask[:, 0], boxes.numpy()[:, 0], strict=True):
        expected = np.zeros_like(one)
        where = np.argwhere(one)
        if len(where):
            expected[tuple(slice(a, b + 1) for a, b in zip(where.min(0), where.max(0), strict=True))] = True
        assert np.array_equal(box, expected)


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_dice_of_a_batch_is_that_of_the_sums_of_its_parts(cut: int, seed: int) -> None:
    logits, mask = random(seed, 5, 1), random(seed + 1, 5, 1) > 0
    parts = sum(dice_sums(logits[part], mask[part]) for part in (slice(cut), slice(cut, None)))
    assert torch.allclose(dice_loss(parts), dice_loss(dice_sums(logits, mask)), atol=1e-6)


def test_dice_knows_right_from_wrong() -> None:
    mask = random(3, 2, 1) > 0
    certain = torch.where(mask, 50.0, -50.0)
    assert float(dice_loss(dice_sums(certain, mask))) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(dice_sums(-certain, mask))) == pytest.approx(1, abs=1e-6)


def test_only_the_lesion_is_noised_and_judged() -> None:
    z0, eps, mask = random(0, 2, 4), random(1, 2, 4), (random(2, 2, 1) > 0.5).float()
    t = torch.tensor([0, 999])
    seen = linet_input(z0, mask, eps, t, Noising.of())
    outside = (mask == 0).expand_as(z0)
    assert torch.equal(seen[:, :4][outside], z0[outside])
    assert torch.equal(seen[:, 4:], mask)
    assert not torch.isclose(seen[1:, :4], z0[1:])[~outside[1:]].any()
    wrong_outside = torch.cat([torch.where(outside, 1e3, eps), 1e3 * (2 * mask - 1)], dim=1)
    assert float(linet_terms(eps, wrong_outside, mask).total) == pytest.approx(0, abs=1e-5)
    assert float(linet_terms(eps + 1, wrong_outside, mask).noise) > 0.1


def test_an_error_in_the_box_counts_a_thousandfold() -> None:
    eps = torch.zeros(1, 1, 4, 4, 4)
    box = torch.zeros_like(eps)
    box[..., 0, 0, 0] = 1
    inside, outside = torch.zeros_like(eps), torch.zeros_like(eps)
    inside[..., 0, 0, 0] = outside[..., 3, 3, 3] = 1
    assert float(lmnet_losses(eps, inside, box) / lmnet_losses(eps, outside, box)) == 1000


def test_losses_are_float32_for_a_network_that_is_not() -> None:
    eps, mask = random(0, 2, 4), (random(2, 2, 1) > 0.5).float()
    output = random(3, 2, 5).bfloat16()
    assert lmnet_losses(eps[:, :1], output[:, :1], mask).dtype == torch.float32
    assert linet_terms(eps, output, mask).total.dtype == torch.float32


def random(seed: int, batch: int, channels: int) -> Tensor:
    return torch.randn((batch, channels, 4, 5, 6), generator=torch.Generator().manual_seed(seed))
