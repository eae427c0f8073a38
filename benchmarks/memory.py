"""Memory of a run: its processes and its object store, second by second."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import matplotlib.pyplot as plt
import psutil
import ray

MIB = 2**20


@dataclass
class Usage:
    """Memory of this process and its children, and of the object store, once a second."""

    at_s: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)
    store_mib: list[float] = field(default_factory=list)
    _over: Event = field(default_factory=Event)

    def __enter__(self) -> Usage:
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._over.wait(1.0):
            self.at_s.append(time.monotonic() - began)
            self.rss_mib.append(_private_bytes() / MIB)
            self.store_mib.append(_store_bytes() / MIB)


def _private_bytes() -> int:
    """Resident, less what is shared: the object store is counted apart."""
    total = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            memory = process.memory_info()
        except psutil.Error:
            continue
        total += memory.rss - memory.shared
    return total


def _store_bytes() -> int:
    stats = ray._private.internal_api.node_stats(*_node(), False)
    return int(stats.store_stats.object_store_bytes_used)


def _node() -> tuple[str, int]:
    (node,) = ray.nodes()
    return node["NodeManagerAddress"], node["NodeManagerPort"]


def plot(usage: Usage, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    axes.plot(usage.at_s, usage.rss_mib, label="processes, private")
    axes.plot(usage.at_s, usage.store_mib, label="object store")
    axes.set(xlabel="s", ylabel="MiB", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)
    third = len(usage.at_s) // 3
    for name, values in (("processes", usage.rss_mib), ("object store", usage.store_mib)):
        middle, last = statistics.median(values[third : 2 * third]), statistics.median(values[2 * third :])
        print(f"{name}: {middle:.0f} MiB in the second third of the run, {last:.0f} MiB in the last")
