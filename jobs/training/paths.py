"""Paths of a training, as any process of it finds them."""

from __future__ import annotations

from pathlib import Path

from engine.io.case_uris import absolute
from engine.training.settings import TrainSettings


def with_absolute_paths(settings: TrainSettings) -> TrainSettings:
    """Local ones against the working folder of this process, which a worker need not have.

    The text tower's source may be a name on a hub, and stays one where no folder of that name is here.
    """
    data, text, objective = settings.data, settings.text, settings.objective
    return settings.model_copy(
        update={
            "start_from": _absolute(settings.start_from),
            "vq": _absolute(settings.vq),
            "data": data.model_copy(update={"cache": _absolute(data.cache)}),
            "text": text.model_copy(update={"source": _absolute_folder(text.source)}),
            "objective": objective.model_copy(update={"perceptual_weights": _absolute(objective.perceptual_weights)}),
        }
    )


def _absolute(uri: str | None) -> str | None:
    return None if uri is None else absolute(uri)


def _absolute_folder(name: str | None) -> str | None:
    return absolute(name) if name is not None and Path(name).expanduser().is_dir() else name
