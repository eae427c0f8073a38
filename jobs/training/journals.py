"""Where figures and pictures of a training go besides the driver: TensorBoard, Weights & Biases.

TensorBoard's files are written to this machine's disk and put into the output folder, whole, at every stop: so they
come to any store, and are closed to the workers of an earlier driver.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from numpy.typing import NDArray

from engine.core.errors import OutputError
from engine.io.storage import OutputFolder
from engine.training.settings import TrainSettings

Picture = NDArray[np.uint8]
"""(h w), grey."""


class Journal(Protocol):
    """Of the first worker."""

    def figures(self, figures: Mapping[str, float], step: int) -> None: ...

    def picture(self, picture: Picture, step: int) -> None: ...

    def stop(self, step: int) -> None:
        """What was told until now is to last."""

    def close(self) -> None: ...


class _TensorBoard:
    """`tensorboard/` in the output folder; what an earlier worker told of steps after `step` is void."""

    def __init__(self, output: OutputFolder, scratch: Path, step: int) -> None:
        self._output, self._folder = output, scratch / "tensorboard"
        self._logger = TensorBoardLogger(scratch, name="tensorboard", version="", purge_step=step + 1)

    def figures(self, figures: Mapping[str, float], step: int) -> None:
        self._logger.log_metrics(dict(figures), step)

    def picture(self, picture: Picture, step: int) -> None:
        self._logger.experiment.add_image("samples", picture[None], step)

    def stop(self, step: int) -> None:
        self._logger.experiment.flush()
        for file in sorted(self._folder.glob("events.*")):
            self._output.put(f"tensorboard/{file.name}", file.read_bytes())

    def close(self) -> None:
        self._logger.experiment.close()


class _Wandb:
    """One run for all drivers of a training, named by its output. It sends by itself; curves that it wrote offline are
    kept in `wandb/` in the output folder, for `wandb sync`."""

    def __init__(self, settings: TrainSettings, output: OutputFolder, scratch: Path) -> None:
        self._output, self._folder = output, scratch / "wandb"
        name = settings.output.rstrip("/").rpartition("/")[2]
        run = hashlib.sha256(settings.output.encode()).hexdigest()[:16]
        config = settings.model_dump(mode="json")
        self._logger = WandbLogger(name, scratch, id=run, project="lesionforge", resume="allow", config=config)

    def figures(self, figures: Mapping[str, float], step: int) -> None:
        self._logger.log_metrics(dict(figures), step)

    def picture(self, picture: Picture, step: int) -> None:
        self._logger.log_image("samples", [picture], step)

    def stop(self, step: int) -> None:
        self._keep()

    def close(self) -> None:
        self._logger.experiment.finish()
        with suppress(OutputError):  # of which the training has heard at its last stop
            self._keep()

    def _keep(self) -> None:
        for file in sorted(self._folder.glob("offline-run-*/*.wandb")):
            self._output.put(f"wandb/{file.parent.name}/{file.name}", file.read_bytes())


def open_journals(settings: TrainSettings, output: OutputFolder, scratch: Path, step: int) -> Sequence[Journal]:
    """`scratch` is a folder of this machine, that may vanish with the worker."""
    makers: dict[str, Any] = {
        "tensorboard": lambda: _TensorBoard(output, scratch, step),
        "wandb": lambda: _Wandb(settings, output, scratch),
    }
    return [makers[name]() for name in dict.fromkeys(settings.loggers)]
