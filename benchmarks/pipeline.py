"""How busy the GPUs are and how many samples they make an hour, with networks that sleep as long as real ones work.

python -m benchmarks.pipeline [--samples 2000] [--gpus 8] [--cpus 28] [--layouts same ...] [--plot FILE]
python -m benchmarks.pipeline --settings configs/generate/lesiondiffusion.yaml [key=value ...] [--reference-samples 8]

1. What a sample costs a processor, stage by stage, and what its row weighs at each boundary: measured.
2. A run through the engine on pretended GPUs. LMNet, LINet and the VQ-GAN hold their actors for as long as they take
   at their published sizes, all shortened alike by `--speed`; the stages on processors sleep for what 1. has measured,
   since the cores of this machine could not feed so many GPUs. All between them is real: Ray Data, the actors, rows
   of real crops, the driver and its commits.
3. The same times in the reference's way: stage by stage over the whole list, one case at a time on each GPU.

With `--settings` nothing sleeps: the run of that configuration, its own networks on the devices that there are, into a
temporary folder; then its first samples in the reference's way, on one of them (`benchmarks/with_networks.py`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ray
from rich.console import Console
from rich.table import Table

from actors.masker import MaskActor
from actors.painter import PaintActor
from benchmarks.busy import Occupancy, read_intervals
from benchmarks.memory import Usage, plot
from benchmarks.orchestration import Watch, held, make_list
from benchmarks.preparation import make_case
from benchmarks.stand_ins import SleepingMasker, SleepingPainter, SleepingStages, Times
from benchmarks.with_networks import Found, measure_run
from engine import chain
from engine.core import wire
from engine.core.errors import LesionForgeError
from engine.core.requests import Services
from engine.core.sample import Sample
from engine.driver import Driver
from engine.io.cases import open_cases
from engine.io.reader import CaseReader
from engine.io.storage import open_output
from engine.pipeline import Pipeline, set_up_ray_data, waiting_for
from engine.planner import make_plan
from engine.procedural.mask import ProceduralMasker
from engine.procedural.paint import ProceduralPainter
from engine.run import Run
from engine.settings import Settings, load_settings, parse_settings

PASS_S = {"lmnet": 18.0, "linet": 29.0, "encode": 16.5, "decode": 31.4}
"""Seconds at the published sizes on two cores, float32: the fastest of three passes, by `benchmarks.networks`."""
STEPS = 15
"""Passes of LMNet and LINet a lesion, with the default sampler."""
LOAD_S = 2.0
LAYOUTS = ("same", "halves", "neighbour")
"""The VQ-GAN on LINet's GPU; the same with two actors to a GPU, of which one may be LMNet's; on a GPU of its own."""


def times(cpu_s: Mapping[str, float], speed: float) -> Times:
    """On processors as measured, networks `speed` times as fast as on the cores they were measured on."""
    return Times(
        prepare=sum(cpu_s[name] for name in ("organs", "report", "place")),
        lmnet=PASS_S["lmnet"] * STEPS / speed,
        linet=PASS_S["linet"] * STEPS / speed,
        encode=PASS_S["encode"] / speed,
        decode=PASS_S["decode"] / speed,
        finish=sum(cpu_s[name] for name in ("check", "write")),
        load=LOAD_S,
    )


def settings_for(folder: Path, **sections: object) -> Settings:
    """Of networks at their published crops; their checkpoints are never opened."""
    return parse_settings(
        {
            "output": str(folder / "run"),
            "cases": {"source": str(folder / "cases.parquet")},
            "lesions": {"mix": [{"organ": "liver", "lesion_type": "cancer", "size_mm": 25}]},
            "mask": {"backend": "lmnet", "checkpoint": "-"},
            "paint": {"backend": "linet", "checkpoint": "-"},
            **sections,
        }
    )


@dataclass(frozen=True)
class Measured:
    """One sample of a clinical scan, in full."""

    cpu_s: Mapping[str, float]
    row_bytes: Mapping[str, int]
    prepared: Sample


def measure_sample(folder: Path, repeats: int = 3) -> Measured:
    """CPU seconds by stage (medians) and bytes of the sample's row at each boundary; one lesion."""
    make_case(folder)
    run = Run(settings_for(folder), str(folder), open_output(str(folder / "one")), code_version="benchmark")
    taken: list[Mapping[str, float]] = []
    for variant in range(repeats):
        sample = Sample(f"case-v{variant:03d}", "case", variant, variant, "ct.nii.gz", "organs.nii.gz")
        reader = CaseReader(run)
        placed = chain.prepare(sample, run, reader, Services())
        masked = chain.mask([placed], run, ProceduralMasker())[0]
        painted = chain.paint([masked], run, ProceduralPainter())[0]
        row = chain.finish(painted, run, CaseReader(run))  # the task that writes reads the volume anew
        if row["status"] != "done":
            raise RuntimeError(row["reason"])
        taken.append(dict(row["metrics"]["seconds"]))
    stages = {name: statistics.median(t[name] for t in taken) for name in taken[0]}
    boundaries = ((wire.PLACED, placed), (wire.MASKED, masked), (wire.PAINTED, painted))
    names = ("placed", "masked", "painted")
    sizes = {name: wire.to_table([s], schema).nbytes for name, (schema, s) in zip(names, boundaries, strict=True)}
    return Measured(stages, sizes, placed)


def pools(gpus: int, layout: str, t: Times) -> dict[str, object]:
    """GPUs, or halves of them, shared out by how long each network takes."""
    share = 0.5 if layout == "halves" else 1
    maskers = max(1, round(gpus / share * t.lmnet / (t.lmnet + t.painting)))
    each = 2 if layout == "neighbour" else share
    painters = int((gpus - maskers * share) / each)
    vq = "neighbour" if layout == "neighbour" else "same"
    return {
        "mask_pool": {"min": maskers, "max": maskers, "num_gpus": share},
        "paint_pool": {"min": painters, "max": painters, "num_gpus": each, "vq": vq},
    }


def simulate(folder: Path, asked: argparse.Namespace, layout: str, stages: SleepingStages) -> tuple[Occupancy, Usage]:
    """The engine on one node of pretended GPUs."""
    log = folder / f"busy-{layout}"
    log.mkdir()
    execution = {"block_size": 4, **pools(asked.gpus, layout, stages.times)}
    settings = settings_for(folder / layout, cases={"source": str(folder / "cases.parquet")}, execution=execution)
    plan = make_plan(open_cases(settings.cases), 1)
    ray.init(address="local", num_cpus=asked.cpus, num_gpus=asked.gpus, include_dashboard=False, log_to_driver=False,
             object_store_memory=2 << 30)  # fmt: skip
    try:
        set_up_ray_data(settings.execution)
        with held(settings) as (run, ledger, lease), Usage() as usage:
            pipeline = Pipeline(
                run,
                partial(SleepingMasker, stages.times, log),
                partial(SleepingPainter, stages.times, log),
                MaskActor,
                PaintActor,
                prepare=stages.prepare,
                finish=stages.finish,
            )
            began = time.time()
            driver = Driver(run, plan, ledger, lease, pipeline.execute, lambda: waiting_for(run.settings.execution),
                            Watch())  # fmt: skip
            driver.work()
            ended = time.time()
    finally:
        ray.shutdown()
    return Occupancy(read_intervals(log), began, ended, plan.total), usage


def reference_way(gpus: int, samples: int, t: Times) -> float:
    """Samples per GPU-hour when each GPU goes through its share of the list, once with LMNet and once with LINet.

    Every case is read before and written after its network has run, with nothing beside it.
    """
    share = -(-samples // gpus)

    def one_gpu(_: int) -> None:
        time.sleep(t.load)
        for _ in range(share):
            time.sleep(t.prepare)
            time.sleep(t.lmnet)
        time.sleep(t.load)
        for _ in range(share):
            time.sleep(t.prepare)
            time.sleep(t.painting)
            time.sleep(t.finish)

    began = time.time()
    with ThreadPoolExecutor(gpus) as pool:
        list(pool.map(one_gpu, range(gpus)))
    return share / ((time.time() - began) / 3600)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--cpus", type=int, default=28, help="pretended, too")
    parser.add_argument("--speed", type=float, default=500, help="of a GPU, against the two cores of PASS_S")
    parser.add_argument("--layouts", nargs="*", choices=LAYOUTS, default=LAYOUTS)
    parser.add_argument("--reference-samples", type=int, default=200)
    parser.add_argument("--settings", help="of a run with networks, to be measured as it is")
    parser.add_argument("overrides", nargs="*", help="of these settings, such as cases.limit=100")
    parser.add_argument("--plot", type=Path, help="of memory over the run")
    asked = parser.parse_args()
    if asked.settings:
        try:
            settings = load_settings(asked.settings, asked.overrides)
            with tempfile.TemporaryDirectory() as scratch:
                _print_found(Console(), measure_run(settings, Path(scratch), asked.reference_samples))
        except LesionForgeError as error:
            parser.error(str(error))
        return
    os.environ["RAY_prestart_worker_first_driver"] = "0"  # noqa: SIM112 - Ray's name; else it starts --cpus workers at once
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        measured = measure_sample(folder)
        t = times(measured.cpu_s, asked.speed)
        _print_costs(console, measured, t)
        make_list(folder / "cases.parquet", asked.samples)
        theirs = reference_way(asked.gpus, asked.reference_samples, t)
        table = Table("way", "GPUs busy", "ramp-up s", "samples per GPU-hour", "ratio")
        table.add_row("reference", "", "", f"{theirs:,.0f}", "1.0")
        for layout in asked.layouts:
            (folder / layout).mkdir()
            found, usage = simulate(folder, asked, layout, SleepingStages(t, measured.prepared))
            shares = found.shares(asked.gpus)
            ours = found.per_gpu_hour(asked.gpus)
            table.add_row(f"engine, {layout}", f"{statistics.mean(shares.values()):.1%}", f"{found.ramp_up_s:.1f}",
                          f"{ours:,.0f}", f"{ours / theirs:.1f}")  # fmt: skip
            console.print(", ".join(f"{device} {share:.0%}" for device, share in shares.items()))
            if asked.plot and layout == asked.layouts[0]:
                plot(usage, asked.plot)
        console.print(table)


def _print_found(console: Console, found: Found) -> None:
    engine, theirs = found.engine, found.reference_per_hour
    shares, ours = engine.shares(found.devices), engine.per_gpu_hour(found.devices)
    console.print(", ".join(f"{device} {share:.0%}" for device, share in shares.items()))
    console.print("s a sample: " + ", ".join(f"{part} {seconds:.2f}" for part, seconds in found.seconds.items()))
    table = Table("way", "devices busy", "ramp-up s", "samples per device-hour", "ratio")
    table.add_row("reference", "", "", f"{theirs:,.0f}", "1.0")
    table.add_row("engine", f"{statistics.mean(shares.values()):.1%}", f"{engine.ramp_up_s:.1f}", f"{ours:,.0f}",
                  f"{ours / theirs:.1f}")  # fmt: skip
    console.print(table)


def _print_costs(console: Console, measured: Measured, t: Times) -> None:
    table = Table("stage", "CPU s a sample", title="one lesion in a clinical scan, by networks' crops")
    for name, seconds in measured.cpu_s.items():
        table.add_row(name, f"{seconds:.2f}")
    console.print(table)
    console.print("row at each boundary: " + ", ".join(f"{n} {b / 1e6:.2f} MB" for n, b in measured.row_bytes.items()))
    gpu_s = t.lmnet + t.painting
    console.print(f"{gpu_s:.2f} GPU s a sample: {(t.prepare + t.finish) / gpu_s:.1f} cores a GPU")


if __name__ == "__main__":
    main()
