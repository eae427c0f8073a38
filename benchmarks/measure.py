"""CPU seconds and peak memory of a function, in a process of its own."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
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
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    function(*arguments)
    wall_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(cpu_s, wall_s, (after.ru_maxrss - before.ru_maxrss) * unit)
