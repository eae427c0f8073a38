"""Steps and examples of a training by arithmetic, so that any number of workers and any restart share them alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from engine.training.settings import TrainSettings


@dataclass(frozen=True)
class Stretch:
    """Steps from one stop to the next. At a stop every worker reports, and a checkpoint is kept."""

    start: int
    stop: int
    validates: bool

    @classmethod
    def after(cls, step: int, settings: TrainSettings) -> Self | None:
        """From a step on, which need not be a stop of these settings; None at the end."""
        if step >= settings.steps:
            return None
        stops = [(step // every + 1) * every for every in (settings.checkpoint_every, settings.validate_every)]
        stop = min(settings.steps, *stops)
        return cls(step, stop, stop == settings.steps or stop % settings.validate_every == 0)


@dataclass(frozen=True)
class Share:
    """What one of `world` workers has of every step's `batch` examples."""

    rank: int
    world: int
    batch: int
    at_once: int

    @property
    def examples_a_step(self) -> int:
        return self.batch // self.world

    @property
    def batches_a_step(self) -> int:
        return self.examples_a_step // self.at_once

    def ordinal(self, position: int) -> int:
        """Of this worker's example number `position`, counted from the training's begin, among those of all."""
        step, place = divmod(position, self.examples_a_step)
        return step * self.batch + self.rank * self.examples_a_step + place
