"""Seconds a CT for its organ map: networks kept in memory, against TotalSegmentator's own API called for each CT.

python -m benchmarks.organ_maps CT.nii.gz [--weights FOLDER] [--full] [--repeat 3] [--width 4 --stages 3 --patch 48]

Without `--weights` the networks are random, of `--width` features: 32, six stages and 112 voxels are TotalSegmentator's
own size at 3 mm. Loading and starting processes cost what they cost; the network's own time is that of its size. Calls
take turns, and each map is compared with the API's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
import torch

from actors.organ_models import find_models
from actors.segmenter import organ_map
from actors.totalsegmentator import TotalSegmentator
from benchmarks.random_organ_models import write_models
from engine.core.anatomy import v2_to_v1
from engine.io.volumes import read_volume
from models.device import resolve_device
from models.openclip import import_torchvision

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def by_api(ct: Path, fast: bool, device: torch.device) -> np.ndarray:
    """As its users call it, in v1 ids, so that what it calls by other names is there, too."""
    from totalsegmentator.python_api import totalsegmentator

    named = "gpu" if device.type == "cuda" else device.type
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = totalsegmentator(ct, None, fast=fast, device=named, quiet=True, skip_saving=True)
    return v2_to_v1()[np.asarray(image.dataobj)]


def measure(ct: Path, *, fast: bool, device: torch.device, repeat: int) -> None:
    """Prints a table. The API is told to report nothing."""
    import_torchvision()  # the API looks for its trainer in all modules of nnU-Net, some of which need it
    home = Path(os.environ["TOTALSEG_HOME_DIR"])
    silent = {"send_usage_stats": False, "statistics_disclaimer_shown": True, "prediction_counter": 0}
    (home / "config.json").write_text(json.dumps(silent))

    resident, loading_s = timed(lambda: TotalSegmentator(find_models(fast=fast), device))
    first, first_s = timed(lambda: organ_map(read_volume(str(ct)), resident))
    kept_s, api_s, equal = [], [], True
    for _ in range(repeat):
        theirs, seconds = timed(lambda: by_api(ct, fast, device))
        api_s.append(seconds)
        ours, seconds = timed(lambda: organ_map(read_volume(str(ct)), resident))
        kept_s.append(seconds)
        equal = equal and np.array_equal(ours, theirs) and np.array_equal(ours, first)
    ratio = statistics.median(theirs / ours for theirs, ours in zip(api_s, kept_s, strict=True))
    kept, api = statistics.median(kept_s), statistics.median(api_s)
    print(f"{'':<44}{'seconds':>9}{'of the first':>14}{'of the API':>12}")
    for name, seconds in (
        ("resident, first CT (networks loaded)", loading_s + first_s),
        ("resident, every further CT (median)", kept),
        ("TotalSegmentator's API, every CT (median)", api),
    ):
        print(f"{name:<44}{seconds:9.2f}{seconds / (loading_s + first_s):14.2f}{seconds / api:12.2f}")
    print(
        f"a further CT takes the API {ratio:.1f} times as long; maps equal voxel by voxel: {'yes' if equal else 'NO'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("ct", type=Path)
    parser.add_argument("--weights", type=Path, help="TotalSegmentator's own; random ones where none are given")
    parser.add_argument("--full", action="store_true", help="the five networks at 1.5 mm")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    device = resolve_device(asked.device)
    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        weights = asked.weights or Path(folder, "weights")
        if not asked.weights:
            write_models(weights, fast=not asked.full, width=asked.width, stages=asked.stages, patch=asked.patch)
        os.environ["TOTALSEG_WEIGHTS_PATH"] = str(weights)
        os.environ["TOTALSEG_HOME_DIR"] = folder
        stored = sum(path.stat().st_size for path in weights.rglob("checkpoint_final.pth")) / 1e6
        shape = "x".join(map(str, nib.load(asked.ct).shape))
        kind = "given" if asked.weights else "random"
        print(
            f"{asked.ct.name} {shape}, {device}, {stored:.1f} MB of {kind} weights, {'1.5' if asked.full else '3'} mm"
        )
        measure(asked.ct, fast=not asked.full, device=device, repeat=asked.repeat)


if __name__ == "__main__":
    main()
