"""When devices were at work: intervals that actors leave in files, and the share of a window that they fill."""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Intervals = Mapping[str, Sequence[tuple[float, float]]]
"""By device, in order: when it began and when it ended, in seconds of the machine's clock."""


class BusyLog:
    """The intervals of one process, each on disk as soon as it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"

    @contextmanager
    def at_work(self, device: str, on: str = "") -> Iterator[None]:
        """The work inside is noted as the device's, and `on` says which it was."""
        began = time.time()
        yield
        with self._file.open("a") as file:
            file.write(json.dumps([device, began, time.time(), on]) + "\n")

    @contextmanager
    def alone(self, device: str) -> Iterator[None]:
        """As `at_work`, where nothing real holds the device: it does one thing at a time, whichever process asks."""
        with (self._folder / f"{device}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self.at_work(device):
                yield


def read_intervals(folder: Path) -> Intervals:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for device, began, ended, _ in _notes(folder):
        found[device].append((began, ended))
    return {device: sorted(intervals) for device, intervals in sorted(found.items())}


def seconds_on(folder: Path) -> Mapping[str, float]:
    """Seconds that all devices together were at work, by what they worked on."""
    found: dict[str, float] = defaultdict(float)
    for _, began, ended, on in _notes(folder):
        found[on] += ended - began
    return dict(found)


def _notes(folder: Path) -> Iterator[tuple[str, float, float, str]]:
    for file in folder.glob("*.jsonl"):
        yield from map(json.loads, file.read_text().splitlines())


def busy_share(intervals: Sequence[tuple[float, float]], start: float, stop: float) -> float:
    """Of the window from `start` to `stop`; what overlaps counts once. 0 of a window that is none."""
    if stop <= start:
        return 0.0
    busy, until = 0.0, start
    for began, ended in intervals:
        busy += max(0.0, min(ended, stop) - max(began, until))
        until = max(until, ended)
    return busy / (stop - start)


@dataclass(frozen=True)
class Occupancy:
    """Devices at work, and the seconds of the machine's clock between which samples were made."""

    intervals: Intervals
    began: float
    ended: float
    samples: int

    @property
    def ramp_up_s(self) -> float:
        """Until every device that is used has begun."""
        return max(first for (first, _), *_ in self.intervals.values()) - self.began

    def shares(self, gpus: int) -> dict[str, float]:
        """Of each device, from the end of the ramp-up until the first has no more to do; unused ones count as 0."""
        start, stop = self.began + self.ramp_up_s, min(i[-1][1] for i in self.intervals.values())
        shares = {device: busy_share(found, start, stop) for device, found in self.intervals.items()}
        return shares | {f"unused {n}": 0.0 for n in range(gpus - len(shares))}

    def per_gpu_hour(self, gpus: int) -> float:
        return self.samples / gpus / ((self.ended - self.began) / 3600)
