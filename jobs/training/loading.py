"""The examples of one worker, in their order, as a stream of Ray Data and as Lightning wants them.

Every worker streams a dataset of its own: rows are ordinals, which a few tasks beside the worker decode. What a worker
reserves is its loaders', too: a task that asked for CPUs of its own would wait for ever where workers hold them all.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from math import prod
from typing import Any, Protocol, TypeVar

import numpy as np
import ray
import torch
from ray.data import DataContext, TaskPoolStrategy
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from engine.core.errors import OutputError
from engine.core.intensity import hu_to_unit
from engine.training.crop import LesionCrop, problem_of
from jobs.training.schedule import Share, Stretch
from jobs.training.source import Source, TrainingRows, ValidationRows
from models.training.batch import Batch, Example, collate

_T = TypeVar("_T")
Row = Mapping[str, Any]

_BLOCK_BYTES = 32 << 20
_ROWS_A_BLOCK = 16
_BLOCKS_A_WAVE = 16
_BYTES_A_VOXEL = 6  # HU as float32, organs and label as uint8


class Met(Protocol):
    """Told of examples that cannot be had. Raises `CaseError` where that is the end."""

    def __call__(self, ordinal: int, case_id: str, problem: str) -> None: ...


class TrainingBatches:
    """Batches of the stretch at hand. Each stretch goes on where the one before ended, so none is decoded twice."""

    def __init__(self, source: Source, share: Share, step: int, met: Met) -> None:
        self._share, self._met = share, met
        self.stretch = Stretch.after(step, source.settings)
        self._source, self._step = source, step
        self._rows: Iterator[Row] | None = None

    def __len__(self) -> int:
        return 0 if self.stretch is None else (self.stretch.stop - self.stretch.start) * self._share.batches_a_step

    def __iter__(self) -> Iterator[Batch]:
        rows = self._stream()
        for _ in range(len(self)):
            yield _batch(islice(rows, self._share.at_once), self._met)

    def next_stretch(self) -> None:
        assert self.stretch is not None  # noqa: S101 # of a stretch that has just ended
        self.stretch = Stretch.after(self.stretch.stop, self._source.settings)

    def _stream(self) -> Iterator[Row]:
        if self._rows is None:
            share, settings = self._share, self._source.settings
            begin, end = (step * share.examples_a_step for step in (self._step, settings.steps))
            rows = _in_waves(lambda first: TrainingRows(self._source, share, first), begin, end, settings)
            self._rows = ahead(rows, 2 * share.examples_a_step)
        return self._rows


class ValidationBatches:
    """This worker's part of what is validated on. Every worker has as many batches, the last ones may be of nothing."""

    def __init__(self, source: Source, share: Share, met: Met) -> None:
        self._source, self._share, self._met = source, share, met
        self._count = min(source.validated, source.settings.validation_examples)

    def __len__(self) -> int:
        most = -(-self._count // self._share.world)
        return -(-most // self._share.at_once)

    def __iter__(self) -> Iterator[Batch]:
        share = self._share
        mine = len(range(share.rank, self._count, share.world))
        rows = _rows(ValidationRows(self._source, share.rank, share.world), mine, self._source)
        for _ in range(len(self)):
            yield _batch(islice(rows, share.at_once), self._met)


def _batch(rows: Iterable[Row], met: Met) -> Batch:
    """Without the examples that cannot be had: there may be none left."""
    examples = []
    for row in rows:
        problem = problem_of(row)
        if problem and row["stops"]:
            raise OutputError(problem)
        if problem:
            met(int(row["ordinal"]), str(row["case_id"]), problem)
        else:
            examples.append(_example(row))
    return collate(examples)


def _example(row: Row) -> Example:
    crop = LesionCrop.from_record(row)
    return Example(
        image=torch.from_numpy(hu_to_unit(crop.image_hu))[None],
        organs=torch.from_numpy(np.array(crop.organs)),  # a row of Ray Data is not to be written to
        label=torch.from_numpy(np.array(crop.label)),
        hosts=crop.hosts,
        mask_text=crop.mask_text,
        paint_text=crop.paint_text,
        asked_hu=crop.asked_hu,
        seed=int(row["seed"]),
    )


def _in_waves(rows: Callable[[int], TrainingRows], begin: int, end: int, settings: Any) -> Iterator[Row]:
    """A dataset lists its blocks before it starts, and a training may have millions of examples."""
    wave = _rows_a_block(settings.crop) * _BLOCKS_A_WAVE
    for first in range(begin, end, wave):
        to_row = rows(first)
        yield from _rows(to_row, min(wave, end - first), to_row.source)


def _rows(to_row: TrainingRows | ValidationRows, count: int, source: Source) -> Iterator[Row]:
    if not count:
        return
    _set_up_ray_data()
    blocks = -(-count // _rows_a_block(source.settings.crop))
    listed = ray.data.from_items([{"id": n} for n in range(count)], override_num_blocks=blocks)  # reading takes a CPU
    tasks = TaskPoolStrategy(size=source.settings.workers.loaders)
    yield from listed.map(to_row, num_cpus=0, compute=tasks).iter_rows()


def _rows_a_block(crop: tuple[int, int, int]) -> int:
    """A block costs about a tenth of a second whatever its size, and its first row waits for its last."""
    return max(1, min(_ROWS_A_BLOCK, _BLOCK_BYTES // (prod(crop) * _BYTES_A_VOXEL)))


def _set_up_ray_data() -> None:
    """In order, without a word, and on the node of this worker: its memory is where examples are wanted."""
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    context.scheduling_strategy = context.scheduling_strategy_large_args = here
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def ahead(items: Iterable[_T], depth: int) -> Iterator[_T]:
    """The same items, so many of them made before they are asked for. An error is raised where its item was due."""
    iterator, end = iter(items), object()
    thread = ThreadPoolExecutor(1, thread_name_prefix="examples")
    try:
        due = deque(thread.submit(next, iterator, end) for _ in range(depth))
        while (item := due.popleft().result()) is not end:
            due.append(thread.submit(next, iterator, end))
            yield item  # type: ignore[misc] # mypy does not see that `end` is left out
    finally:
        thread.shutdown(wait=False, cancel_futures=True)
