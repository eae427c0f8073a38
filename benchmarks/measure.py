"""CPU seconds and peak memory of a function, in a process of its own (Linux)."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cost:
    cpu_s: float
    wall_s: float
    peak_bytes: int
    """Peak resident memory less what the process held before the work began."""


def cost_of(function: Callable[..., object], *arguments: Any) -> Cost:
    """Run `function(*arguments)` in a fresh interpreter. Its module is imported before the clock starts."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (function, arguments))


def _measured(function: Callable[..., object], arguments: tuple[Any, ...]) -> Cost:
    held = _restart_peak()
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    function(*arguments)
    wall_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu_s, wall_s, _peak_bytes() - held)


def _restart_peak() -> int:
    """Resident bytes now, from which on the peak is counted. `ru_maxrss` will not do: a child inherits its parent's."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_bytes()


def _peak_bytes() -> int:
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
