"""The driver's loop: hand out waves, take rows back, commit them. It alone writes the manifest.

Workers may outlive a killed driver, but they only write files of deterministic name and content, so nothing they do can
double a row. A sample counts as done once its row is committed; until then it is made again, to the same bits.

Ray runs in a second thread that only feeds a queue, so the main thread can commit by the clock, notice that nothing
moves, and obey a signal within half a second.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.core.errors import OutputError, RunConflictError, ServiceError
from engine.core.failpoints import reached
from engine.core.sample import Status
from engine.core.schema import MANIFEST_SCHEMA, METRICS_SCHEMA
from engine.core.wire import LISTED
from engine.io.lease import Lease
from engine.io.ledger import Ledger
from engine.planner import Plan
from engine.run import Run

_TICK_S = 0.25
_QUEUE_BLOCKS = 64


class Ending(StrEnum):
    COMPLETE = "complete"
    INTERRUPTED = "interrupted"


class Listener(Protocol):
    """Whoever shows the run to a person, or counts it."""

    def started(self, total: int, committed: dict[str, int]) -> None: ...
    def handed_out(self, samples: int) -> None: ...
    def returned(self, statuses: dict[str, int], again: int, lesions: int) -> None: ...
    def waiting(self, line: str) -> None: ...
    def stopping(self) -> None: ...


@dataclass
class Driver:
    """One pass over whatever is missing of a run. `execute` turns LISTED rows into RESULT tables as they finish."""

    run: Run
    plan: Plan
    ledger: Ledger
    lease: Lease
    execute: Callable[[pa.Table], Iterator[pa.Table]]
    waiting_for: Callable[[], str]
    listener: Listener

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._rows: list[pa.Table] = []
        self._uncommitted = 0
        self._last_commit = self._last_row = time.monotonic()
        self._again: list[pa.Table] = []

    def stop(self) -> None:
        """Ask the loop to commit what is back and leave. Safe in a signal handler."""
        self._stopping.set()

    def work(self) -> Ending:
        """Until every sample of the plan is committed, or `stop`. Raises `OutputError`, `ServiceError`,
        and what a stage raises.

        Whatever ends it, rows that are back are committed first.
        """
        committed = self.ledger.committed(self.plan.total)
        self.listener.started(self.plan.total, self.ledger.counts())
        try:
            for wave in self._waves(committed):
                self.listener.handed_out(wave.num_rows)
                for table in self._execute(wave):
                    self._take(table)
                if self._stopping.is_set():
                    self.listener.stopping()
                    return Ending.INTERRUPTED
        finally:
            self._commit()
        return Ending.COMPLETE

    def _waves(self, committed: NDArray[np.bool_]) -> Iterator[pa.Table]:
        """The plan's waves, each with what is to be tried again; then the rest of that."""
        for wave in self.plan.waves(committed, self.run.settings.execution.wave_samples):
            yield pa.concat_tables([*self._take_again(), wave])
        while self._again:
            yield pa.concat_tables(self._take_again())

    def _take_again(self) -> list[pa.Table]:
        again, self._again = self._again, []
        return again

    def _execute(self, wave: pa.Table) -> Iterator[pa.Table]:
        """Result tables of a wave; stops early when asked to. Commits and watches between them."""
        results: queue.Queue[pa.Table | BaseException | None] = queue.Queue(_QUEUE_BLOCKS)
        threading.Thread(target=self._feed, args=(wave, results), daemon=True).start()
        self._last_row = time.monotonic()
        while not self._stopping.is_set():
            self._keep_time()
            try:
                item = results.get(timeout=_TICK_S)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            self._last_row = time.monotonic()
            yield item
        yield from _back(results)

    def _feed(self, wave: pa.Table, results: queue.Queue[pa.Table | BaseException | None]) -> None:
        try:
            for table in self.execute(wave):
                results.put(table)
            results.put(None)
        except BaseException as error:
            results.put(error)

    def _take(self, table: pa.Table) -> None:
        """Sort rows into: commit, try again, or stop because output or a service takes no more."""
        status = table.column("status")
        for ending, error in ((Status.UNWRITABLE, OutputError), (Status.UNANSWERED, ServiceError)):
            for reason in table.filter(pc.equal(status, ending.value)).column("reason").to_pylist():
                raise error(reason)
        retry = pc.and_(
            pc.equal(status, Status.REJECTED.value),
            pc.less(table.column("attempts"), self.run.settings.check.max_attempts),
        )
        ended, again = table.filter(pc.invert(retry)), table.filter(retry)
        if again.num_rows:
            attempt = pc.cast(pc.add(again.column("attempt"), 1), pa.int32())
            again = again.set_column(again.schema.get_field_index("attempt"), "attempt", attempt)
            self._again.append(again.select(LISTED.names).cast(LISTED))
        if ended.num_rows:
            reached("row_returned")
            self._rows.append(ended)
            self._uncommitted += ended.num_rows
        counts = {v["values"]: v["counts"] for v in pc.value_counts(ended.column("status")).to_pylist()}
        lesions = pc.sum(pc.list_value_length(ended.column("lesions"))).as_py() or 0
        self.listener.returned(counts, again.num_rows, lesions)
        if self._uncommitted >= self.run.settings.execution.commit_rows:
            self._commit()

    def _keep_time(self) -> None:
        execution, now = self.run.settings.execution, time.monotonic()
        if now - self._last_commit >= execution.commit_s:
            self._commit()
        if now - self._last_row >= execution.watchdog_s:
            waited = now - self._last_row
            self.listener.waiting(f"no sample came back for {waited:.0f} s; {self.waiting_for()}")
            self._last_row = now

    def _commit(self) -> None:
        self._last_commit = time.monotonic()
        if not self._rows:
            return
        if not self.lease.still_mine():
            raise RunConflictError("another driver has taken this run over; this one stops without committing")
        rows, self._rows, self._uncommitted = pa.concat_tables(self._rows), [], 0
        metrics = pa.Table.from_struct_array(rows.column("metrics").combine_chunks()).cast(METRICS_SCHEMA)
        self.ledger.append(rows.select(MANIFEST_SCHEMA.names).cast(MANIFEST_SCHEMA), metrics)
        reached("part_committed")


def _back(results: queue.Queue[pa.Table | BaseException | None]) -> Iterator[pa.Table]:
    """Tables that have come back already."""
    with suppress(queue.Empty):
        while isinstance(item := results.get_nowait(), pa.Table):
            yield item
