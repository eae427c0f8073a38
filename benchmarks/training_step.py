"""Seconds and peak memory of one training step of LINet, ours against the structure of the released training.

python -m benchmarks.training_step [--width 64] [--crop 64] [--batch 2] [--device cpu] [--peak-tflops 989]

A step is all that is done for a batch: the crop through the frozen VQ-GAN, the UNet forward and backward, AdamW, and
the average of the weights. *Reference* is float32 in torch's default layout, attention matrices whole, attention blocks
always recomputed backward, an optimiser and an average that go from parameter to parameter. Ours are
`models.training`'s modules as Lightning calls them. Random weights and crops. Needs torch, numpy and lightning only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks import memory_mib
from models.attributes import AttributeConfig, AttributeEncoder
from models.diffusion import Noising
from models.ema import Ema
from models.linet import latent_mask
from models.training.batch import Batch, Example, collate
from models.training.linet_module import LINetModule
from models.training.module import make_module
from models.training.objectives import linet_input, linet_terms
from models.training.recipe import Recipe
from models.unet import SpatialTransformer, UNet, UNetConfig
from models.vq import VQ, VQConfig

WAYS = ("reference", "float32", "bfloat16", "compiled")
ATTRIBUTES = {f"attribute {n}": "value" for n in range(9)}
TOKEN_CHANNELS = 512
STEPS = 1000

Step = Callable[[], Tensor]


def unet_config(width: int) -> UNetConfig:
    return UNetConfig(in_channels=5, out_channels=5, width=width, res_blocks=2, context_channels=TOKEN_CHANNELS)


def text_encoder() -> AttributeEncoder:
    return AttributeEncoder(AttributeConfig(vocabulary=tuple((name, ("value",)) for name in ATTRIBUTES)))


def crops(batch: int, side: int) -> Batch:
    """Noise with a cube of a lesion in it."""
    random = np.random.default_rng(0)
    label = torch.ones((side,) * 3, dtype=torch.uint8)
    middle = slice(side // 4, 3 * side // 4)
    label[middle, middle, middle] = 2
    organs = torch.full_like(label, 5)
    return collate(
        [
            Example(torch.from_numpy(random.random((1, side, side, side), np.float32)), organs, label, (5,), {},
                    ATTRIBUTES, None, seed)
            for seed in range(batch)
        ]
    )  # fmt: skip


def our_step(asked: argparse.Namespace, device: torch.device) -> Step:
    recipe = Recipe(network="linet", to_hu=lambda unit: unit, unet=unet_config(asked.width),
                    compile=asked.way == "compiled")  # fmt: skip
    module = make_module(recipe, vq=VQ(VQConfig()), text=text_encoder()).to(device)
    assert isinstance(module, LINetModule)
    module.told = lambda *_: None  # type: ignore[method-assign] # there is no trainer to log to
    optimiser, batch = module.configure_optimizers()["optimizer"], crops(asked.batch, asked.crop)
    half = asked.way != "float32"

    def step() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = module.training_step(batch, 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        module.ema.update(module.unet)
        return loss.detach()

    return step


def reference_step(asked: argparse.Namespace, device: torch.device) -> Step:
    unet = UNet(unet_config(asked.width), slab_values=None, memory_format=torch.contiguous_format).to(device)
    for part in unet.modules():
        if isinstance(part, SpatialTransformer):
            part.forward = partial(checkpoint, part.forward, use_reentrant=False)  # type: ignore[method-assign]
    vq = VQ(slab_values=None, memory_format=torch.contiguous_format).to(device).requires_grad_(False)
    text, noising, average = text_encoder().to(device), Noising.of(device=device), Ema(unet)
    optimiser = torch.optim.AdamW([*unet.parameters(), *text.parameters()], lr=2e-5, foreach=False, fused=False)
    batch = crops(asked.batch, asked.crop)
    mask = torch.stack([latent_mask(example.label == 2) for example in batch.examples])[:, None].to(device).float()

    def step() -> Tensor:
        with torch.no_grad():
            z0 = vq.encode(batch.images(device))
        eps, t = batch.noise(z0.shape[1:], device), batch.timesteps(STEPS, device)
        tokens = text.encode([example.paint_text for example in batch.examples])
        loss = linet_terms(eps, unet(linet_input(z0, mask, eps, t, noising), t, tokens), mask).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average.update(unet)
        return loss.detach()

    return step


def measure(asked: argparse.Namespace) -> dict[str, float]:
    """Seconds of the fastest of `repeat` steps after one to warm up, MiB beyond weights and optimiser, the loss."""
    torch.manual_seed(0)
    device = torch.device(asked.device)
    with ExitStack() as stack:
        if asked.way == "reference":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        step = (reference_step if asked.way == "reference" else our_step)(asked, device)
        before = memory_mib(device, reset=True)
        loss = float(step())
        peak = memory_mib(device) - before
        seconds = min(_timed(step) for _ in range(asked.repeat))
    return {"seconds": seconds, "peak_mib": peak, "loss": loss}


def _timed(step: Step) -> float:
    began = time.perf_counter()
    float(step())  # waits for the device
    return time.perf_counter() - began


def tflop(asked: argparse.Namespace) -> float:
    """Of the reference's step without what it recomputes: forward and backward of the UNet, and the VQ-GAN."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        unet, vq = UNet(unet_config(asked.width), slab_values=None), VQ(slab_values=None)
        with torch.no_grad():
            z0 = vq.encode(torch.rand(asked.batch, 1, *(asked.crop,) * 3))
        seen = torch.cat([z0, z0[:, :1]], dim=1)
        tokens = torch.rand(asked.batch, len(ATTRIBUTES), TOKEN_CHANNELS)
        unet(seen, torch.zeros(asked.batch, dtype=torch.int64), tokens).sum().backward()
    return float(counter.get_total_flops() / 1e12)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=64, help="of the UNet; 128 is the published one")
    parser.add_argument("--crop", type=int, default=64, help="mm along each side; 128 is the published one")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS[:3])
    parser.add_argument("--peak-tflops", type=float, help="of the chip in bfloat16, such as 989 for an H100")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        print(json.dumps(measure(asked)))
        return
    work = tflop(asked)
    print(f"torch {torch.__version__}, {asked.device}, {torch.get_num_threads()} threads; width {asked.width}, "
          f"{asked.crop} mm, batch {asked.batch}: {work:.2f} TFLOP a step")  # fmt: skip
    print(f"{'way':<11}{'s a step':>9}{'ratio':>7}{'peak MiB':>10}{'TFLOP/s':>9}{'loss':>9}")
    base = 0.0
    for way in asked.ways:
        done = subprocess.run([sys.executable, "-m", "benchmarks.training_step", *sys.argv[1:], "--way", way],
                              capture_output=True, text=True)  # fmt: skip
        if done.returncode:
            print(f"{way:<11}  {(done.stderr.strip().splitlines() or ['killed'])[-1][:80]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        base = base or found["seconds"]
        share = f"{work / found['seconds'] / asked.peak_tflops:7.0%}" if asked.peak_tflops else ""
        print(f"{way:<11}{found['seconds']:9.2f}{base / found['seconds']:7.1f}{found['peak_mib']:10.0f}"
              f"{work / found['seconds']:9.3f}{found['loss']:9.4f}{share}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
