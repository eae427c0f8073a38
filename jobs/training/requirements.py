"""What a training needs of this machine, looked at before anything starts."""

from __future__ import annotations

import importlib.util

from engine.core.errors import UsageError
from engine.io.storage import open_output
from engine.training.settings import Augment, Sizes, TrainSettings

_EXTRAS = {"lightning": "training", "torchio": "training", "tensorboard": "training", "wandb": "wandb"}


def require_packages(settings: TrainSettings) -> None:
    """Raise `UsageError` for the first package that is not installed, with the extra that brings it."""
    needed = ["torch", "lightning", *settings.loggers]
    if settings.data.augment != Augment():
        needed.append("torchio")
    for name in needed:
        if importlib.util.find_spec(name) is None:
            asks = f"loggers: {name}" if name in settings.loggers else "training"
            extra = _EXTRAS.get(name, "networks")
            raise UsageError(
                f"{asks} needs {name}, which is not installed; pip install 'lesionforge[{extra}]' brings it"
            )


def require_settings(settings: TrainSettings) -> None:
    """Raise `UsageError` for settings that no network and no machine can follow."""
    device, gpus = settings.device, settings.workers.num_gpus
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device '{device}': should be auto, cpu or cuda; workers.num_gpus says how many each has")
    if device == "cuda" and not gpus:
        raise UsageError("device cuda: the workers have no GPU; give workers.num_gpus")
    if settings.start_from is not None and settings.sizes != Sizes():
        raise UsageError("sizes are those of start_from, the checkpoint; leave them out")
    if settings.data.cache is not None:
        open_output(settings.data.cache)
