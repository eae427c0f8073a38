"""{row number} -> the row of an example: decoded, changed at random, or with what is wrong with it.

Runs in the loaders' processes, beside the worker that trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import ray

from engine.core.errors import CaseError, OutputError
from engine.core.intensity import AIR_HU
from engine.core.seeds import seed_for
from engine.training.crop import bad_record, problem_of
from engine.training.decoding import Decoder
from engine.training.lesions import KnownLesion
from engine.training.order import lesion_number
from engine.training.settings import Augment, TrainSettings
from jobs.training.schedule import Share


@dataclass(frozen=True)
class Source:
    """The lesions of a training: those trained on, then those it is validated on. They lie once in the object store."""

    settings: TrainSettings
    lesions: ray.ObjectRef[tuple[KnownLesion, ...]]
    trained: int
    validated: int

    @classmethod
    def of(cls, settings: TrainSettings, trained: Sequence[KnownLesion], validated: Sequence[KnownLesion]) -> Self:
        return cls(settings, ray.put((*trained, *validated)), len(trained), len(validated))


@dataclass(frozen=True)
class TrainingRows:
    """Examples of one worker's share, from its example number `first` on."""

    source: Source
    share: Share
    first: int

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        settings, ordinal = self.source.settings, self.share.ordinal(self.first + int(row["id"]))
        number = lesion_number(
            ordinal,
            self.source.trained,
            seed=settings.seed,
            random_sample=settings.data.random_sample,
            iter_num=settings.data.iter_num,
        )
        record = _record(self.source, number)
        if settings.data.augment != Augment() and not problem_of(record):
            record |= _changed(record, settings, seed_for(settings.seed, record["case_id"], number, ordinal, "augment"))
        seed = seed_for(settings.seed, record["case_id"], number, ordinal, "training")
        return record | {"ordinal": ordinal, "seed": seed}


@dataclass(frozen=True)
class ValidationRows:
    """Every `step`-th of the lesions to validate on, from number `first` on, unchanged. Their ordinals are negative."""

    source: Source
    first: int
    step: int

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        place = self.first + int(row["id"]) * self.step
        number = self.source.trained + place
        record = _record(self.source, number)
        seed = seed_for(self.source.settings.seed, record["case_id"], number, 0, "validation")
        return record | {"ordinal": -1 - place, "seed": seed}


def _record(source: Source, number: int) -> dict[str, Any]:
    """`stops` where the problem is not the case's, and would be every case's."""
    decode, lesion = _decoder(source)
    try:
        return decode(number).to_record() | {"stops": False}
    except (CaseError, OutputError) as error:
        problem = bad_record(lesion[number].case_id, str(error), source.settings.crop)
        return problem | {"stops": isinstance(error, OutputError)}


@lru_cache(maxsize=1)
def _decoder(source: Source) -> tuple[Decoder, Sequence[KnownLesion]]:
    """Kept by its process, with the volumes that it read last."""
    lesions: tuple[KnownLesion, ...] = ray.get(source.lesions)
    return Decoder(source.settings, lesions), lesions


def _changed(record: dict[str, Any], settings: TrainSettings, seed: int) -> dict[str, Any]:
    from models.training.augment import augment  # torch and TorchIO take seconds, and most trainings need neither here

    outside_hu = AIR_HU if settings.data.outside == "air" else 0.0
    arrays = (record["image_hu"], record["organs"], record["label"])
    return augment(*arrays, settings.data.augment, seed, outside_hu=outside_hu)._asdict()
