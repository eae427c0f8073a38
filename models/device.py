"""Where networks run and in which numbers."""

from __future__ import annotations

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class DeviceError(ValueError):
    """A device that does not exist, or a dtype nobody knows."""


def resolve_device(name: str) -> torch.device:
    """ "auto" is the first of cuda, mps, cpu that there is. Raises DeviceError, naming what there is."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"no device '{name}'; there is {_present()}, and 'auto'") from error
    missing_cuda = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    missing_mps = device.type == "mps" and not torch.backends.mps.is_available()
    if missing_cuda or missing_mps or device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"no device '{name}' on this machine; there is {_present()}")
    return device


def _present() -> str:
    gpus = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    return ", ".join([*gpus, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"])


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """ "auto" is bfloat16 where the hardware multiplies it, else float32: nothing is measured.

    cuda: compute capability 8.0 (Ampere) and later. cpu: AMX (Intel Sapphire Rapids, 2023, and later) or AVX-512 BF16
    (AMD Zen 4, 2022; Intel Cooper Lake). mps: float32.
    """
    if name == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    if name not in DTYPES:
        raise DeviceError(f"no dtype '{name}'; there is {', '.join(DTYPES)}, and 'auto'")
    return DTYPES[name]


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware has instructions for it; without, bfloat16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        has = torch.cpu.get_capabilities()
        return bool(has.get("amx_bf16") or has.get("avx512_bf16"))
    return False
