"""Minutes and peak memory of one lesion, end to end, with networks of their published sizes.

python -m benchmarks.one_lesion [--device cpu] [--dtype auto] [--sampler unipc] [--steps 15] [--batch 1]
python -m benchmarks.one_lesion --recipe reference [--volume 300 360 360]

LMNet draws a mask in 64 x 152 x 152 mm, LINet paints it into 128 x 128 x 128 mm: sampling, VQ encoding and decoding, as
a run does it. The weights are random, so what comes out is noise; it takes as long. `ONEDNN_MAX_CPU_ISA=AVX2
MKL_ENABLE_INSTRUCTIONS=AVX2 ATEN_CPU_CAPABILITY=avx2` before the command hold a processor to what others have (then
with `--dtype float32`, as they would take). The reference's recipe is float16, 200 steps of DDIM, its tables too in
float16, and the whole volume (z y x, mm) through the VQ-GAN. Needs torch, numpy, scipy and diffusers only.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from models.attributes import AttributeConfig, AttributeEncoder
from models.batches import Batches
from models.device import resolve_device, resolve_dtype
from models.layers import slab_values_on
from models.linet import LINet
from models.linet import PaintRequest as ToPaint
from models.lmnet import LMNet
from models.lmnet import MaskRequest as ToDraw
from models.noise import SeededNoise
from models.samplers import make_sampler
from models.unet import LINET_UNET, LMNET_UNET, UNet, UNetConfig
from models.vq import VQ

LMNET_CROP, LINET_CROP = (64, 152, 152), (128, 128, 128)
ATTRIBUTES = {f"attribute {n}": "value" for n in range(9)}
RADIUS_VOX = 14


def ball(shape: tuple[int, ...]) -> np.ndarray:
    index = np.indices(shape).reshape(3, -1) - np.reshape(shape, (3, 1)) / 2
    return (np.linalg.norm(index, axis=0) < RADIUS_VOX).reshape(shape)


@contextmanager
def told(what: str, device: torch.device) -> Iterator[None]:
    began = time.perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    print(f"{what:<38}{time.perf_counter() - began:9.1f} s", flush=True)


def unet(config: UNetConfig, device: torch.device, dtype: torch.dtype) -> UNet:
    with device:
        return UNet(config, slab_values=slab_values_on(device)).to(dtype).eval()


def peak_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def paint(linet: LINet, asked: argparse.Namespace) -> None:
    if asked.recipe == "reference":
        shape = tuple(asked.volume)
        noise = SeededNoise([0], (4, *(side // 2 for side in LINET_CROP)), asked.device)
        linet.paint_volume(torch.rand(shape), torch.from_numpy(ball(shape)), [ATTRIBUTES], [noise], LINET_CROP)
        return
    mask, image = torch.from_numpy(ball(LINET_CROP)), torch.rand(LINET_CROP)
    linet.paint([ToPaint(image, mask, ATTRIBUTES, seed) for seed in range(asked.batch)])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--sampler", default="unipc")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--recipe", choices=("ours", "reference"), default="ours")
    parser.add_argument("--reference-steps", type=int, default=200, help="fewer for a trial of the script")
    parser.add_argument("--volume", type=int, nargs=3, default=(300, 360, 360), help="of the reference's recipe")
    asked = parser.parse_args()
    device = resolve_device(asked.device)
    dtype, sampler = resolve_dtype(asked.dtype, device), make_sampler(asked.sampler, asked.steps)
    if asked.recipe == "reference":
        asked.sampler, asked.steps, asked.batch = "ddim", asked.reference_steps, 1
        dtype, sampler = torch.float16, make_sampler("ddim", asked.steps, half=True)
    print(f"torch {torch.__version__}, {device}, {dtype}, {torch.get_num_threads()} threads")
    print(f"{torch.backends.cpu.get_cpu_capability()}; {asked.sampler} {asked.steps}, batch {asked.batch}")
    torch.manual_seed(0)
    began = time.perf_counter()
    vocabulary = tuple((name, ("value",)) for name in ATTRIBUTES)
    text = AttributeEncoder(AttributeConfig(vocabulary=vocabulary)).to(device).eval()
    batches = Batches(asked.batch)
    with told("networks made", device):
        lmnet = LMNet(unet(LMNET_UNET, device, dtype), sampler, text, batches=batches)
        with device:
            vq = VQ(slab_values=slab_values_on(device)).to(dtype).eval()
        linet = LINet(unet(LINET_UNET, device, dtype), vq, sampler, text, batches=batches)
    started = time.perf_counter()
    with told(f"LMNet, {asked.batch} masks", device):
        organs = np.full(LMNET_CROP, 5, np.uint8)
        lmnet.draw(
            [ToDraw(organs, organs > 0, ball(LMNET_CROP), ATTRIBUTES, 8000, seed) for seed in range(asked.batch)]
        )
    with told(f"VQ encode, LINet, VQ decode, {asked.batch} crops", device):
        paint(linet, asked)
    each = (time.perf_counter() - started) / asked.batch
    print(
        f"a lesion: {each / 60:.1f} minutes, {3600 / each:.1f} an hour; with start {time.perf_counter() - began:.0f} s"
    )
    print(f"peak memory {peak_gib(device):.2f} GiB")


if __name__ == "__main__":
    main()
