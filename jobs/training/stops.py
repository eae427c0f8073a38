"""What a worker does beside learning: counts steps, tells of them, and at every stop keeps a checkpoint."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from ray.train import Checkpoint

from engine.core.errors import OutputError
from engine.core.failpoints import reached
from engine.core.store_errors import refusal, store_errors
from engine.io.storage import OutputFolder
from engine.training.settings import TrainSettings
from jobs.training.board import Reporter
from jobs.training.checkpoints import SCORE, STATE, TRAINING, name_of
from jobs.training.journals import Journal
from jobs.training.loading import TrainingBatches, ValidationBatches
from jobs.training.pictures import as_png, one_above_the_other
from jobs.training.schedule import Share
from models.training.batch import Batch
from models.training.module import TrainingModule

_NEVER = sys.maxsize
_UNSEEN = -sys.float_info.max
"""Score of a checkpoint that was not validated: below any other, and a number, as Ray sorts nothing else."""


class Stops(Callback):
    """An epoch of Lightning's is a stretch of ours, so that it stops where we do."""

    def __init__(
        self,
        settings: TrainSettings,
        share: Share,
        step: int,
        batches: TrainingBatches,
        validation: ValidationBatches,
        reporter: Reporter,
        output: OutputFolder,
        journals: Sequence[Journal],
    ) -> None:
        self._settings, self._share, self._reporter = settings, share, reporter
        self._batches, self._validation = batches, validation
        self._output, self._journals = output, journals
        self._step, self._since = step, 0
        self._shown: Batch | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Where it goes on is our arithmetic, and no business of Lightning's counters: workers may be fewer then."""
        checkpoint.pop("loops")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stretch = self._batches.stretch
        validates = stretch is not None and stretch.validates and len(self._validation) > 0
        trainer.check_val_every_n_epoch = 1 if validates else _NEVER

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self._since += 1
        if self._since < self._share.batches_a_step:
            return
        self._since, self._step = 0, self._step + 1
        reached("train_step", f"{self._share.rank}:{self._step}")
        if self._share.rank != 0:
            return
        if self._step % self._settings.log_every == 0:
            self._tell(_figures(trainer, "train/") | _rates(trainer))
        if self._step % self._settings.pictures_every == 0:
            self._draw(pl_module, batch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stretch = self._batches.stretch
        assert stretch is not None  # noqa: S101 # it has just ended
        seen = _figures(trainer, "val/") if stretch.validates else {}
        if self._share.rank == 0:
            self._tell(seen)
            for journal in self._journals:
                journal.stop(self._step)
        self._keep(trainer, {"step": self._step, SCORE: _score(pl_module, seen), **seen, **_figures(trainer, "train/")})
        reached("checkpoint_kept", f"{self._share.rank}:{self._step}")
        self._batches.next_stretch()
        trainer.should_stop = self._batches.stretch is None

    def _tell(self, figures: Mapping[str, float]) -> None:
        for journal in self._journals:
            journal.figures(figures, self._step)
        self._reporter.board.at.remote(self._step, dict(figures), self._share.world)

    def _keep(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """Every worker reports; the first one's folder is the checkpoint."""
        with tempfile.TemporaryDirectory(prefix="lesionforge-") as folder:
            trainer.save_checkpoint(Path(folder, STATE), weights_only=False)
            checkpoint = None
            if self._share.rank == 0:
                skipped = ray.get(self._reporter.board.skipped.remote())
                about = {"step": self._step, "metrics": dict(metrics), "skipped": skipped}
                Path(folder, TRAINING).write_text(json.dumps(about))
                checkpoint = Checkpoint.from_directory(folder)
            try:
                ray.train.report(dict(metrics), checkpoint=checkpoint, checkpoint_dir_name=name_of(self._step))
            except store_errors() as error:
                raise OutputError(f"{self._output.uri}: a checkpoint cannot be written: {refusal(error)}") from error

    def _draw(self, module: LightningModule, batch: Batch) -> None:
        """By the first worker alone, of the first examples that are validated on, or of those it has at hand."""
        assert isinstance(module, TrainingModule)  # noqa: S101
        if self._shown is None and len(self._validation):
            self._shown = next(iter(self._validation))
        with _judging(module):
            pictures = module.pictures(self._shown or batch)
        if not pictures:
            return
        sheet = one_above_the_other(list(pictures.values()))
        self._output.put(f"pictures/step-{self._step:08d}.png", as_png(sheet))
        for journal in self._journals:
            journal.picture(sheet, self._step)


def _figures(trainer: Trainer, prefix: str) -> dict[str, float]:
    """What the module has logged last, but for what is no number."""
    found = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _rates(trainer: Trainer) -> dict[str, float]:
    return {"train/learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"])}


def _score(module: LightningModule, seen: Mapping[str, float]) -> float:
    assert isinstance(module, TrainingModule)  # noqa: S101
    name, best = module.monitored
    if name not in seen:
        return _UNSEEN
    return seen[name] if best == "max" else -seen[name]


@contextmanager
def _judging(module: TrainingModule) -> Iterator[None]:
    """As when it is used, without gradients; after it, every part is as it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True
