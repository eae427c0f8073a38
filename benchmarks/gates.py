"""Do the quality gates catch faults, and let good lesions through? Two tables, and what a lesion costs.

Lesions are made by the whole chain on phantoms of 1.5, 3 and 5 mm slices, and on real CT where the shared data is;
faults are planted in them by code that shares nothing with the gates (benchmarks/planted_faults.py).

python -m benchmarks.gates [--shared FOLDER] [--good N] [--sites N]
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.painted import Painted, paint, run_in, save_abdomen, save_phantom
from benchmarks.planted_faults import FAULTS, Fault, plant
from engine.core.gates import GateMiss
from engine.core.sample import Sample
from engine.stages.check import paste_and_check

SLICES_MM = (1.5, 3.0, 5.0)
IN_PLANE_MM = 1.6
VIEW_MM = (384.0, 288.0, 420.0)
_NUMBER = re.compile(r"[-+]?\d[\d.x]*")


@dataclass(frozen=True)
class Caught:
    """What became of one kind of fault: lines of those caught, names of those missed."""

    lines: Sequence[str]
    missed: Sequence[str]

    @property
    def planted(self) -> int:
        return len(self.lines) + len(self.missed)


def judge(painted: Painted, sample: Sample | None = None) -> str | None:
    """Why a sample is rejected, or None; without one, the sample as it was painted."""
    try:
        paste_and_check(sample or painted.sample, painted.run, painted.reader)
    except GateMiss as miss:
        return str(miss)
    return None


def try_fault(fault: Fault, lesions: Sequence[Painted], sites: int, seed: int) -> Caught:
    """One kind of fault, planted at up to so many sites, taken in random order."""
    rng = np.random.default_rng(seed)
    lines, missed = [], []
    for index in rng.permutation(len(lesions)):
        spoilt = plant(lesions[index], fault, rng)
        if spoilt is None:
            continue
        line = judge(lesions[index], spoilt)
        if line is None:
            missed.append(spoilt.sample_id)
        else:
            lines.append(line)
        if len(lines) + len(missed) == sites:
            break
    return Caught(lines, missed)


def try_faults(lesions: Sequence[Painted], sites: int) -> dict[str, Caught]:
    return {name: try_fault(fault, lesions, sites, seed) for seed, (name, fault) in enumerate(FAULTS.items())}


def make_lesions(folder: Path, data: Path | None, most: int) -> list[Painted]:
    """About as many lesions as asked for, spread evenly over the cases, organ by organ."""
    cases = []
    for number, slice_mm in enumerate(SLICES_MM):
        spacing = (IN_PLANE_MM, IN_PLANE_MM, slice_mm)
        a, b, c = (round(mm / s) for mm, s in zip(VIEW_MM, spacing, strict=True))
        cases.append(save_phantom(folder / f"phantom-{slice_mm:g}mm", 100 + number, (a, b, c), spacing))
    if data is not None:
        cases.append(save_abdomen(folder / "abdomen", data))
    run, each = run_in(folder), -(-most // len(cases))
    spare = each + each // 5  # some end before `check`: no room, or refused by a backend
    return [p for case in cases for p in itertools.islice(paint(case, run, range(spare)), each)]


def show(good: Sequence[Painted], rejected: Mapping[str, str], found: Mapping[str, Caught], ms: float) -> None:
    console = Console(width=150, highlight=False)
    console.print(f"good lesions: {len(rejected)} of {len(good)} rejected; {ms:.1f} ms a lesion, pasting included")
    for name, line in rejected.items():
        console.print(f"  {name}: {line}", soft_wrap=True)
    table = Table("fault", "caught", "mostly by", "missed at")
    for name, caught in found.items():
        by = Counter(_NUMBER.sub("…", line.partition(": ")[2])[:60] for line in caught.lines).most_common(1)
        table.add_row(name, f"{len(caught.lines)}/{caught.planted}", by[0][0] if by else "", " ".join(caught.missed))
    console.print(table)
    planted = sum(c.planted for c in found.values())
    console.print(f"{sum(len(c.lines) for c in found.values())} of {planted} planted faults caught")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("LESIONFORGE_SHARED", "../shared")))
    parser.add_argument("--good", type=int, default=200)
    parser.add_argument("--sites", type=int, default=5)
    asked = parser.parse_args()
    data = asked.shared / "data"
    with tempfile.TemporaryDirectory() as scratch:
        lesions = make_lesions(Path(scratch), data if data.is_dir() else None, asked.good)
        started = time.process_time()
        rejected = {p.sample.sample_id: line for p in lesions if (line := judge(p)) is not None}
        ms = 1000 * (time.process_time() - started) / len(lesions)
        good = [p for p in lesions if p.sample.sample_id not in rejected]
        show(lesions, rejected, try_faults(good, asked.sites), ms)


if __name__ == "__main__":
    main()
