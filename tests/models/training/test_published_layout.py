"""What our trainings of the published sizes write has the keys and shapes of the published checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from golden import Golden
from models.text import TextEncoder, TextTower
from models.training import vq_module
from models.training.module import make_module
from models.training.perceptual import LPIPS
from models.training.recipe import Recipe
from models.vq import VQ
from small_trainings import Name, to_hu


def shapes(state: Mapping[str, Tensor]) -> list[tuple[str, tuple[int, ...]]]:
    return [(key, tuple(tensor.shape)) for key, tensor in state.items()]


@pytest.mark.parametrize("network", ["lmnet", "linet"])
@pytest.mark.parametrize("lora_rank", [None, 4])
def test_diffusion(golden: Golden, network: Name, lora_rank: int | None) -> None:
    with torch.device("meta"):
        text = TextEncoder(TextTower(), lambda _: torch.zeros(1, 1))
        recipe = Recipe(network=network, to_hu=to_hu, lora_rank=lora_rank)
        module = make_module(recipe, text=text, vq=VQ() if network == "linet" else None)
        state = module.published_state()
    assert shapes(state) == list(golden.manifest(f"{network}_ckpt").items())


def test_vq(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(_lpips: LPIPS, _files: Sequence[Path]) -> None: ...

    monkeypatch.setattr(vq_module, "load_perceptual", loaded)
    with torch.device("meta"):
        state = make_module(Recipe(network="vq", to_hu=to_hu)).published_state()
    assert shapes(state) == list(golden.manifest("vq_ckpt").items())
