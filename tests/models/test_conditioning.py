"""What the networks are told: attributes, strengthened by guidance, each batch of one length."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.attributes import AttributeConfig, AttributeEncoder
from models.conditioning import Conditioning
from models.diffusion import Noising
from models.unet import UNet, UNetConfig

VOCABULARY = (("shape", ("round-like", "irregular")), ("CT value", ()))


@pytest.fixture(scope="module")
def text() -> AttributeEncoder:
    torch.manual_seed(0)
    return AttributeEncoder(AttributeConfig(vocabulary=VOCABULARY, channels=32, width=8)).eval()


@pytest.fixture(scope="module")
def unet() -> UNet:
    torch.manual_seed(1)
    unet = UNet(UNetConfig(in_channels=3, out_channels=3, width=32, width_multipliers=(1, 1), res_blocks=1,
                           attention_at=(2,), context_channels=32)).eval()  # fmt: skip
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return unet


@torch.no_grad()
def eps(unet: UNet, conditioning: Conditioning, attributes: dict[str, str]) -> torch.Tensor:
    x, beside = torch.ones(1, 2, 4, 4, 4), torch.zeros(1, 1, 4, 4, 4)
    told = conditioning.tell([attributes])
    return conditioning.denoiser(unet, beside, told)(x, torch.tensor([400]))


def test_guidance_goes_on_from_nothing_through_the_description(unet: UNet, text: AttributeEncoder) -> None:
    about = {"shape": "irregular,", "CT value": "57.0 HU,"}
    nothing, told = eps(unet, Conditioning(text), {}), eps(unet, Conditioning(text), about)
    assert not torch.equal(nothing, told)
    assert torch.equal(eps(unet, Conditioning(text, 0.0), about), nothing)
    assert torch.allclose(eps(unet, Conditioning(text, 3.0), about), nothing + 3 * (told - nothing), atol=1e-5)


def test_only_the_channels_of_x_come_back(unet: UNet, text: AttributeEncoder) -> None:
    assert eps(unet, Conditioning(text), {}).shape == (1, 2, 4, 4, 4)


def test_noise_of_a_network_that_tells_the_velocity(unet: UNet, text: AttributeEncoder) -> None:
    velocity = UNet(replace(unet.config, predicts="velocity")).eval()
    velocity.load_state_dict(unet.state_dict())
    said, x, t = eps(unet, Conditioning(text), {}), torch.ones(1, 2, 4, 4, 4), torch.tensor([400])
    torch.testing.assert_close(eps(velocity, Conditioning(text), {}), Noising.of().noise_in(x, said, t))


def test_text_off_is_not_the_description_of_nothing(unet: UNet, text: AttributeEncoder) -> None:
    assert Conditioning().tell([{"shape": "irregular,"}]).tokens is None
    assert not torch.equal(eps(unet, Conditioning(), {}), eps(unet, Conditioning(text), {}))


def test_descriptions_of_one_length_only(text: AttributeEncoder) -> None:
    with pytest.raises(ValueError, match=r"descriptions of \[1, 2\] attributes in one batch"):
        Conditioning(text).tell([{"shape": "irregular,"}, {"shape": "irregular,", "CT value": "57.0 HU,"}])
    with pytest.raises(ValueError, match="guidance 2 strengthens the text, and the text is off"):
        Conditioning(None, 2.0)
