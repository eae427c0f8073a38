"""What each worker of a training runs: the same steps as all others, on its own share of every step's examples."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train

from engine.core.errors import LesionForgeError
from engine.io.storage import OutputFolder
from engine.training.settings import TrainSettings
from jobs.training.board import Reporter
from jobs.training.checkpoints import STATE, TRAINING
from jobs.training.loading import TrainingBatches, ValidationBatches
from jobs.training.schedule import Share
from jobs.training.source import Source

if TYPE_CHECKING:  # it brings lightning, for which driver and controller have no use
    from models.training.module import TrainingModule


@dataclass(frozen=True)
class Work:
    """Small, equal for all workers."""

    source: Source
    output: OutputFolder
    reporter: Reporter

    @property
    def settings(self) -> TrainSettings:
        return self.source.settings


def train_loop(config: dict[str, Any]) -> None:
    """From the last checkpoint on, to the end. What a user has to mend is told to the board before it is raised."""
    work: Work = config["work"]
    if ray.get(work.reporter.board.over.remote()):
        return  # Ray tries again whatever the reason was
    try:
        with tempfile.TemporaryDirectory(prefix="lesionforge-") as scratch:
            _train(work, Path(scratch))
    except LesionForgeError as error:
        work.reporter.end(error)
        raise


def _train(work: Work, scratch: Path) -> None:
    """`scratch` is a folder of this machine for what need not last."""
    settings, context = work.settings, ray.train.get_context()
    share = Share(context.get_world_rank(), context.get_world_size(), settings.batch, settings.at_once)
    checkpoint, step = ray.train.get_checkpoint(), 0
    with ExitStack() as held:
        folder = None if checkpoint is None else Path(held.enter_context(checkpoint.as_directory()))
        if folder is not None:
            about = json.loads((folder / TRAINING).read_text())
            step = int(about["step"])
            ray.get(work.reporter.board.recall.remote(about["skipped"]))
        batches = TrainingBatches(work.source, share, step, work.reporter.met)
        if batches.stretch is None:
            return
        from jobs.training.networks import module_of  # torch and all that is built on it

        module = module_of(settings, share.batches_a_step)
        _fit(module, work, share, step, batches, folder and folder / STATE, held, scratch)


def _fit(
    module: TrainingModule,
    work: Work,
    share: Share,
    step: int,
    batches: TrainingBatches,
    state: Path | None,
    held: ExitStack,
    scratch: Path,
) -> None:
    """`held` is let go of once `state` is loaded: it may be a copy of gigabytes."""
    from models.training.framework import lightning  # before anything else that imports lightning

    from jobs.training.journals import open_journals  # isort: skip
    from jobs.training.stops import Stops  # isort: skip
    from lightning.pytorch.callbacks import LambdaCallback  # isort: skip
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, prepare_trainer  # isort: skip

    settings = work.settings
    journals = open_journals(settings, work.output, scratch, step) if share.rank == 0 else []
    validation = ValidationBatches(work.source, share, work.reporter.met)
    stops = Stops(settings, share, step, batches, validation, work.reporter, work.output, journals)
    trainer = lightning.Trainer(
        **_ways(settings),
        strategy=RayDDPStrategy(),
        plugins=[RayLightningEnvironment()],
        callbacks=[stops, LambdaCallback(on_train_start=lambda *_: held.close())],
        accumulate_grad_batches=share.batches_a_step if module.automatic_optimization else 1,
        limit_val_batches=1.0 if len(validation) else 0,
        default_root_dir=scratch,
    )
    try:
        prepare_trainer(trainer).fit(module, batches, validation, ckpt_path=state, weights_only=True)
    finally:
        for journal in journals:
            journal.close()


def _ways(settings: TrainSettings) -> dict[str, Any]:
    """How Lightning works for us: what it would show and keep by itself, we do."""
    import torch

    from models.device import resolve_dtype

    accelerator = "gpu" if settings.workers.num_gpus and settings.device != "cpu" else "cpu"
    device = torch.device("cuda" if accelerator == "gpu" else "cpu")
    return {
        "max_epochs": -1,  # as many stretches as there are
        "reload_dataloaders_every_n_epochs": 1,  # stretches differ in length
        "accelerator": accelerator,
        "devices": "auto",
        "precision": "bf16-mixed" if resolve_dtype(settings.precision, device) is torch.bfloat16 else "32-true",
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
