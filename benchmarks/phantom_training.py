"""Can the networks learn to make lesions that are known? The whole chain, from nothing, on phantoms and a processor.

Procedural lesions in 30 phantoms teach a small VQ-GAN, LMNet and LINet, which then make lesions in ten phantoms that
they have never seen: 40 with their reports told to both, and the same 40 with nothing told to LINet. Every lesion is
drawn once: one that a gate refuses counts as not obeyed. Measured from the files by nibabel; but whether a lesion made
its place brighter or darker is what the gate measured, for it tells that of those that it refuses, too.

python -m benchmarks.phantom_training [--output runs/phantom-training] [--ship models/phantom]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.lesion_measures import manifest
from engine.core.anatomy import V1_IDS
from engine.core.errors import EXIT_DONE, EXIT_SOME_FAILED
from engine.core.geometry import Box
from engine.core.intensity import AIR_HU, hu_to_unit
from engine.core.report import Report
from engine.io.volumes import read_volume
from models.checkpoints import load_vq
from models.training.measures import psnr_db

CONFIGS = "configs/train"
SEEN, UNSEEN = 30, 10
VARIANTS = 4
VOLUME_SHARE = 0.3
"""How far a lesion's volume may be from the one asked for."""
CROP, CROPS_A_PHANTOM = (32, 32, 32), 20
_LESION = 2
_WRONG_WAY = re.compile(r"mean shift is \S+ HU, it should (rise|fall)")


@dataclass(frozen=True)
class Made:
    """One lesion asked for; `above_hu` and `volume_ratio` are None where a gate refused it.

    `sign` is 1 for brighter than its organ; `above_hu` its mean against the mean of the organ in the source; `turned`
    whether its place became brighter or darker as it should, None where another gate refused it.
    """

    sample: str
    sign: int = 0
    above_hu: float | None = None
    volume_ratio: float | None = None
    turned: bool | None = None
    refused: str = ""

    @property
    def obeyed(self) -> bool:
        return self.above_hu is not None and self.above_hu * self.sign > 0

    @property
    def right_volume(self) -> bool:
        return self.volume_ratio is not None and abs(self.volume_ratio - 1) <= VOLUME_SHARE


def run(*words: str) -> float:
    """`lesionforge` in a process of its own; seconds. Raises CalledProcessError, but for samples that were refused."""
    print("$ lesionforge", *words, flush=True)
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "jobs.cli", *words], check=False)
    if done.returncode not in (EXIT_DONE, EXIT_SOME_FAILED):
        done.check_returncode()
    return time.monotonic() - started


def train(folder: Path) -> dict[str, float]:
    """Seconds of each step, from nothing to weights in `folder`/{vq,lmnet,linet}/weights."""
    bodies, lesions, vq = (f"{folder}/{name}" for name in ("bodies", "lesions", "vq"))
    cases = f"cases.source={bodies}/cases.jsonl"
    taught = [f"data.run={lesions}", f"data.cases={bodies}", f"data.cache={folder}/cache"]
    coded = f"vq={vq}/weights/VQ.safetensors"
    return {
        "phantoms": run("phantoms", bodies, "--count", str(SEEN), "--seed", "11"),
        "lesions": run("generate", "configs/generate/phantom-lesions.yaml", f"output={lesions}", cases),
        "VQ-GAN": run("train", f"{CONFIGS}/phantom-vq.yaml", f"output={vq}", *taught),
        "LMNet": run("train", f"{CONFIGS}/phantom-lmnet.yaml", f"output={folder}/lmnet", *taught),
        "LINet": run("train", f"{CONFIGS}/phantom-linet.yaml", f"output={folder}/linet", coded, *taught),
    }


def make(folder: Path, name: str, *changes: str) -> float:
    """40 lesions in unseen phantoms, each drawn once; seconds."""
    weights = [f"mask.checkpoint={folder}/lmnet/weights/LMNet.safetensors",
               f"paint.checkpoint={folder}/linet/weights/LINet.safetensors"]  # fmt: skip
    return run(
        "generate", "configs/generate/phantom-networks.yaml", f"output={folder}/{name}",
        f"cases.source={folder}/unseen/cases.jsonl", f"cases.variants_per_case={VARIANTS}", "check.max_attempts=1",
        "check.contrast_share=[0,100]", "write.preview=40", *weights, *changes,
    )  # fmt: skip


def judge(folder: Path, name: str) -> list[Made]:
    return [_made(row, folder / name, folder / "unseen") for row in manifest(folder / name)]


def _made(row: Mapping[str, Any], run: Path, cases: Path) -> Made:
    if row["status"] != "done":
        wrong = _WRONG_WAY.search(row["reason"]) is not None
        return Made(row["sample_id"], turned=False if wrong else None, refused=row["reason"])
    (lesion,) = row["lesions"]
    report = Report.loads(lesion["report"])
    dataset = next(run.glob("nnUNet_raw/*"))
    image, label = (_values(dataset / row[f"{kind}_uri"]) for kind in ("image", "label"))
    source, organs = (_values(cases / row["case_id"] / f"{kind}.nii.gz") for kind in ("ct", "organs"))
    inside, organ = label == _LESION, organs == V1_IDS[lesion["organ"]]
    above_hu = float(image[inside].mean() - source[organ].mean())
    turned, ratio = lesion["shift_hu"] * report.contrast_sign > 0, lesion["volume_mm3"] / report.asked_mm3
    return Made(row["sample_id"], report.contrast_sign, above_hu, ratio, turned)


def _values(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj, np.float64)


def vq_psnr_db(folder: Path) -> list[float]:
    """Of crops as LINet sees them, anywhere in the liver and the spleen of the unseen phantoms; the peak is 1."""
    vq, random, found = load_vq(folder / "linet/weights/LINet.safetensors"), np.random.default_rng(0), []
    for path in sorted((folder / "unseen").glob("*/ct.nii.gz")):
        volume = read_volume(str(path))
        model, organs = volume.grid.model_grid(), _values(path.with_name("organs.nii.gz"))
        hosts = np.argwhere(np.isin(organs, [V1_IDS["liver"], V1_IDS["spleen"]]))
        for voxel in random.choice(hosts, CROPS_A_PHANTOM, replace=False):
            centre = np.rint(model.to_index(volume.grid.to_world(voxel))).astype(int)
            crop = Box.window(centre.tolist(), CROP, within=model.shape)
            unit = torch.from_numpy(hu_to_unit(volume.resampled(model.crop(crop), fill=AIR_HU)))
            with torch.inference_mode():
                made = vq.decode(vq.encode(unit[None, None]))[0, 0].clamp(0, 1)
            found.append(psnr_db(unit, made))
    return found


def show(told: Sequence[Made], untold: Sequence[Made], psnr_db: Sequence[float], seconds: Mapping[str, float]) -> None:
    console = Console(highlight=False)
    table = Table("40 lesions", "text obeyed", "volume within 30 %", "darker or brighter as asked", "refused")
    for name, made in (("told", told), ("LINet told nothing", untold)):
        table.add_row(
            name,
            f"{np.mean([m.obeyed for m in made]):.0%}",
            f"{np.mean([m.right_volume for m in made]):.0%}",
            f"{sum(m.turned is True for m in made)} of {sum(m.turned is not None for m in made)}",
            f"{sum(bool(m.refused) for m in made)}",
        )
    console.print(table)
    for name, made in (("told", told), ("told nothing", untold)):
        for m in made:
            if m.refused:
                console.print(f"  {name}, {m.sample}: {m.refused}", soft_wrap=True)
    low, middle = np.percentile(psnr_db, [10, 50])
    console.print(
        f"VQ-GAN in unseen livers and spleens: mean {np.mean(psnr_db):.1f} dB, median {middle:.1f}, "
        f"one in ten below {low:.1f}"
    )
    console.print(", ".join(f"{name} {s / 60:.1f} min" for name, s in seconds.items()))
    console.print(f"in all {sum(seconds.values()) / 60:.1f} min")


def ship(folder: Path, to: Path) -> None:
    """The weights, as `lesionforge generate` takes them; LINet's bring the VQ-GAN."""
    to.mkdir(parents=True, exist_ok=True)
    for name in ("LMNet", "LINet"):
        shutil.copy(folder / name.lower() / "weights" / f"{name}.safetensors", to)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, default=Path("runs/phantom-training"))
    parser.add_argument("--ship", type=Path, default=None, help="folder to put the weights into")
    asked = parser.parse_args()
    folder: Path = asked.output
    started = time.monotonic()
    seconds = train(folder)
    seconds["unseen phantoms"] = run("phantoms", f"{folder}/unseen", "--count", str(UNSEEN), "--seed", "12")
    seconds["lesions, told"] = make(folder, "told")
    seconds["lesions, untold"] = make(folder, "untold", "paint.text=false")
    told, untold = judge(folder, "told"), judge(folder, "untold")
    psnr_db = vq_psnr_db(folder)
    seconds["measuring"] = time.monotonic() - started - sum(seconds.values())
    show(told, untold, psnr_db, seconds)
    found = {"told": [asdict(m) for m in told], "untold": [asdict(m) for m in untold], "psnr_db": psnr_db}
    (folder / "found.json").write_text(json.dumps(found | {"seconds": seconds}, indent=1))
    if asked.ship:
        ship(folder, asked.ship)


if __name__ == "__main__":
    main()
