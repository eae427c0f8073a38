"""A run's own networks on its own devices: how busy they are, beside the reference's way with the same networks.

The devices' clocks are read where a network has been waited for, so that a GPU's work is not counted as done when it is
only queued.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.devices import device_names
from actors.linet_painter import LINetPainter
from actors.lmnet_masker import LMNetMasker
from actors.masker import MaskActor
from actors.networks import load_linet, load_lmnet
from actors.painter import PaintActor
from actors.torch_devices import given_devices
from benchmarks.busy import BusyLog, Occupancy, read_intervals, seconds_on
from benchmarks.orchestration import Watch, held
from engine import chain
from engine.backends import Mask, Paint
from engine.core import wire
from engine.core.errors import UsageError
from engine.core.requests import Services
from engine.core.sample import Sample
from engine.driver import Driver
from engine.io.cases import open_cases
from engine.io.reader import CaseReader
from engine.pipeline import Pipeline, waiting_for
from engine.planner import Plan, make_plan
from engine.run import Run
from engine.settings import Settings
from jobs.cluster import connected
from models.device import resolve_device


@dataclass(frozen=True)
class Found:
    """Of one run: its devices, what each network cost, and how the reference's way went."""

    engine: Occupancy
    devices: int
    seconds: Mapping[str, float]
    """A sample, by network."""
    reference_per_hour: float
    """Samples that one device made, gone through as the reference does."""


def timed_masker(settings: Mask, log: Path) -> LMNetMasker:
    """LMNet as a run has it; its sampling is noted."""
    device = given_devices()[0]
    network, notes = load_lmnet(settings, device), BusyLog(log)
    network.sampler = _timed(network.sampler, notes, device_names()[0], device, "lmnet")  # type: ignore[assignment]
    return LMNetMasker(network, settings)


def timed_painter(settings: Paint, log: Path, *, neighbour: bool) -> LINetPainter:
    """LINet and the VQ-GAN as a run has them; sampling, encoding and decoding are noted."""
    devices, names, notes = given_devices(), device_names(), BusyLog(log)
    last = -1 if neighbour else 0
    network = load_linet(settings, devices[0], devices[last])
    network.sampler = _timed(network.sampler, notes, names[0], devices[0], "linet")  # type: ignore[assignment]
    for part in ("encode", "decode"):
        method = getattr(network.vq, part)
        setattr(network.vq, part, _timed(method, notes, names[last], devices[last], part))
    return LINetPainter(network, settings)


def _timed(work: Callable[..., Any], notes: BusyLog, name: str, device: torch.device, on: str) -> Callable[..., Any]:
    def timed(*given: Any, **named: Any) -> Any:
        with notes.at_work(name, on):
            made = work(*given, **named)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        return made

    return timed


def measure_run(settings: Settings, folder: Path, reference_samples: int) -> Found:
    """The whole list through the engine, into a folder of its own, and its first samples in the reference's way.

    `folder` has to be on a disk that all nodes share. Raises `UsageError` for a run
    without networks, or with others.
    """
    if not (settings.mask.is_network and settings.paint.is_network):
        raise UsageError("there are no networks to measure: mask.backend should be lmnet, paint.backend linet")
    if settings.organs.backend != "given" or settings.report.writer != "template":
        raise UsageError("LMNet and LINet alone are measured: organs.backend should be given, report.writer template")
    settings = settings.model_copy(update={"output": str(folder / "engine")})
    cases = open_cases(settings.cases)
    plan, log = make_plan(cases, settings.cases.variants_per_case), folder / "busy"
    log.mkdir()
    engine = _through_engine(settings, plan, cases.base, log)
    return Found(
        engine,
        len(engine.intervals),
        {part: seconds / plan.total for part, seconds in seconds_on(log).items()},
        _as_reference(settings, plan, cases.base, folder, reference_samples),
    )


def _through_engine(settings: Settings, plan: Plan, base: str, log: Path) -> Occupancy:
    with ExitStack() as stack:
        execution = stack.enter_context(connected(settings))
        settings = settings.model_copy(update={"execution": execution})
        run, ledger, lease = stack.enter_context(held(settings))
        run = replace(run, cases_base=base)
        neighbour = execution.paint_pool is not None and execution.paint_pool.vq == "neighbour"
        pipeline = Pipeline(
            run,
            partial(timed_masker, settings.mask, log),
            partial(timed_painter, settings.paint, log, neighbour=neighbour),
            MaskActor,
            PaintActor,
        )
        began = time.time()
        Driver(run, plan, ledger, lease, pipeline.execute, lambda: waiting_for(execution), Watch()).work()
        return Occupancy(read_intervals(log), began, time.time(), plan.total)


def _as_reference(settings: Settings, plan: Plan, base: str, folder: Path, count: int) -> float:
    """Samples an hour of one device: LMNet over the whole list, then LINet; one case at a time, read for each anew."""
    settings = settings.model_copy(update={"output": str(folder / "reference")})
    nothing_done = np.zeros(plan.total, bool)
    samples = wire.from_table(next(plan.waves(nothing_done, min(count, plan.total))))
    device = resolve_device("auto")
    with held(settings) as (run, _, _):
        run, began = replace(run, cases_base=base), time.time()
        masker = LMNetMasker(load_lmnet(settings.mask, device), settings.mask)
        masked = [chain.mask([_read(sample, run)], run, masker)[0] for sample in samples]
        del masker
        painter = LINetPainter(load_linet(settings.paint, device, device), settings.paint)
        for sample, with_mask in zip(samples, masked, strict=True):
            _read(sample, run)
            chain.finish(chain.paint([with_mask], run, painter)[0], run, CaseReader(run))
        return len(samples) / ((time.time() - began) / 3600)


def _read(sample: Sample, run: Run) -> Sample:
    return chain.prepare(sample, run, CaseReader(run), Services())
