"""The resident TotalSegmentators of a run, as the stages see them: one thing to ask for an organ map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError

from actors.segmenter import SegmentActor, Starts
from engine.core.errors import LesionForgeError, ServiceLostError
from engine.io.organ_cache import OrganCache, open_cache
from engine.run import Run

if TYPE_CHECKING:
    from actors.organ_models import OrganModels

_MOST_RETRIES = 40
"""Of a request whose actor dies: those that merely wait behind a CT that kills it are asked again, too."""


@dataclass(frozen=True)
class Segmenters:
    """Looks into the cache, else asks the actor that a CT's digest falls to: so each CT is segmented once."""

    cache: OrganCache
    actors: Sequence[Any]
    starts: Any
    """The `Starts` that all of them ask; were it referred to by them alone, it would end with one that is killed."""

    def __call__(self, ct_uri: str, ct_sha256: str) -> str:
        if made := self.cache.find(ct_sha256):
            return made
        actor = self.actors[int(ct_sha256[:8], 16) % len(self.actors)]
        try:
            answer: str | LesionForgeError = ray.get(actor.segment.remote(ct_uri, ct_sha256))
        except RayActorError as error:
            raise ServiceLostError(f"organs: an actor of TotalSegmentator is gone ({type(error).__name__})") from error
        if isinstance(answer, LesionForgeError):
            raise answer
        return answer


@contextmanager
def segmenters(run: Run, models: OrganModels) -> Iterator[Segmenters]:
    """As many actors as the laid-out pool has. They are ended here: of references to them Ray keeps its own."""
    asked = _start(run, models)
    try:
        yield asked
    finally:
        for actor in (*asked.actors, asked.starts):
            ray.kill(actor)


def _start(run: Run, models: OrganModels) -> Segmenters:
    pool = run.settings.execution.organ_pool
    if pool is None:
        raise ValueError("a layout without a place for TotalSegmentator")
    organs = run.settings.organs
    cache = open_cache(organs.cache, models.name, run.output)
    starts = ray.remote(Starts).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    resident = ray.remote(SegmentActor).options(
        num_cpus=pool.num_cpus, num_gpus=pool.num_gpus, max_restarts=-1, max_task_retries=_MOST_RETRIES
    )
    arguments = (models, organs.device, cache, run.settings.input, starts)
    return Segmenters(cache, tuple(resident.remote(*arguments) for _ in range(pool.max)), starts)
