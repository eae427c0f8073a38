"""A training as seen from a terminal: a live bar, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from jobs.training.board import News

_PLAIN_EVERY_S = 10.0
_SHOWN = 4
_RATE_OVER_S = 60.0


class TrainingProgress:
    """Speaks to standard error, so that the summary alone goes to standard output."""

    def __init__(self, total: int, before: int) -> None:
        self._console = Console(file=sys.stderr, markup=False, highlight=False)
        self._total, self._step, self._detail = total, before, "starting"
        self._spoke, self._said = time.monotonic(), before
        self._seen: list[tuple[float, int]] = []
        """When it was heard of which step, lately. What came before the first one was the start."""
        self._bar: Progress | None = None
        if before:
            self._console.print(f"resuming: {before} of {total} steps are done", soft_wrap=True)
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("steps"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("steps", total=total, completed=before, detail=self._detail)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif self._said != self._step:
            self._console.print(self._line(), soft_wrap=True)

    def show(self, news: News) -> None:
        for line in news.lines:
            self._console.print(line, soft_wrap=True, style="yellow")
        if not news.step:
            return
        now = time.monotonic()
        if not self._seen or news.step != self._seen[-1][1]:
            lately = [(at, step) for at, step in self._seen if now - at < _RATE_OVER_S and step < news.step]
            self._seen = [*(lately or self._seen[-1:]), (now, news.step)]
        self._step, self._detail = news.step, self._described(news)
        if self._bar:
            self._bar.update(self._task, completed=self._step, detail=self._detail)
        elif self._step != self._said and now - self._spoke >= _PLAIN_EVERY_S:
            self._spoke, self._said = now, self._step
            self._console.print(self._line(), soft_wrap=True)

    def _described(self, news: News) -> str:
        names = ["train/loss", *(name for name in news.metrics if name.startswith("val/"))]
        told = [f"{name} {news.metrics[name]:.4g}" for name in names if name in news.metrics][:_SHOWN]
        rate = self._rate()
        told += [f"{rate:.3g} steps/s"] * bool(rate) + [f"{news.workers} workers"] * (news.workers > 1)
        return ", ".join(told)

    def _line(self) -> str:
        rate = self._rate()
        left = f", {_spoken((self._total - self._step) / rate)} left" if rate and self._step < self._total else ""
        return f"steps {self._step}/{self._total}: {self._detail}{left}"

    def _rate(self) -> float:
        """Steps a second, of the last minute; 0 where nothing is known."""
        if not self._seen:
            return 0.0
        (since, first), (until, last) = self._seen[0], self._seen[-1]
        return max(0, last - first) / (until - since) if until > since else 0.0


def _spoken(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
