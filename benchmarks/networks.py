"""Seconds, peak memory and TFLOP/s of the networks at their published sizes, on this machine's processor or GPU.

python -m benchmarks.networks [--device cpu] [--batch 1] [--repeat 3] [--only linet ...]

Every row is measured in a process of its own, one forward pass with random weights, in three ways: as the reference
computes it (float32; features, attention matrices and the distances to all codes whole), ours in float32, and ours in
bfloat16; with `--ways compiled` ours in bfloat16 through torch.compile. Needs torch and numpy only. The FLOP are those
of the reference's convolutions, products and attention, counted by torch, whatever way they were saved in;
`--peak-tflops` sets them beside what the chip can do.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.layers import slab_values_on
from models.unet import LINET_UNET, LMNET_UNET, UNet
from models.vq import VQ

Size = tuple[int, ...]
Pass = Callable[[], Tensor]

SIZES: dict[str, list[Size]] = {
    "linet": [(16,) * 3, (32,) * 3, (64,) * 3],
    "lmnet": [(48, 112, 112), (64, 152, 152)],
    "vq-encode": [(64,) * 3, (128,) * 3],
    "vq-quantise": [(64,) * 3, (128,) * 3],
    "vq-decode": [(64,) * 3, (128,) * 3],
}
"""Latent voxels for linet, voxels of the CT crop for the others; (z, y, x)."""

WAYS = {
    "reference": torch.float32,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "compiled": torch.bfloat16,
}
TOKENS = 9
MIB = 2**20


def network_pass(network: str, size: Size, batch: int, way: str, device: torch.device) -> tuple[nn.Module, Pass]:
    """The module and one forward pass of it, with random weights and inputs."""
    as_reference = way == "reference"
    layout = torch.contiguous_format if as_reference else torch.channels_last_3d
    slab_values = None if as_reference else slab_values_on(device)
    with device:
        if network.startswith("vq-"):
            vq = VQ(slab_values=slab_values, memory_format=layout)
            vq.to(WAYS[way], memory_format=layout)  # type: ignore[call-overload]
            if way == "compiled":
                vq.encoder.compile()
                vq.decoder.compile()
            return vq, _vq_pass(vq, network, size, batch, as_reference)
        config = {"linet": LINET_UNET, "lmnet": LMNET_UNET}[network]
        unet = UNet(config, slab_values=slab_values, memory_format=layout)
        unet.to(WAYS[way], memory_format=layout)  # type: ignore[call-overload]
        x, context = torch.randn(batch, config.in_channels, *size), torch.randn(batch, TOKENS, config.context_channels)
        t = torch.full((batch,), 500)
        if way == "compiled":
            unet.compile()
        return unet, lambda: unet(x, t, context)


def _vq_pass(vq: VQ, network: str, size: Size, batch: int, as_reference: bool) -> Pass:
    x, z = torch.rand(batch, 1, *size), torch.randn(batch, 4, *(side // 2 for side in size))
    match network:
        case "vq-encode":
            return lambda: vq.encode(x)
        case "vq-quantise":
            return lambda: _quantise_as_reference(vq, z) if as_reference else vq.quantize(z).latent
        case _:
            return lambda: vq.decode(z, quantise=False)


def _quantise_as_reference(vq: VQ, z: Tensor) -> Tensor:
    """All distances in one matrix, and the codes by a product with a one-hot matrix."""
    codes = vq.quantize.embedding.weight
    voxels = z.movedim(1, -1).reshape(-1, z.shape[1])
    distance = voxels.square().sum(1, keepdim=True) + codes.square().sum(1) - 2 * voxels @ codes.T
    chosen = F.one_hot(distance.argmin(1), len(codes)).to(codes.dtype)
    return (chosen @ codes).view(z.shape[0], *z.shape[2:], -1).movedim(-1, 1)


def measure(network: str, size: Size, batch: int, way: str, device: torch.device, repeat: int) -> dict[str, float]:
    """Seconds of the fastest of `repeat` passes after one to warm up, MiB beyond weights and inputs, TFLOP."""
    torch.manual_seed(0)
    module, forward = network_pass(network, size, batch, way, device)
    module.eval()
    attention = sdpa_kernel(SDPBackend.MATH) if way == "reference" else nullcontext()
    with torch.inference_mode(), attention:
        before = memory_mib(device, reset=True)
        forward()
        peak = memory_mib(device) - before
        seconds = min(_timed(forward, device) for _ in range(repeat))
    return {"seconds": seconds, "peak_mib": peak, "tflop": _tflop(network, size, batch)}


def _timed(forward: Pass, device: torch.device) -> float:
    began = time.perf_counter()
    forward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def memory_mib(device: torch.device, *, reset: bool = False) -> float:
    """Peak since the last reset: allocated on the GPU, resident of the process on a CPU."""
    if device.type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.max_memory_allocated(device) / MIB
    status = Path("/proc/self/status")
    if not status.exists():  # no way to reset: what the process ever held
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024


def _tflop(network: str, size: Size, batch: int) -> float:
    if network == "vq-quantise":
        return 0.0
    meta = torch.device("meta")
    _, forward = network_pass(network, size, batch, "reference", meta)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):
        forward()
    return float(counter.get_total_flops() / 1e12)


def in_own_process(network: str, size: Size, way: str, asked: argparse.Namespace) -> dict[str, float] | str:
    """The figures, or in one line why there are none."""
    row = json.dumps([network, size, asked.batch, way, asked.device, asked.repeat])
    done = subprocess.run([sys.executable, "-m", "benchmarks.networks", "--row", row], capture_output=True, text=True)
    if done.returncode == 0:
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return figures
    last = (done.stderr.strip().splitlines() or ["killed"])[-1]
    return "out of memory" if "memory" in last or done.returncode < 0 else last[:60]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=["reference", "float32", "bfloat16"])
    parser.add_argument("--peak-tflops", type=float, help="of the chip in bfloat16, such as 989 for an H100")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.row:
        network, size, batch, way, device, repeat = json.loads(asked.row)
        print(json.dumps(measure(network, tuple(size), batch, way, torch.device(device), repeat)))
        return
    print(f"torch {torch.__version__}, {asked.device}, {torch.get_num_threads()} threads, batch {asked.batch}")

    def of_peak(found: dict[str, float]) -> str:
        return f"{found['tflop'] / found['seconds'] / asked.peak_tflops:7.0%}" if asked.peak_tflops else ""

    columns = f"{'seconds':>9}{'ratio':>7}{'peak MiB':>10}{'ratio':>7}{'TFLOP':>8}{'TFLOP/s':>9}"
    print(f"{'network':<12}{'size':<14}{'way':<11}{columns}")
    for network in asked.only:
        for size in SIZES[network]:
            base: dict[str, float] | None = None
            for way in asked.ways:
                found = in_own_process(network, size, way, asked)
                label = f"{network:<12}{'x'.join(map(str, size)):<14}{way:<11}"
                if isinstance(found, str):
                    print(f"{label}  {found}", flush=True)
                    continue
                base = base or found
                faster, smaller = base["seconds"] / found["seconds"], base["peak_mib"] / max(found["peak_mib"], 1)
                print(
                    f"{label}{found['seconds']:9.2f}{faster:7.1f}{found['peak_mib']:10.0f}{smaller:7.1f}"
                    f"{found['tflop']:8.2f}{found['tflop'] / found['seconds']:9.3f}{of_peak(found)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
