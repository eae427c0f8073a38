"""A run as seen from a terminal: a live bar, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

_PLAIN_EVERY_S = 10.0


class RunProgress:
    """Listener of the driver. Speaks to standard error, so that the summary alone goes to standard output."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, markup=False, highlight=False)
        self._counts: Counter[str] = Counter()
        self._again = self._total = self._before = 0
        self._began = self._spoke = time.monotonic()
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("samples"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("samples", total=None, detail="starting")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif self._total:
            self._console.print(self._line(), soft_wrap=True)

    def started(self, total: int, committed: dict[str, int]) -> None:
        self._total, self._counts = total, Counter(committed)
        self._before, self._began = self._counts.total(), time.monotonic()
        if self._before:
            self._console.print(f"resuming: {self._before} of {total} samples are committed", soft_wrap=True)
        self._show()

    def handed_out(self, samples: int) -> None:
        """Nothing to see yet."""

    def returned(self, statuses: dict[str, int], again: int, lesions: int) -> None:
        self._counts.update(statuses)
        self._again += again
        self._show()

    def waiting(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, style="yellow")

    def stopping(self) -> None:
        self._console.print("stopping: what is back is kept; asked once more, it ends at once", soft_wrap=True)

    def _show(self) -> None:
        if self._bar:
            detail = self._detail()
            self._bar.update(self._task, total=self._total, completed=self._counts.total(), detail=detail)
        elif time.monotonic() - self._spoke >= _PLAIN_EVERY_S:
            self._spoke = time.monotonic()
            self._console.print(self._line(), soft_wrap=True)

    def _detail(self) -> str:
        parts = [f"{self._counts[s]} {s}" for s in ("done", "failed", "rejected") if self._counts[s] or s == "done"]
        if self._again:
            parts.append(f"{self._again} drawn again")
        return ", ".join(parts) + f", {self._per_hour():,.0f}/h"

    def _line(self) -> str:
        return f"samples {self._counts.total()}/{self._total}: {self._detail()}"

    def _per_hour(self) -> float:
        return (self._counts.total() - self._before) / max(time.monotonic() - self._began, 1e-3) * 3600
