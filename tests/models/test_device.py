"""Where networks run: what is there is taken, what is not is named."""

from __future__ import annotations

import pytest
import torch

from models.device import DeviceError, resolve_device, resolve_dtype


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What torch tells of a machine with two."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return monkeypatch


def test_the_processor_is_always_there() -> None:
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU, and the test is of one without")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "xpu", "meta", "gpu", "", "0"])
def test_a_device_that_is_absent_is_named_with_what_is_there(name: str) -> None:
    with pytest.raises(DeviceError, match=rf"^no device '{name}'.*; there is .*cpu"):
        resolve_device(name)


def test_gpus_are_taken_first_and_by_number(two_gpus: pytest.MonkeyPatch) -> None:
    assert resolve_device("auto").type == "cuda"
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(DeviceError, match=r"^no device 'cuda:2' on this machine; there is cuda:0, cuda:1, .*cpu"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx512": True}, torch.float32),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": False}, torch.float32),
    ],
)
def test_bfloat16_only_where_the_processor_multiplies_it(
    capabilities: dict[str, bool], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_dtype("auto", torch.device("cpu")) is dtype


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_bfloat16_from_ampere_on(capability: tuple[int, int], dtype: torch.dtype, two_gpus: pytest.MonkeyPatch) -> None:
    two_gpus.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve_dtype("auto", torch.device("cuda")) is dtype


def test_a_dtype_by_name_or_one_line() -> None:
    assert resolve_dtype("bfloat16", torch.device("cpu")) is torch.bfloat16
    with pytest.raises(DeviceError, match=r"^no dtype 'half'; there is float32, bfloat16, and 'auto'"):
        resolve_dtype("half", torch.device("cpu"))
