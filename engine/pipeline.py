"""The run as a Ray Data pipeline.

    1. list      row numbers of a wave, `block_size` to a block
    2. prepare   organs -> report -> place              CPU tasks
    3. mask      masker                                 actor pool, or inside the CPU tasks
    4. paint     painter                                actor pool, or inside the CPU tasks
    5. finish    check -> write                         CPU tasks
    6. commit    the driver, from the rows that come back

With no pool asked for, 2 to 5 are one operator: a sample's arrays then never leave their process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy

from engine.core.errors import LayoutError
from engine.core.requests import Services
from engine.run import Run
from engine.settings import Execution, Pool
from engine.stage import (
    MaskerFactory,
    PainterFactory,
    Wave,
    run_finish,
    run_prepare,
    run_whole,
)

Operator = Callable[..., pa.Table]

TASK_CPUS = 1.0
FINISH_CPUS = 0.75
"""Not equal to `TASK_CPUS`, nor to a pool's: Ray fuses neighbours of equal resources, which would serialise them."""


@dataclass(frozen=True)
class Pipeline:
    """Executes waves of samples. Receives its backends and actors, so that a test can run the chain with its own."""

    run: Run
    masker: MaskerFactory
    painter: PainterFactory
    mask_actor: type
    paint_actor: type
    services: Services = Services()
    whole: Operator = run_whole
    """Runs every stage in one task, where there are no pools."""
    prepare: Operator = run_prepare
    finish: Operator = run_finish

    def execute(self, listed: pa.Table) -> Iterator[pa.Table]:
        """LISTED rows -> tables of RESULT rows, in the order in which they are finished."""
        dataset = self.dataset(Wave.of(listed))
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)

    def dataset(self, wave: Wave) -> Dataset:
        execution = self.run.settings.execution
        rows = ray.data.range(wave.count, override_num_blocks=-(-wave.count // execution.block_size))
        if execution.mask_pool is None or execution.paint_pool is None:
            backends: dict[str, Any] = {"masker": self.masker, "painter": self.painter}
            return self._tasks(rows, self.whole, wave=wave, run=self.run, services=self.services, **backends)
        rows = self._tasks(rows, self.prepare, wave=wave, run=self.run, services=self.services)
        rows = self._pool(rows, self.mask_actor, execution.mask_pool, self.masker)
        rows = self._pool(rows, self.paint_actor, execution.paint_pool, self.painter)
        return self._tasks(rows, self.finish, num_cpus=FINISH_CPUS, run=self.run)

    def _tasks(self, rows: Dataset, function: Any, *, num_cpus: float = TASK_CPUS, **arguments: Any) -> Dataset:
        """An operator without a pool size of its own: Ray then fuses the first one with the list of row numbers."""
        return rows.map_batches(
            function,
            fn_kwargs=arguments,
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=num_cpus,
            compute=TaskPoolStrategy(),
        )

    def _pool(self, rows: Dataset, operator: Any, pool: Pool, backend: Any) -> Dataset:
        return rows.map_batches(
            operator,
            fn_constructor_args=(self.run, backend),
            batch_size=pool.batch,
            batch_format="pyarrow",
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
            compute=ActorPoolStrategy(
                min_size=pool.min,
                max_size=pool.max,
                initial_size=pool.min,
                max_concurrent_calls_per_actor=pool.calls,
                enable_true_multi_threading=pool.calls > 1,
            ),
        )


def set_up_ray_data(execution: Execution) -> None:
    """At most `workers` CPUs at a time, and no progress bars: the run has its own, fed by the rows themselves."""
    context = DataContext.get_current()
    cpus = float(execution.workers) if execution.workers else float("inf")
    cpus += sum(pool.max * pool.num_cpus for pool in execution.pools.values())
    options = context.execution_options
    options.resource_limits = options.resource_limits.copy(cpu=cpus)
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def check_layout(
    execution: Execution, nodes: Sequence[Mapping[str, float]], *, resources: Sequence[str] = ("CPU", "GPU")
) -> None:
    """Raise `LayoutError` where nodes of these resources can never run this layout; Ray Data would wait in silence.

    Rule: the pools at their smallest, plus one CPU task, must fit, each of them whole on one node.
    """
    pools, lacking = execution.residents, []
    for resource in resources:
        of_pool = {name: getattr(pool, f"num_{resource.lower()}s") for name, pool in pools.items()}
        wanted = [share for name, share in of_pool.items() for _ in range(pools[name].min)]
        parts = [f"{name} {pools[name].min} x {share:g}" for name, share in of_pool.items()]
        if resource == "CPU":
            wanted.append(TASK_CPUS)
            parts.append(f"one CPU task {TASK_CPUS:g}")
        rooms = [node.get(resource, 0.0) for node in nodes]
        if not _fit(wanted, rooms):
            there = f"{sum(rooms):g}" + (f" on nodes of {', '.join(f'{r:g}' for r in rooms)}" if len(rooms) > 1 else "")
            lacking.append(f"{sum(wanted):g} {resource}s ({' + '.join(parts)}), the cluster has {there}")
    if lacking:
        raise LayoutError(f"the layout needs {'; it needs '.join(lacking)}")


def bundles_of(execution: Execution) -> list[dict[str, float]]:
    """The layout at its smallest, as what must lie together on a node: each actor, and one CPU task."""
    actors = [{"CPU": p.num_cpus, "GPU": p.num_gpus} for p in execution.residents.values() for _ in range(p.min)]
    return [{name: share for name, share in bundle.items() if share} for bundle in (*actors, {"CPU": TASK_CPUS})]


def _fit(wanted: Sequence[float], rooms: Sequence[float]) -> bool:
    """Whether everything finds room, largest first, none of it divided."""
    left = list(rooms)
    for share in sorted(wanted, reverse=True):
        place = next((n for n, room in enumerate(left) if room >= share - 1e-9), None)
        if place is None:
            return False
        left[place] -= share
    return True


def waiting_for(execution: Execution) -> str:
    """What is free and what each pool wants, in one line: for a run that has stopped moving."""
    have, free = ray.cluster_resources(), ray.available_resources()
    resources = ", ".join(f"{free.get(r, 0):g} of {have.get(r, 0):g} {r} free" for r in ("CPU", "GPU") if have.get(r))
    wants = [f"{n} {p.min}-{p.max} x ({p.num_cpus:g} CPU, {p.num_gpus:g} GPU)" for n, p in execution.residents.items()]
    wants.append(f"CPU tasks {TASK_CPUS:g} CPU each")
    return f"{resources}; wanted: {'; '.join(wants)}"
