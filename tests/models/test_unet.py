"""The UNet against the reference's numbers, and against itself by other ways of computing it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from golden import Golden, error, fill, unet_config
from models.unet import LINET_UNET, LMNET_UNET, UNet, UNetConfig

TOLERANCE = 2e-5  # as the reference's own thread counts differ, with room
WAYS = pytest.mark.parametrize("slab_values", [None, 1, 400, 10**9], ids=["whole", "planes", "slabs", "one-slab"])


def stored_unet(golden: Golden, name: str, slab_values: int | None = None) -> UNet:
    case = golden.case(name)
    unet = UNet(unet_config(case.config["params"]), slab_values=slab_values)
    unet.load_state_dict(case.weights)
    return unet.eval()


@pytest.mark.usefixtures("shortcuts")
@WAYS
@pytest.mark.parametrize("name", ["unet_lmnet", "unet_linet_ctx"])
def test_reference_with_context(golden: Golden, name: str, slab_values: int | None) -> None:
    case, unet = golden.case(name), stored_unet(golden, name, slab_values)
    assert error(unet(case["x"], case["t"], case["context"]), case["y"]) < TOLERANCE
    assert error(unet(case["x"], case["t"], 0.5 * case["context"]), case["y_context_scaled_half"]) < TOLERANCE


@pytest.mark.usefixtures("shortcuts")
@WAYS
def test_reference_without_context(golden: Golden, slab_values: int | None) -> None:
    case, unet = golden.case("unet_linet_skip"), stored_unet(golden, "unet_linet_skip", slab_values)
    assert error(unet(case["x"], case["t"]), case["y"]) < TOLERANCE


@pytest.mark.parametrize("name", ["unet_lmnet", "unet_linet_ctx"])
def test_reference_step_by_step(golden: Golden, name: str) -> None:
    case, unet = golden.case(name), stored_unet(golden, name)
    inside: dict[str, Tensor] = {}
    watched = {
        "time_embed": unet.time_embed,
        "input_blocks.0": unet.input_blocks[0],
        "input_blocks.last": unet.input_blocks[-1],
        "middle_block": unet.middle_block,
        "output_blocks.0": unet.output_blocks[0],
    }
    for key, module in watched.items():
        module.register_forward_hook(lambda _module, _given, made, key=key: inside.update({key: made}))
    unet(case["x"], case["t"], case["context"])
    assert {key: error(inside[key], case[f"h.{key}"]) < TOLERANCE for key in watched} == dict.fromkeys(watched, True)


@pytest.mark.parametrize(("name", "config"), [("lmnet", LMNET_UNET), ("linet", LINET_UNET)])
def test_published_keys_and_shapes(golden: Golden, name: str, config: UNetConfig) -> None:
    with torch.device("meta"):
        ours = {key: tuple(tensor.shape) for key, tensor in UNet(config).state_dict().items()}
    assert list(ours.items()) == list(golden.manifest(f"unet_{name}").items())


def test_published_size_of_lmnet(golden: Golden) -> None:
    case = golden.case("full_lmnet")
    unet = UNet(LMNET_UNET).eval()
    fill(unet, case.config["fill_seed"], case.config["weights_sha256"])
    assert error(unet(case["x"], case["t"], case["context"]), case["y"]) < TOLERANCE


def test_published_size_of_linet(golden: Golden) -> None:
    case = golden.case("full_linet")
    unet = UNet(LINET_UNET).eval()
    fill(unet, case.config["fill_seed"], case.config["weights_sha256"])
    assert error(unet(case["x"], case["t"], case["context"]), case["y_context"]) < TOLERANCE
    assert error(unet(case["x"], case["t"]), case["y_skip_context"]) < TOLERANCE

    exact = case["y_context"]
    unet.to(torch.bfloat16)
    rough = unet(case["x"], case["t"], case["context"]).float()
    assert float((rough - exact).norm() / exact.norm()) < 2e-2


def test_groups_of_the_normalisation() -> None:
    """Names and shapes of the weights say nothing of them."""
    config = UNetConfig(in_channels=4, out_channels=1, width=16, res_blocks=1, context_channels=32, groups=4)
    with torch.device("meta"):
        norms = [module for module in UNet(config).modules() if isinstance(module, torch.nn.GroupNorm)]
        published = UNet(replace(config, groups=32)).state_dict()
        assert {n: t.shape for n, t in UNet(config).state_dict().items()} == {n: t.shape for n, t in published.items()}
    assert {norm.num_groups for norm in norms} == {4}
