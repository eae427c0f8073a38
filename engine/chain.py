"""The stages in their order, for one process: what an operator of the pipeline runs on its rows.

    prepare   organs -> report -> place         one sample at a time, a case's volume read once
    mask      draw_masks                        a batch of lesions
    paint     paint_lesions                     a batch of lesions
    finish    check -> write                    one sample at a time

What can be expected to fail ends its own sample; anything else is a bug, and is raised with the sample's name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from engine.core.errors import CaseError, LesionForgeError, OutputError, StageBug
from engine.core.gates import GateMiss
from engine.core.requests import Masker, Painter, Services
from engine.core.sample import Sample, Status
from engine.io.reader import CaseReader
from engine.run import Run
from engine.stages.check import paste_and_check
from engine.stages.mask import draw_masks
from engine.stages.organs import find_organs
from engine.stages.paint import paint_lesions
from engine.stages.place import place
from engine.stages.report import write_reports
from engine.stages.result import result_row
from engine.stages.write import write

Stage = Callable[[Sample, Run, CaseReader], Sample]


def prepare(sample: Sample, run: Run, reader: CaseReader, services: Services) -> Sample:
    """LISTED -> PLACED."""
    stages: tuple[tuple[str, Stage], ...] = (
        ("organs", partial(find_organs, segmenter=services.segmenter)),
        ("report", write_reports),
        ("place", place),
    )
    for name, stage in stages:
        started = time.thread_time()
        try:
            sample = stage(sample, run, reader)
        except CaseError as error:
            return sample.failed(name, error)
        except OutputError as error:
            return sample.ended(Status.UNWRITABLE, name, str(error))
        except Exception as error:
            raise _bug(name, sample, error) from error
        sample = _timed(sample, name, started)
    return sample


def mask(samples: Sequence[Sample], run: Run, masker: Masker) -> list[Sample]:
    """PLACED -> MASKED."""
    return _batched("mask", samples, lambda: draw_masks(samples, run, masker))


def paint(samples: Sequence[Sample], run: Run, painter: Painter) -> list[Sample]:
    """MASKED -> PAINTED."""
    return _batched("paint", samples, lambda: paint_lesions(samples, run, painter))


def finish(sample: Sample, run: Run, reader: CaseReader) -> dict[str, Any]:
    """PAINTED -> RESULT."""
    if not sample.pending:
        return result_row(sample, run)
    name, started = "check", time.thread_time()
    try:
        pasted = paste_and_check(sample, run, reader)
        sample = _timed(sample, name, started)
        name, started = "write", time.thread_time()
        files = write(sample, pasted, run, reader)
    except GateMiss as miss:
        return result_row(sample.ended(Status.REJECTED, name, str(miss)), run)
    except CaseError as error:
        return result_row(sample.failed(name, error), run)
    except OutputError as error:
        return result_row(sample.ended(Status.UNWRITABLE, name, str(error)), run)
    except Exception as error:
        raise _bug(name, sample, error) from error
    sample = replace(_timed(sample, name, started), status=Status.DONE)
    return result_row(sample, run, pasted, files)


def whole(
    sample: Sample, run: Run, reader: CaseReader, services: Services, masker: Masker, painter: Painter
) -> dict[str, Any]:
    """LISTED -> RESULT, for backends that need no process of their own."""
    sample = prepare(sample, run, reader, services)
    sample = mask([sample], run, masker)[0]
    sample = paint([sample], run, painter)[0]
    return finish(sample, run, reader)


def _batched(name: str, samples: Sequence[Sample], work: Callable[[], list[Sample]]) -> list[Sample]:
    started = time.thread_time()
    try:
        out = work()
    except Exception as error:
        ids = ", ".join(s.sample_id for s in samples if s.pending)
        if isinstance(error, LesionForgeError):
            raise
        raise StageBug(name, ids, error) from error
    share = (time.thread_time() - started) / max(1, len(out))
    return [replace(s, seconds={**s.seconds, name: share}) for s in out]


def _timed(sample: Sample, stage: str, started: float) -> Sample:
    return replace(sample, seconds={**sample.seconds, stage: time.thread_time() - started})


def _bug(stage: str, sample: Sample, error: Exception) -> LesionForgeError:
    return error if isinstance(error, LesionForgeError) else StageBug(stage, sample.sample_id, error)
