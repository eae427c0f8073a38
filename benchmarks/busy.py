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
from pathlib import Path

Intervals = Mapping[str, Sequence[tuple[float, float]]]
"""By device, in order: when it began and when it ended, in seconds of the machine's clock."""


class BusyLog:
    """The intervals of one process, each on disk as soon as it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"

    @contextmanager
    def at_work(self, device: str) -> Iterator[None]:
        """A device does one thing at a time, whichever process asks."""
        with (self._folder / f"{device}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            began = time.time()
            yield
            with self._file.open("a") as file:
                file.write(json.dumps([device, began, time.time()]) + "\n")


def read_intervals(folder: Path) -> Intervals:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for file in folder.glob("*.jsonl"):
        for device, began, ended in map(json.loads, file.read_text().splitlines()):
            found[device].append((began, ended))
    return {device: sorted(intervals) for device, intervals in sorted(found.items())}


def busy_share(intervals: Sequence[tuple[float, float]], start: float, stop: float) -> float:
    """Of the window from `start` to `stop`; what overlaps counts once."""
    busy, until = 0.0, start
    for began, ended in intervals:
        busy += max(0.0, min(ended, stop) - max(began, until))
        until = max(until, ended)
    return busy / (stop - start)
