"""Ray for the length of a training: a cluster that is named, the job's own, or a local one started for it."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from engine.core.errors import LayoutError, UsageError
from engine.settings import Execution
from engine.training.settings import TrainSettings, Workers
from jobs.autoscaler import can_be_asked, can_bring_up
from jobs.cluster import connect
from jobs.training.layout import bundles_of, require_room

_HEALTH_CHECK_S = "0.5"
"""How often Ray Train looks after its workers; by itself every two seconds, for which every report waits."""


@contextmanager
def connected(settings: TrainSettings) -> Iterator[None]:
    """Raises `UsageError` where there is no cluster at the address or no CUDA on its GPUs, `LayoutError` where it never
    has the room."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _HEALTH_CHECK_S)
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    if ray.is_initialized():  # a test's own cluster
        _require(settings)
        yield
        return
    try:
        _join(settings)
        _require(settings)
        yield
    finally:
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)  # that its work is cut off is no news
        ray.shutdown()


def _join(settings: TrainSettings) -> None:
    """A local cluster has as many CPUs as the most workers reserve, or as the machine has where that is more."""
    workers = settings.workers
    reserved = max(1, math.ceil(workers.max * workers.num_cpus))
    try:
        connect(Execution(address=settings.address, workers=reserved))
    except UsageError as error:
        raise type(error)(str(error).replace("execution.address", "address")) from None


def _require(settings: TrainSettings) -> None:
    _require_room(settings.workers)
    if settings.workers.num_gpus and settings.device != "cpu":
        _require_cuda(settings.workers)


def _require_cuda(workers: Workers) -> None:
    """Asked where a worker will be: the driver may have neither a GPU nor a torch that knows of any."""
    task = ray.remote(num_cpus=workers.num_cpus, num_gpus=workers.num_gpus)(_torch_finds_cuda)
    if not ray.get(task.remote()):
        raise UsageError(
            "workers.num_gpus: torch finds no CUDA where the workers' GPUs are; it should be a build for CUDA there, "
            "or workers.num_gpus 0"
        )


def _torch_finds_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _require_room(workers: Workers) -> None:
    """On the nodes that are up, or on those that can come besides."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    try:
        require_room(workers, nodes)
    except LayoutError as error:
        if not can_be_asked():
            raise
        if not can_bring_up(bundles_of(workers)):
            raise LayoutError(f"{error}, and its autoscaler cannot bring up the rest") from None
