"""Weights of the perceptual network from the files they are published in; and what is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.tensor_file import CheckpointError
from models.training.perceptual import LPIPS
from models.training.perceptual_weights import load_perceptual

HEADS = {f"lin{stage}.model.1.weight": (1, width, 1, 1) for stage, width in enumerate((64, 128, 256, 512, 512))}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """By the names of VGG16 as torchvision has it, and of the heads."""
    drawn = torch.Generator().manual_seed(0)
    vgg = {}
    for name, tensor in LPIPS().net.state_dict().items():
        vgg["features." + name.partition(".")[2]] = torch.randn(tensor.shape, generator=drawn) / 30
    return vgg | {name: torch.rand(shape, generator=drawn) for name, shape in HEADS.items()}


def written(path: Path, content: Any, **options: bool) -> Path:
    torch.save(content, path, **options)
    return path


def split(folder: Path, weights: dict[str, Tensor], **options: bool) -> list[Path]:
    classifier = {"classifier.0.weight": torch.zeros(2, 2)}
    features = {name: tensor for name, tensor in weights.items() if name not in HEADS}
    heads = {name: weights[name] for name in HEADS}
    return [
        written(folder / "vgg.pth", heads, **options),
        written(folder / "vgg16.pth", features | classifier, **options),
    ]


@pytest.mark.parametrize("zipped", [True, False], ids=["today", "before-1.6"])
def test_from_both_published_files(tmp_path: Path, weights: dict[str, Tensor], zipped: bool) -> None:
    lpips = LPIPS()
    load_perceptual(lpips, split(tmp_path, weights, _use_new_zipfile_serialization=zipped))
    assert torch.equal(lpips.net.state_dict()["slice3.12.weight"], weights["features.12.weight"])
    a, b = torch.rand(2, 2, 1, 16, 16)
    assert float(lpips(a, a).abs().max()) == 0
    assert bool((lpips(a, b) > 0).all())
    assert torch.allclose(lpips(a, b), lpips(a.expand(2, 3, 16, 16), b.expand(2, 3, 16, 16)))
    assert not any(parameter.requires_grad for parameter in lpips.parameters())


def test_from_a_vq_checkpoint(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    first, second = LPIPS(), LPIPS()
    load_perceptual(first, split(tmp_path, weights))
    state = {f"loss.perceptual_loss.{name}": tensor for name, tensor in first.state_dict().items()}
    checkpoint = written(tmp_path / "VQ.ckpt", {"state_dict": state | {"encoder.conv_in.weight": torch.zeros(2)}})
    load_perceptual(second, [checkpoint])
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


def test_none_named() -> None:
    with pytest.raises(CheckpointError, match=r"the perceptual loss has no weights: name a VQ checkpoint .* or train"):
        load_perceptual(LPIPS(), [])


def broken(weights: dict[str, Tensor], name: str, tensor: Tensor | None) -> dict[str, Tensor]:
    kept = {key: value for key, value in weights.items() if key != name}
    return kept if tensor is None else kept | {name: tensor}


@pytest.mark.parametrize(
    ("name", "tensor", "line"),
    [
        ("features.7.bias", None, "lacks 'features.7.bias'; wanted is a VQ checkpoint"),
        ("lin4.model.1.weight", None, "lacks 'lin4.model.1.weight'"),
        ("features.0.weight", torch.zeros(64, 1, 3, 3), r"of shape \(64, 1, 3, 3\), and \(64, 3, 3, 3\) is wanted"),
        ("features.28.bias", torch.full((512,), torch.nan), "'net.slice5.28.bias' with values that are not finite"),
    ],
)
def test_wrong_weights(tmp_path: Path, weights: dict[str, Tensor], name: str, tensor: Tensor | None, line: str) -> None:
    lpips = LPIPS()
    with pytest.raises(CheckpointError, match=line):
        load_perceptual(lpips, [written(tmp_path / "all.pth", broken(weights, name, tensor))])
    assert not lpips.loaded


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "is empty"),
        (b"\x80\x02nonsense", "is refused: a pickle outside a zip"),
        (b"<html>", "neither a torch checkpoint nor a safetensors file"),
        (None, "cannot be read: No such file"),
    ],
)
def test_wrong_files(tmp_path: Path, content: bytes | None, line: str) -> None:
    path = tmp_path / "vgg16.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=line):
        load_perceptual(LPIPS(), [path])


def test_an_old_pickle_that_would_run_code_does_not(tmp_path: Path) -> None:
    path = written(tmp_path / "vgg16.pth", Path("x"), _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="is refused: a pickle outside a zip"):
        load_perceptual(LPIPS(), [path])
    numbers = written(tmp_path / "numbers.pth", [1, 2], _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="holds a list, not a dictionary of tensors"):
        load_perceptual(LPIPS(), [numbers])
