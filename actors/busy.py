"""How much of its time a resident model works: wall-clock seconds, for Prometheus to make a share of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from ray.util.metrics import Counter


class Busy:
    """`with busy:` around a call. Seconds in which calls overlap count once; they are told as each begins or ends."""

    def __init__(self, add: Callable[[float], None], now: Callable[[], float] = time.monotonic) -> None:
        self._add, self._now = add, now
        self._calls, self._since = 0, 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._change(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._change(-1)

    def _change(self, calls: int) -> None:
        with self._lock:
            now = self._now()
            if self._calls and now > self._since:
                self._add(now - self._since)
            self._calls, self._since = self._calls + calls, now


def busy_actor(run: str, part: str, devices: Sequence[str]) -> Busy:
    """Of the actor of this process, by its run, its part in it and where it is, such as "3f2a9c01 gpu 1"."""
    tags = ("run", "part", "node", "device")
    counter = Counter("lesionforge_actor_busy_seconds", "Wall-clock time that an actor worked.", tags)
    node = devices[0].partition(" ")[0]
    device = " + ".join(name.partition(" ")[2] for name in devices)
    counter.set_default_tags({"run": run, "part": part, "node": node, "device": device})
    return Busy(counter.inc)
