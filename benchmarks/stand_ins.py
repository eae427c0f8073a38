"""Stand-ins that hold a device or a processor as long as the real thing does, around rows of real crops."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from actors.devices import device_names
from benchmarks.busy import BusyLog
from engine.core import wire
from engine.core.requests import MaskRequest, PaintRequest, Services
from engine.core.sample import Crop, Sample, Status
from engine.run import Run
from engine.stage import Wave
from engine.stages.result import RESULT, result_row


@dataclass(frozen=True)
class Times:
    """Seconds a sample of one lesion; `load` of a checkpoint, once an actor."""

    prepare: float
    lmnet: float
    linet: float
    encode: float
    decode: float
    finish: float
    load: float

    @property
    def painting(self) -> float:
        return self.encode + self.linet + self.decode


class SleepingMasker:
    """LMNet's place: an ellipsoid in the box, after LMNet's time."""

    name = "sleeping"

    def __init__(self, times: Times, log: Path) -> None:
        self._times, self._log, (self._device, *_) = times, BusyLog(log), device_names()
        time.sleep(times.load)

    def __call__(self, requests: Sequence[MaskRequest]) -> list[Crop]:
        with self._log.alone(self._device):
            time.sleep(self._times.lmnet * len(requests))
        return [_ellipsoid(request) for request in requests]


class SleepingPainter:
    """The place of LINet on the actor's first device and the VQ-GAN on its last; each does one thing at a time."""

    name = "sleeping"

    def __init__(self, times: Times, log: Path) -> None:
        self._times, self._log = times, BusyLog(log)
        names = device_names()
        self._linet, self._vq = names[0], names[-1]
        time.sleep(times.load)

    def __call__(self, requests: Sequence[PaintRequest]) -> list[Crop]:
        for device, seconds in (
            (self._vq, self._times.encode), (self._linet, self._times.linet), (self._vq, self._times.decode)
        ):  # fmt: skip
            with self._log.alone(device):
                time.sleep(seconds * len(requests))
        return [Crop(r.ct.box, r.ct.values.astype(np.float32) + r.mask.onto(r.ct.box).values * 40) for r in requests]


def _ellipsoid(request: MaskRequest) -> Crop:
    axes = np.ogrid[tuple(slice(-1, 1, side * 1j) for side in request.box.shape)]
    soft = np.clip(1.5 - sum(axis**2 for axis in axes), 0, 1).astype(np.float32)
    return Crop(request.box, soft)


@dataclass(frozen=True)
class SleepingStages:
    """What the processors do, as operators of a pipeline: a prepared sample for each row, and a row for each sample."""

    times: Times
    prepared: Sample

    def prepare(self, block: pa.Table, wave: Wave, run: Run, services: Services) -> pa.Table:
        del run, services
        samples = [self._with_crops(sample) for sample in wave.samples(block)]
        time.sleep(self.times.prepare * len(samples))
        return wire.to_table(samples, wire.PLACED)

    def finish(self, block: pa.Table, run: Run) -> pa.Table:
        samples = wire.from_table(block)
        time.sleep(self.times.finish * len(samples))
        return pa.Table.from_pylist([result_row(replace(s, status=Status.DONE), run) for s in samples], schema=RESULT)

    def _with_crops(self, sample: Sample) -> Sample:
        return replace(sample, source=self.prepared.source, lesions=self.prepared.lesions)
