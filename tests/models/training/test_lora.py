"""Low-rank changes of a UNet's weights."""

from __future__ import annotations

import pytest
import torch

from models.training.lora import is_low_rank, merged, train_low_rank
from models.unet import UNet
from small_trainings import random_unet


def seen() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(4)
    return (
        torch.randn((1, 4, 8, 8, 8), generator=random),
        torch.tensor([500]),
        torch.randn((1, 3, 32), generator=random),
    )


def test_it_starts_as_the_network_it_changes() -> None:
    whole, changed = random_unet("lmnet"), random_unet("lmnet")
    train_low_rank(changed, 2)
    assert is_low_rank(changed)
    assert not is_low_rank(whole)
    assert torch.equal(whole(*seen()), changed(*seen()))


def test_what_is_trained() -> None:
    unet = random_unet("lmnet")
    before = sum(parameter.numel() for parameter in unet.parameters())
    train_low_rank(unet, 2)
    trained = {name for name, parameter in unet.named_parameters() if parameter.requires_grad}
    assert sum(p.numel() for p in unet.parameters() if p.requires_grad) < before / 4
    assert not any(name.endswith("original") for name in trained)
    assert {name.rsplit(".", 1)[-1] for name in trained} == {"up", "down", "weight", "bias"}
    with torch.enable_grad():
        unet(*seen()).square().mean().backward()
    got = {name: p.grad is not None for name, p in unet.named_parameters() if p.requires_grad}
    assert got == dict.fromkeys(got, True)


def test_merged_it_is_a_network_as_any_other() -> None:
    unet = random_unet("lmnet")
    names = list(unet.state_dict())
    train_low_rank(unet, 2)
    for name, parameter in unet.named_parameters():
        if name.endswith("up"):
            parameter.normal_(generator=torch.Generator().manual_seed(1)).mul_(0.1)
    plain = UNet(unet.config)
    state = merged(unet, names)
    assert list(state) == list(plain.state_dict())
    plain.load_state_dict(state)
    assert torch.allclose(plain(*seen()), unet(*seen()), atol=1e-6)
    assert not torch.allclose(plain(*seen()), random_unet("lmnet")(*seen()), atol=1e-3)
    assert torch.linalg.matrix_rank(state["time_embed.2.weight"] - random_unet("lmnet").time_embed[2].weight) == 2


def test_a_rank_of_nothing() -> None:
    with pytest.raises(ValueError, match="a rank of 0 changes nothing"):
        train_low_rank(random_unet("lmnet"), 0)
