"""Work on a run until nothing is missing: Ray, the pipeline, the driver's loop, and the signals that end it early."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from actors.masker import MaskActor
from actors.painter import PaintActor
from engine.core.requests import Services
from engine.driver import Driver, Ending
from engine.io.lease import Lease
from engine.io.ledger import Ledger
from engine.pipeline import Pipeline, waiting_for
from engine.planner import Plan
from engine.run import Run
from jobs.backends import masker_for, painter_for, segmenter_for
from jobs.cluster import connected
from jobs.progress import RunProgress


def drive(run: Run, plan: Plan, ledger: Ledger, lease: Lease) -> Ending:
    """Connect to Ray and work until nothing is missing; a signal ends it early and cleanly."""
    if ledger.committed(plan.total).all():
        return Ending.COMPLETE
    with RunProgress() as progress, ExitStack() as until_ray_is_down, connected(run.settings) as execution:
        run = replace(run, settings=run.settings.model_copy(update={"execution": execution}))
        masker, painter = masker_for(run.settings), painter_for(run.settings)
        with segmenter_for(run) as segmenter:
            pipeline = Pipeline(run, masker, painter, MaskActor, PaintActor, Services(segmenter=segmenter))
            driver = Driver(run, plan, ledger, lease, pipeline.execute, lambda: waiting_for(execution), progress)
            until_ray_is_down.enter_context(_signals_stop(driver))
            return driver.work()


@contextmanager
def _signals_stop(driver: Driver) -> Iterator[None]:
    """SIGINT and SIGTERM ask the driver to commit and leave; a second one ends the process at once.

    At once means by the system: a handler in Python would not be called while Ray goes down, which can take long.
    """
    ours = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, frame: object) -> None:
        for ending in ours:
            signal.signal(ending, signal.SIG_DFL)
        driver.stop()

    before = {number: signal.signal(number, stop) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
