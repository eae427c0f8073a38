"""The VQ-GAN against the reference's numbers, and by slabs against whole."""

from __future__ import annotations

import pytest
import torch

from golden import Case, Golden, error, fill, vq_config
from models.vq import PUBLISHED_VQ, VQ, Quantiser, VQConfig

WAYS = pytest.mark.parametrize("slab_values", [None, 3000, 10**9], ids=["whole", "slabs", "one-slab"])


def stored_vq(case: Case, slab_values: int | None = None) -> VQ:
    vq = VQ(vq_config(case.config["params"]), slab_values=slab_values)
    vq.load_state_dict(case.weights)
    return vq.eval()


def check_codes(vq: VQ, case: Case) -> None:
    found = vq.quantize(case["z"])
    certain = case["index_margin"].flatten() > 1e-5
    assert torch.equal(found.indices.flatten()[certain], case["indices"].flatten()[certain])
    assert float(certain.float().mean()) > 0.99
    wrong = (found.latent - case["z_quantized"]).abs().amax(dim=1).flatten() > 1e-6
    assert not bool((wrong & certain).any())


@pytest.mark.usefixtures("shortcuts")
@WAYS
def test_reference(golden: Golden, slab_values: int | None) -> None:
    case = golden.case("vq")
    vq = stored_vq(case, slab_values)
    assert error(vq.encode(case["x"]), case["z"]) < 2e-5
    check_codes(vq, case)
    assert error(vq.decode(case["z"]), case["dec_quantized"]) < 5e-5
    assert error(vq.decode(case["z"], quantise=False), case["dec_not_quantized"]) < 5e-5


@pytest.mark.usefixtures("shortcuts")
@WAYS
def test_reference_of_odd_size(golden: Golden, slab_values: int | None) -> None:
    case = golden.case("vq")
    vq = stored_vq(case, slab_values)
    assert error(vq.encode(case["x_odd"]), case["z_odd"]) < 2e-5
    assert error(vq.decode(case["z_odd"]), case["dec_odd"]) < 5e-5


def test_published_size(golden: Golden) -> None:
    case = golden.case("full_vq")
    vq = VQ(vq_config(case.config["params"])).eval()
    assert vq.config == PUBLISHED_VQ
    fill(vq, case.config["fill_seed"], case.config["weights_sha256"])
    assert error(vq.encode(case["x"]), case["z"]) < 2e-5
    check_codes(vq, case)
    assert error(vq.decode(case["z"]), case["dec_quantized"]) < 5e-5


def test_published_keys_and_shapes(golden: Golden) -> None:
    with torch.device("meta"):
        ours = {key: tuple(tensor.shape) for key, tensor in VQ().state_dict().items()}
    assert list(ours.items()) == list(golden.manifest("vq_interface").items())


def test_input_is_left_alone(golden: Golden) -> None:
    case = golden.case("vq")
    vq, x, z = stored_vq(case, 5000), case["x"], case["z"]
    vq.encode(x)
    vq.decode(z)
    assert torch.equal(x, golden.case("vq")["x"])
    assert torch.equal(z, golden.case("vq")["z"])


def test_codes_are_the_same_under_autocast() -> None:
    torch.manual_seed(0)
    quantiser, z = Quantiser(VQConfig(codes=512)), torch.randn(1, 4, 8, 8, 8) / 512
    with torch.autocast("cpu", torch.bfloat16):
        found = quantiser(z).indices
    assert torch.equal(found, quantiser(z).indices)


def test_groups_of_the_normalisation() -> None:
    """Half as many groups have twice the channels, and the weights' names and shapes say nothing of it."""
    sixteen, four = (VQ(VQConfig(width=16, codes=8, groups=groups)) for groups in (16, 4))
    four.load_state_dict(sixteen.state_dict())
    norms = [module for module in four.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert {(norm.num_groups, norm.num_channels) for norm in norms} == {(4, 16)}
    x = torch.rand(1, 1, 8, 8, 8)
    assert not torch.allclose(sixteen.encode(x), four.encode(x), atol=1e-3)
