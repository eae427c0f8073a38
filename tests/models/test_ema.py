"""The moving average against the reference's numbers, and its swap in and out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from golden import Golden, error
from models.ema import Ema, key_of


def small(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def put(module: nn.Module, golden: Golden, step: int) -> None:
    case = golden.case("ema")
    module.load_state_dict({name: case[f"p{step}.{name}"] for name in module.state_dict()})


def test_reference(golden: Golden) -> None:
    case, module = golden.case("ema"), small()
    put(module, golden, 0)
    ema = Ema(module, case.config["decay"])
    for step in range(1, case.config["updates"] + 1):
        put(module, golden, step)
        ema.update(module)
        stored = {key.split(".", 1)[1]: case[key] for key in case.arrays if key.startswith(f"ema{step}.")}
        if stored:
            assert list(ema.state_dict()) == list(stored)
            assert {key: error(ema.state_dict()[key], value) < 1e-6 for key, value in stored.items()} == dict.fromkeys(
                stored, True
            )
            assert ema.num_updates.dtype == stored["num_updates"].dtype
    assert int(ema.num_updates) == 12


def test_averaged_and_back() -> None:
    module = small()
    ema = Ema(module)
    for parameter in module.parameters():
        parameter.mul_(3)
    ema.update(module)
    own = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    there = [parameter.data_ptr() for parameter in module.parameters()]

    def inside() -> None:
        with ema.averaged(module):
            for name, parameter in module.named_parameters():
                assert torch.equal(parameter, ema.state_dict()[key_of(name)])
                assert not torch.equal(parameter, own[name])
            raise InterruptedError

    with pytest.raises(InterruptedError):
        inside()
    assert all(torch.equal(tensor, own[name]) for name, tensor in module.state_dict().items())
    assert [parameter.data_ptr() for parameter in module.parameters()] == there


def test_bfloat16_parameters_are_averaged_in_float32() -> None:
    module = small().to(torch.bfloat16)
    ema = Ema(module)
    start = ema.state_dict()["0weight"].clone()
    for parameter in module.parameters():
        parameter.mul_(1.0078125)  # the next bfloat16
    ema.num_updates.fill_(100_000)
    ema.update(module)
    moved = ema.state_dict()["0weight"]
    assert moved.dtype == torch.float32
    assert error(moved, start + 1e-4 * (module[0].weight.float() - start)) < 1e-6
    assert not torch.equal(moved, start)
    with ema.averaged(module):
        assert module[0].weight.dtype == torch.bfloat16


def test_state_comes_back() -> None:
    module, other = small(0), small(1)
    ema, again = Ema(module, 0.5), Ema(other)
    ema.update(other)
    again.load_state_dict(ema.state_dict())
    for average in (ema, again):
        average.update(module)
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in ema.state_dict().items())


def test_under_ddp(tmp_path: Path) -> None:
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        averages_are_those_without_ddp()
    finally:
        dist.destroy_process_group()


def averages_are_those_without_ddp() -> None:
    """In a function of its own: a DDP wrapper that outlives its process group can wait for it forever."""
    module, alone = small(), small()
    ddp = DistributedDataParallel(module)
    ema, bare = Ema(ddp), Ema(alone)
    with torch.enable_grad():
        ddp(torch.ones(2, 3)).sum().backward()
        alone(torch.ones(2, 3)).sum().backward()
    for network in (module, alone):
        torch.optim.SGD(network.parameters(), 0.1).step()
    ema.update(ddp)
    bare.update(alone)
    assert list(ema.state_dict()) == list(bare.state_dict())
    assert all(torch.equal(tensor, bare.state_dict()[key]) for key, tensor in ema.state_dict().items())
    with ema.averaged(ddp):
        assert torch.equal(module[0].weight, ema.state_dict()["0weight"])


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match=r"decay is 1\.5"):
        Ema(small(), 1.5)
    with pytest.raises(ValueError, match=r"'0.weight' \(5, 3\) is not among those averaged"):
        Ema(small()).update(nn.Sequential(nn.Linear(3, 5)))
    collide = nn.ModuleDict({"ab": nn.ModuleDict({"c": nn.Linear(1, 1)}), "a": nn.ModuleDict({"bc": nn.Linear(1, 1)})})
    with pytest.raises(ValueError, match="both 'abcweight' without dots"):
        Ema(collide)
