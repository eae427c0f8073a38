"""Do the data teach anything? A small U-Net learns from procedural samples and looks for lesions in unseen bodies.

python -m benchmarks.learning [--train 40] [--unseen 20] [--steps 1600]

Forty phantoms get lesions in liver, spleen and kidneys; a U-Net in the manner of nnU-Net's 2D configuration (instance
normalisation, leaky ReLU, strided convolutions, Dice and cross-entropy; three neighbouring slices in, the middle one
out) trains on them for minutes on a processor, and is then judged on twenty bodies that it has not seen: Dice of the
lesion class before and after, beside that of calling all a lesion.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from rich.console import Console
from scipy import ndimage
from torch import nn
from torch.nn import functional

from engine.phantom.body import make_phantom
from jobs.generate import generate

SPACING_MM, SHAPE, CENTRE_MM = (4.0, 4.0, 4.0), (96, 72, 64), (0.0, 0.0, 20.0)
BATCH, WITH_LESION = 8, 5  # slices, and how many of them show a lesion
WINDOW_HU = (-150.0, 250.0)
LEARNING_RATE = 2e-3
LESION_WEIGHT = 3.0  # in the cross-entropy: without, all is background for the first thousands of steps
LESION = 2

Volume = tuple[torch.Tensor, torch.Tensor]
"""HU in [-1, 1] (1, i, j, k) float32, and where the lesions are (i, j, k) int64."""


class Block(nn.Sequential):
    def __init__(self, into: int, out: int, stride: int = 1) -> None:
        layers: list[nn.Module] = []
        for channels, step in ((into, stride), (out, 1)):
            layers += [
                nn.Conv2d(channels, out, 3, stride=step, padding=1),
                nn.InstanceNorm2d(out, affine=True),
                nn.LeakyReLU(0.01),
            ]
        super().__init__(*layers)


class SmallUNet(nn.Module):
    """{background, lesion} logits; the sides of its input are multiples of 8."""

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 64)) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            Block(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(zip((3, *widths), widths, strict=False))
        )
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.merge = nn.ModuleList(Block(2 * b, b) for _, b in pairs)
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat([up(x), skip], dim=1))
        out: torch.Tensor = self.head(x)
        return out


def make_samples(folder: Path, count: int, seed: int) -> list[Volume]:
    """`count` phantoms with lesions, through the whole engine."""
    rows = []
    for number in range(count):
        phantom = make_phantom(seed + number, shape=SHAPE, spacing_mm=SPACING_MM, centre_mm=CENTRE_MM)
        case = folder / f"body-{number:02d}"
        case.mkdir(parents=True)
        nib.save(nib.Nifti1Image(phantom.hu, phantom.grid.affine), case / "ct.nii.gz")
        nib.save(nib.Nifti1Image(phantom.organs, phantom.grid.affine), case / "organs.nii.gz")
        rows.append({"case_id": case.name, "ct": f"{case.name}/ct.nii.gz", "organs": f"{case.name}/organs.nii.gz"})
    (folder / "cases.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    mix = [{"organ": organ, "weight": weight} for organ, weight in (("liver", 3), ("spleen", 1), ("kidney", 1))]
    settings = {
        "output": str(folder / "run"),
        "seed": seed,
        "cases": {"source": str(folder / "cases.jsonl")},
        "lesions": {"per_sample": [1, 3], "mix": mix},
        "write": {"preview": 0},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    if generate(str(folder / "run.yaml")) != 0:
        raise RuntimeError("some samples have failed")
    return [_read(image) for image in sorted(folder.glob("run/nnUNet_raw/*/shard-*/*_0000.nii.gz"))]


def _read(image: Path) -> Volume:
    label = image.with_name(image.name.replace("_0000", ""))
    hu = nib.load(image).get_fdata(dtype=np.float32)  # type: ignore[attr-defined]
    low, high = WINDOW_HU
    scaled = np.clip((hu - low) / (high - low) * 2 - 1, -1, 1)
    lesion = np.asarray(nib.load(label).dataobj) == LESION  # type: ignore[attr-defined]
    return torch.from_numpy(scaled)[None], torch.from_numpy(lesion.astype(np.int64))


def train(net: SmallUNet, samples: Sequence[Volume], steps: int, rng: np.random.Generator) -> None:
    """Axial slices, most of them with a lesion, with nnU-Net's polynomial schedule."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimiser, steps, power=0.9)
    everywhere = [(n, k) for n, (_, lesion) in enumerate(samples) for k in range(lesion.shape[-1])]
    on_lesion = [(n, k) for n, k in everywhere if samples[n][1][:, :, k].any()]
    net.train()
    for _ in range(steps):
        chosen = [on_lesion[int(rng.integers(len(on_lesion)))] for _ in range(WITH_LESION)]
        chosen += [everywhere[int(rng.integers(len(everywhere)))] for _ in range(BATCH - WITH_LESION)]
        pairs = [(_slices(samples[n][0], k), samples[n][1][:, :, k]) for n, k in chosen]
        image, lesion = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        loss = _loss(net(image.to(memory_format=torch.channels_last)), lesion)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def _slices(image: torch.Tensor, k: int) -> torch.Tensor:
    """Slice k (3, i, j) between its neighbours; at the ends it is its own."""
    last = image.shape[-1] - 1
    return torch.stack([image[0, :, :, min(max(k + step, 0), last)] for step in (-1, 0, 1)])


def _loss(logits: torch.Tensor, lesion: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy and soft Dice of the lesion over the batch, after nnU-Net (Isensee et al. 2021)."""
    probability, truth = logits.softmax(1)[:, 1], lesion.float()
    dice = (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    weights = logits.new_tensor([1.0, LESION_WEIGHT])
    return functional.cross_entropy(logits, lesion, weight=weights) + 1 - dice


@torch.no_grad()
def find(net: SmallUNet, image: torch.Tensor) -> NDArray[np.bool_]:
    """Lesions in a whole volume, slice by slice."""
    net.eval()
    slices = torch.stack([_slices(image, k) for k in range(image.shape[-1])])
    return np.moveaxis(np.asarray(net(slices).argmax(1).numpy() == 1), 0, -1)


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(2 * (found & truth).sum() / max(found.sum() + truth.sum(), 1))


def lesions_found(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[int, int]:
    """How many lesions are hit by a tenth of their voxels or more, and how many there are."""
    pieces, count = ndimage.label(truth)
    return sum(bool(found[pieces == i].mean() >= 0.1) for i in range(1, count + 1)), count


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", type=int, default=40)
    parser.add_argument("--unseen", type=int, default=20)
    parser.add_argument("--steps", type=int, default=1600)
    asked = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        seen = make_samples(Path(scratch) / "train", asked.train, seed=1000)
        unseen = make_samples(Path(scratch) / "unseen", asked.unseen, seed=9000)
    net = SmallUNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    truths = [lesion.numpy() == 1 for _, lesion in unseen]
    before = [dice(find(net, image), truth) for (image, _), truth in zip(unseen, truths, strict=True)]
    chance = [dice(np.ones_like(truth), truth) for truth in truths]
    began = time.monotonic()
    train(net, seen, asked.steps, np.random.default_rng(0))
    minutes = (time.monotonic() - began) / 60
    found = [find(net, image) for image, _ in unseen]
    after = [dice(f, truth) for f, truth in zip(found, truths, strict=True)]
    hits = [lesions_found(f, truth) for f, truth in zip(found, truths, strict=True)]
    console = Console(highlight=False)
    console.print(f"trained on {len(seen)} samples: {asked.steps} steps in {minutes:.1f} min")
    console.print(f"Dice in {len(unseen)} unseen bodies: everything called lesion {np.mean(chance):.3f}")
    console.print(f"  untrained {np.mean(before):.3f}; trained {np.mean(after):.3f} (median {np.median(after):.3f})")
    console.print(f"  lesions found: {sum(h for h, _ in hits)} of {sum(n for _, n in hits)}")


if __name__ == "__main__":
    main()
