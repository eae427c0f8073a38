"""The figures of a run on Ray's own Prometheus endpoint, where `configs/cluster/grafana.json` reads them.

Ray puts `ray_` before each name and `_total` after a counter's. That it collects them every ten seconds costs the run
nothing: to count here is to add in memory.
"""

from __future__ import annotations

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge


class RunMetrics:
    """Listener of the driver, for the run of this name."""

    def __init__(self, run: str) -> None:
        self._samples = Counter(
            "lesionforge_samples", "Samples that ended here: done, rejected or failed.", ("run", "status")
        )
        self._again = Counter("lesionforge_samples_drawn_again", "Samples tried anew after a missed gate.", ("run",))
        self._lesions = Counter("lesionforge_lesions", "Lesions in samples that are done.", ("run",))
        self._in_flight = Gauge("lesionforge_samples_in_flight", "Samples handed out and not yet back.", ("run",))
        self._remaining = Gauge("lesionforge_samples_remaining", "Samples of the run that have not ended.", ("run",))
        for metric in (self._samples, self._again, self._lesions, self._in_flight, self._remaining):
            metric.set_default_tags({"run": run})
        self._out = self._left = 0

    def started(self, total: int, committed: Mapping[str, int]) -> None:
        self._left = total - sum(committed.values())
        self._show()

    def handed_out(self, samples: int) -> None:
        self._out += samples
        self._show()

    def returned(self, statuses: Mapping[str, int], again: int, lesions: int) -> None:
        ended = sum(statuses.values())
        self._out -= ended + again
        self._left -= ended
        for status, count in statuses.items():
            self._samples.inc(count, {"status": status})
        if again:
            self._again.inc(again)
        if lesions:
            self._lesions.inc(lesions)
        self._show()

    def waiting(self, line: str) -> None:
        """Nothing to count."""

    def stopping(self) -> None:
        """Nothing to count."""

    def _show(self) -> None:
        self._in_flight.set(self._out)
        self._remaining.set(self._left)
