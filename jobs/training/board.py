"""Where the workers of a training tell its driver how it goes: one actor, that outlives any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from engine.core.errors import CaseError, LesionForgeError, UsageError
from engine.training.bad_cases import BadCases
from engine.training.settings import TrainSettings

Skipped = tuple[int, str, str]
"""Ordinal of an example, its case, and what is wrong with it."""


@dataclass
class News:
    """Since it was asked for last."""

    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    verdict: tuple[str, int] | None = None
    """Why the training is over, and the exit code, where going on is of no use."""
    workers: int = 0


class _Board:
    """Counts each example that was skipped once, however often a restart meets it."""

    def __init__(self) -> None:
        self._news = News()
        self._skipped: dict[int, Skipped] = {}
        self._bad = BadCases("skip")

    def at(self, step: int, metrics: Mapping[str, float], workers: int) -> None:
        self._news.step, self._news.workers = step, workers
        self._news.metrics |= metrics

    def skip(self, ordinal: int, case_id: str, problem: str) -> None:
        if ordinal in self._skipped:
            return
        self._skipped[ordinal] = (ordinal, case_id, problem)
        line = self._bad.met(case_id, problem)
        if line is not None:
            self._news.lines.append(f"skipped: {line}")

    def recall(self, skipped: Sequence[Sequence[Any]]) -> None:
        """Those of an earlier driver, as `skipped` gave them: nothing to be said again."""
        for ordinal, case_id, problem in skipped:
            self.skip(int(ordinal), str(case_id), str(problem))
        self._news.lines.clear()

    def skipped(self) -> list[Skipped]:
        return list(self._skipped.values())

    def bad_cases(self) -> list[dict[str, object]]:
        return self._bad.to_json()

    def end(self, reason: str, exit_code: int) -> None:
        """The first reason stays: those of other workers follow from it."""
        self._news.verdict = self._news.verdict or (reason, exit_code)

    def over(self) -> bool:
        return self._news.verdict is not None

    def news(self) -> News:
        told = self._news
        self._news = News(told.step, dict(told.metrics), [], told.verdict, told.workers)
        return told


def start_board() -> Any:
    """On the driver's own node, which no worker's death takes with it, for as long as the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board: Any = ray.remote(num_cpus=0)(_Board)
    return board.options(scheduling_strategy=here).remote()


@dataclass(frozen=True)
class Reporter:
    """A worker's end of it."""

    board: Any
    settings: TrainSettings

    def met(self, ordinal: int, case_id: str, problem: str) -> None:
        """As `loading.Met`."""
        if self.settings.data.on_bad_case == "stop":
            raise CaseError(problem)
        self.board.skip.remote(ordinal, case_id, problem)

    def end(self, error: LesionForgeError) -> None:
        """The training as a whole is asked for what it cannot do: nobody is to try again."""
        code = UsageError.exit_code if isinstance(error, CaseError) else error.exit_code
        ray.get(self.board.end.remote(str(error), code))
