"""LINet as a whole: the reference's run over a volume, and ours over crops."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from golden import Case, Golden, error, rule_rs1, unet_config, vq_config
from models.batches import Batches
from models.conditioning import Told
from models.ddim import DDIM
from models.linet import LINet, PaintRequest, latent_mask
from models.noise import SeededNoise
from models.samplers import Sampler, make_sampler
from models.unet import UNet
from models.vq import VQ


@dataclass(frozen=True)
class Recorded:
    """Noise that was drawn before."""

    draws: list[Tensor]

    def draw(self, number: int) -> Tensor:
        return self.draws[number]


@pytest.fixture(scope="module")
def case(golden: Golden) -> Case:
    return golden.case("linet_v2")


@pytest.fixture(scope="module")
def linet(golden: Golden, case: Case) -> LINet:
    keys = json.loads((case.folder / "ema_unet_keys.json").read_text())
    unet = UNet(unet_config(case.config["unet_params"])).eval()
    unet.load_state_dict(
        rule_rs1([(key, tuple(shape)) for key, shape in keys["tensors"]], keys["fill_seed"], keys["sha256"])
    )
    vq = VQ(vq_config(case.config["vq_params"])).eval()
    vq.load_state_dict(golden.case("vq").weights)
    return LINet(unet, vq, Sampler(DDIM(steps=5)), text=None, batches=Batches(4))


def test_reference_over_a_volume(linet: LINet, case: Case) -> None:
    noise = [Recorded([case[f"x_T{n}"], *case[f"noise{n}"]]) for n in range(2)]
    mask = case["label"] == 2
    made = linet.paint_volume(case["image"][0, 0], mask, [{}, {}], noise, crop=(32, 32, 32))
    assert error(linet.vq.encode(case["image"]), case["z"]) < 2e-4
    assert torch.equal(latent_mask(mask), case["mask_coarse_fine"][0, 1] > 0)
    assert error(made, case["out"][0, 0]) < 1e-4


def test_reference_sample_by_sample(linet: LINet, case: Case) -> None:
    crops = json.loads(str(case.arrays["meta_json"]))["crops"]
    z, mask = case["z"].clone(), (case["mask_coarse_fine"][:, 1:] > 0)
    for n, at in enumerate(crops):
        window = (..., slice(at["w1"], at["w2"]), slice(at["h1"], at["h2"]), slice(at["d1"], at["d2"]))
        noise = Recorded([case[f"x_T{n}"], *case[f"noise{n}"]])
        sample = linet.sample(z[window].clone(), mask[window], noise, Told())
        assert error(sample, case[f"sample{n}"][:, :4]) < 2e-4
        assert torch.equal(mask[window].float(), case[f"sample{n}"][:, 4:])
        z[window] = sample
    assert error(z, case["z_final"]) < 2e-4


def request(seed: int, side: int = 16) -> PaintRequest:
    rng = torch.Generator().manual_seed(seed)
    mask = torch.zeros(side, side, side)
    mask[4:11, 5:12, 6:12] = 1
    return PaintRequest(torch.rand(side, side, side, generator=rng), mask, {}, seed)


def test_crop_is_the_volume_where_they_are_one(linet: LINet) -> None:
    asked = request(3)
    size = (4, *(side // 2 for side in asked.image.shape))
    volume = linet.paint_volume(
        asked.image, asked.mask > 0, [{}], [SeededNoise([3], size)], crop=tuple(asked.image.shape)
    )
    assert error(linet.paint([asked])[0], volume) < 1e-5


def test_batch_of_four_is_four_of_one(linet: LINet) -> None:
    requests = [request(seed) for seed in range(4)]
    single = LINet(linet.unet, linet.vq, linet.sampler, None, batches=Batches(1))
    for alone, together in zip(single.paint(requests), linet.paint(requests), strict=True):
        assert error(alone, together) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_order_and_padding_of_a_batch_never_show(linet: LINet, dtype: torch.dtype) -> None:
    """At one batch shape a lesion's bits are its own, whoever lies beside it."""
    unet, vq = UNet(linet.unet.config).to(dtype).eval(), VQ(linet.vq.config).to(dtype).eval()
    unet.load_state_dict(linet.unet.state_dict())
    vq.load_state_dict(linet.vq.state_dict())
    painter = LINet(unet, vq, linet.sampler, None, batches=Batches(4))
    requests = [request(seed) for seed in range(4)]
    made = painter.paint(requests)
    turned = painter.paint(requests[::-1])[::-1]
    assert all(torch.equal(a, b) for a, b in zip(made, turned, strict=True))
    empty = PaintRequest(torch.zeros(16, 16, 16), request(0).mask, {}, 0)
    for beside in ([], [empty, empty, empty]):  # a short batch is filled up
        assert torch.equal(painter.paint([requests[2], *beside])[0], made[2])


def test_the_default_sampler_leaves_the_surroundings_as_they_were_encoded(linet: LINet) -> None:
    painter = LINet(linet.unet, linet.vq, make_sampler(), None)
    asked = request(5)
    z0 = linet.vq.encode(asked.image[None, None]).detach()
    mask = latent_mask(asked.mask)[None, None]
    sample = painter.sample(z0, mask, SeededNoise([5], tuple(z0.shape[1:])), Told())
    kept = ~mask.expand_as(z0)
    assert torch.equal(sample[kept], z0[kept])
    assert float((sample - z0)[~kept].abs().mean()) > 0.1


def test_a_crop_that_does_not_halve_often_enough(linet: LINet) -> None:
    with pytest.raises(ValueError, match=r"^the crop is \(20, 20, 20\); its sides should be divisible by 8$"):
        linet.paint([request(1, side=20)])


def test_thin_and_empty_masks() -> None:
    thin = torch.zeros(8, 8, 8)
    thin[3, 3, 1:6] = 1
    assert int(latent_mask(thin).sum()) == 3
    with pytest.raises(ValueError, match="mask is empty"):
        latent_mask(torch.zeros(8, 8, 8))


def test_a_small_volume_is_refused(linet: LINet) -> None:
    with pytest.raises(ValueError, match="smaller volumes need"):
        linet.paint_volume(torch.zeros(16, 16, 16), torch.ones(16, 16, 16), [{}], [Recorded([])])
