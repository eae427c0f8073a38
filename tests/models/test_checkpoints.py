"""Networks from checkpoints: the published names, what is left aside, and what is refused in one line."""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from golden import Golden
from models import sizes
from models.checkpoints import load_text, load_unet, load_vq, schedule_state, text_state
from models.contents import description
from models.diffusion import PUBLISHED
from models.ema import Ema
from models.layout import Network, diffusion_state, vq_state
from models.tensor_file import write_checkpoint
from models.training.vq_loss import VQLoss
from models.unet import LINET_UNET, LMNET_UNET, UNet, UNetConfig
from models.vq import PUBLISHED_VQ, VQ, VQConfig
from published_files import (
    SMALL_LINET,
    SMALL_LMNET,
    SMALL_VQ,
    Tower,
    Trained,
    refusal,
    same,
    save,
)

POSITION_IDS = "cond_stage_model.model.transformer.embeddings.position_ids"


@pytest.fixture(scope="module")
def linet() -> Trained:
    return Trained.random(SMALL_LINET)


@pytest.fixture(scope="module")
def lmnet() -> Trained:
    return Trained.random(SMALL_LMNET, seed=1)


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


# -- keys and shapes as published --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "config"), [("lmnet", LMNET_UNET), ("linet", LINET_UNET)])
def test_diffusion_checkpoints_have_the_published_keys(golden: Golden, name: str, config: UNetConfig) -> None:
    buffers = PUBLISHED.buffers()
    with torch.device("meta"):
        unet = UNet(config)
        state = diffusion_state(
            {buffer: buffers[buffer] for buffer in reversed(buffers)},
            unet.state_dict(),
            Ema(unet).state_dict(),
            vq=VQ().state_dict() if name == "linet" else None,
            text={key: torch.empty(shape) for key, shape in golden.manifest("biomedclip_text").items()},
        )
    assert list(shapes(state).items()) == list(golden.manifest(f"{name}_ckpt").items())
    assert {key for key, tensor in state.items() if tensor.dtype != torch.float32} == {"model_ema.num_updates"}


def test_vq_checkpoint_has_the_published_keys(golden: Golden) -> None:
    with torch.device("meta"):
        state = vq_state(VQ().state_dict(), VQLoss().state_dict())
    assert list(shapes(state).items()) == list(golden.manifest("vq_ckpt").items())


@pytest.mark.parametrize(("name", "config"), [("lmnet", LMNET_UNET), ("linet", LINET_UNET)])
def test_published_sizes_are_found(golden: Golden, name: str, config: UNetConfig) -> None:
    assert sizes.unet_config(golden.manifest(f"unet_{name}")) == config
    assert sizes.vq_config(golden.manifest("vq_interface")) == PUBLISHED_VQ


def test_what_no_shape_tells_is_said_beside_the_weights() -> None:
    unet, vq = replace(SMALL_LINET, groups=4, predicts="velocity"), replace(SMALL_VQ, groups=4)
    assert sizes.from_json(sizes.to_json(unet, vq)) == (unet, vq)
    before = sizes.to_json(SMALL_LINET, SMALL_VQ)
    for later in ('"groups": 32, ', '"groups": 16, ', '"predicts": "noise", '):
        assert later in before
        before = before.replace(later, "")
    assert sizes.from_json(before) == (SMALL_LINET, SMALL_VQ)


@settings(max_examples=8, deadline=None)
@given(
    st.builds(
        UNetConfig,
        in_channels=st.integers(1, 6),
        out_channels=st.integers(1, 6),
        width=st.sampled_from([32, 64]),
        width_multipliers=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
        res_blocks=st.integers(1, 2),
        attention_at=st.just(()),
        context_channels=st.sampled_from([8, 96]),
    ),
    st.data(),
)
def test_any_sizes_are_found(config: UNetConfig, data: st.DataObject) -> None:
    factors = [2**depth for depth in range(len(config.width_multipliers))]
    attention_at = tuple(data.draw(st.lists(st.sampled_from(factors), unique=True).map(sorted)))
    config = UNetConfig(**{**vars(config), "attention_at": attention_at})
    with torch.device("meta"):
        assert sizes.unet_config(shapes(UNet(config).state_dict())) == config
    assert sizes.from_json(sizes.to_json(config, SMALL_VQ)) == (config, SMALL_VQ)


# -- loading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lmnet", "linet"])
def test_averaged_weights_unless_asked(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    trained: Trained = request.getfixturevalue(name)
    path = save(tmp_path / "x.ckpt", getattr(trained, name))
    averaged, raw = load_unet(path), load_unet(path, ema=False)
    assert same(averaged.state_dict(), trained.averages)
    assert same(raw.state_dict(), trained.unet.state_dict())
    assert not same(averaged.state_dict(), raw.state_dict())
    assert averaged.config == trained.unet.config
    assert not averaged.training
    assert all(parameter.requires_grad for parameter in averaged.parameters())
    with path.open("r+b") as opened:  # what was loaded does not refer to the file any more
        opened.truncate()
    assert same(averaged.state_dict(), trained.averages)


def test_the_other_networks_of_linet(linet: Trained, tmp_path: Path) -> None:
    path = save(tmp_path / "LINet.ckpt", {**linet.linet, POSITION_IDS: torch.arange(512)[None]})
    vq = load_vq(path)
    assert vq.config == SMALL_VQ
    assert same(vq.state_dict(), linet.vq.state_dict())
    assert same(text_state(path), linet.text.state_dict())
    assert same(schedule_state(path), PUBLISHED.buffers())
    tower = Tower()
    load_text(path, tower, dtype=torch.bfloat16)
    assert torch.equal(tower.model["proj"][2].weight, linet.text.model["proj"][2].weight.bfloat16())


def test_autoencoder(linet: Trained, tmp_path: Path) -> None:
    path = save(tmp_path / "VQ.ckpt", linet.autoencoder)
    assert same(load_vq(path).state_dict(), linet.vq.state_dict())


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype(stored: torch.dtype, lmnet: Trained, tmp_path: Path) -> None:
    state = {key: tensor.to(stored) if tensor.is_floating_point() else tensor for key, tensor in lmnet.lmnet.items()}
    path = save(tmp_path / "LMNet.ckpt", state)
    for wanted in (torch.float32, torch.bfloat16):
        unet = load_unet(path, dtype=wanted)
        assert {tensor.dtype for tensor in unet.state_dict().values()} == {wanted}
        expected = {name: tensor.to(stored).to(wanted) for name, tensor in lmnet.averages.items()}
        assert same(unet.state_dict(), expected)


def test_loaded_networks_run_and_train(linet: Trained, tmp_path: Path) -> None:
    unet = load_unet(save(tmp_path / "LINet.ckpt", linet.linet), slab_values=None)
    x, t, context = torch.rand(1, 5, 8, 8, 8), torch.tensor([3]), torch.rand(1, 2, 32)
    with linet.ema.averaged(linet.unet):
        assert torch.equal(unet(x, t, context), linet.unet(x, t, context))
    with torch.enable_grad():
        unet(x, t, context).sum().backward()
    assert all(parameter.grad is not None for parameter in unet.parameters())


def test_head_width_is_told_by_text_alone(tmp_path: Path) -> None:
    config = UNetConfig(**{**vars(SMALL_LINET), "head_channels": 16})
    trained = Trained.random(config)
    told = tmp_path / "told.ckpt"
    write_checkpoint(told, trained.linet, description(Network.LINET, config, SMALL_VQ))
    assert load_unet(told).config == config
    untold = save(tmp_path / "untold.ckpt", trained.linet)
    assert load_unet(untold).config == SMALL_LINET
    assert load_unet(untold, config=config).config == config


# -- what does not fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_keys_that_do_not_fit_are_named(linet: Trained, tmp_path: Path, seed: int) -> None:
    state, draw = linet.linet, random.Random(seed)
    prefix, load = (
        ("model_ema.", functools.partial(load_unet, config=SMALL_LINET)),
        ("model.", functools.partial(load_unet, config=SMALL_LINET, ema=False)),
        ("first_stage_model.", functools.partial(load_vq, config=SMALL_VQ)),
        ("cond_stage_model.", lambda path: load_text(path, Tower())),
    )[seed % 4]
    weights = [key for key in state if key.startswith(prefix) and state[key].ndim]
    missing, misshapen = (draw.sample(weights, draw.randint(0, min(4, len(weights)))) for _ in range(2))
    misshapen = [key for key in misshapen if key not in missing]
    unexpected = [f"{prefix}extra{n}" for n in range(draw.randint(0, 4))]
    if not (missing or misshapen or unexpected):
        unexpected = [f"{prefix}extra"]
    for key in misshapen:
        state[key] = torch.zeros(*state[key].shape, 2)
    state |= {key: torch.zeros(1) for key in unexpected}
    for key in missing:
        del state[key]
    line = refusal(load, save(tmp_path / "LINet.ckpt", state))
    assert line.startswith("looks like LINet, but its ")
    for kind, keys in {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}.items():
        assert (f"{len(keys)} {kind} (" in line) == bool(keys)
        named = sum(bool(re.search(rf"(\(|, ){re.escape(key)}(\)|,| is)", line)) for key in keys)
        assert named == min(len(keys), 3)


@pytest.mark.parametrize("key", ["model_emaa.x", "lvlb_weights", "optimizer.x", "loss.logvar", "two\nlines"])
def test_keys_of_no_network(key: str, lmnet: Trained, tmp_path: Path) -> None:
    path = save(tmp_path / "LMNet.ckpt", {**lmnet.lmnet, key: torch.zeros(1)})
    assert refusal(load_unet, path) == f"looks like LMNet, but for 1 unexpected ({' '.join(key.split())})"


def test_position_ids_elsewhere_are_no_exception(lmnet: Trained, tmp_path: Path) -> None:
    path = save(tmp_path / "LMNet.ckpt", {**lmnet.lmnet, "model.position_ids": torch.zeros(1)})
    load_unet(path)  # reads averaged weights alone
    assert "1 unexpected (model.position_ids)" in refusal(functools.partial(load_unet, ema=False), path)


def test_another_network(linet: Trained, lmnet: Trained, tmp_path: Path) -> None:
    paths = {
        "LMNet": save(tmp_path / "a.ckpt", lmnet.lmnet),
        "LINet": save(tmp_path / "b.ckpt", linet.linet),
        "VQ": save(tmp_path / "c.ckpt", linet.autoencoder),
    }
    for wanted in Network:
        for name, path in paths.items():
            if name != wanted:
                line = refusal(functools.partial(load_unet, network=wanted), path)
                assert line == f"looks like {name}, and {wanted} is wanted"
    assert refusal(load_unet, paths["VQ"]) == (
        "is a checkpoint of VQ without averaged UNet weights; it holds: VQ autoencoder, training loss"
    )
    assert "is a checkpoint of LMNet without VQ autoencoder; it holds: noise schedule," in refusal(
        load_vq, paths["LMNet"]
    )
    assert "without text tower" in refusal(text_state, paths["VQ"])
    assert "misshapen" in refusal(functools.partial(load_unet, config=SMALL_LMNET), paths["LINet"])
    assert "misshapen" in refusal(functools.partial(load_vq, config=VQConfig(width=32)), paths["VQ"])


@pytest.mark.parametrize("bad", [float("nan"), -float("inf")])
def test_weights_that_are_no_numbers(bad: float, linet: Trained, tmp_path: Path) -> None:
    state = {key: tensor.clone() for key, tensor in linet.linet.items()}
    for key in ("model_ema.out2weight", "first_stage_model.quant_conv.bias", "cond_stage_model.model.proj.0.weight"):
        state[key].view(-1)[-1] = bad
    path = save(tmp_path / "LINet.ckpt", state)
    assert refusal(load_unet, path) == "has NaN or infinite weights in model_ema.out2weight"
    assert refusal(load_vq, path) == "has NaN or infinite weights in first_stage_model.quant_conv.bias"
    assert refusal(text_state, path) == "has NaN or infinite weights in cond_stage_model.model.proj.0.weight"
    load_unet(path, ema=False)  # is not concerned


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.complex64, torch.bool])
def test_weights_of_another_kind(dtype: torch.dtype, lmnet: Trained, tmp_path: Path) -> None:
    state = lmnet.lmnet
    state["model_ema.out2bias"] = state["model_ema.out2bias"].to(dtype)
    line = refusal(load_unet, save(tmp_path / "LMNet.ckpt", state))
    assert line == f"has model_ema.out2bias as {str(dtype).removeprefix('torch.')}, and float32 is wanted"


@pytest.mark.parametrize("odd", [torch.empty(1, device="meta"), torch.eye(2).to_sparse()], ids=["meta", "sparse"])
def test_tensors_without_plain_values(odd: Tensor, lmnet: Trained, tmp_path: Path) -> None:
    line = refusal(load_unet, save(tmp_path / "LMNet.ckpt", {**lmnet.lmnet, "model_ema.out2bias": odd}))
    assert line.startswith("holds 'model_ema.out2bias' as ")
    assert "not as a plain tensor" in line


def test_sizes_of_no_network(lmnet: Trained, tmp_path: Path) -> None:
    state = lmnet.lmnet
    state["model.time_embed.0.weight"] = torch.zeros(4, 0)
    assert refusal(load_unet, save(tmp_path / "a.ckpt", state)).startswith(
        "looks like LMNet, but its UNet has no sizes"
    )
    del state["model.time_embed.0.weight"]
    line = refusal(load_unet, save(tmp_path / "b.ckpt", state))
    assert line == "looks like LMNet, but its UNet has no sizes: 'time_embed.0.weight' is missing"


def test_a_header_that_lies(lmnet: Trained, tmp_path: Path) -> None:
    said = description(Network.LMNET, SMALL_LMNET)
    for key, value in {
        "config": "{",
        "config ": json.dumps({"unet": {"width": 8}, "vq": None}),
        "config  ": json.dumps([]),
    }.items():
        path = tmp_path / "LMNet.ckpt"
        write_checkpoint(path, lmnet.lmnet, {**said, key.strip(): value})
        assert "its UNet has no sizes" in refusal(load_unet, path)
    write_checkpoint(tmp_path / "other.ckpt", lmnet.lmnet, description(Network.LMNET, SMALL_LINET))
    assert "misshapen" in refusal(load_unet, tmp_path / "other.ckpt")
