"""The stages in their order, for one process: what an operator of the pipeline runs on its rows.

    prepare   organs -> report -> place         one sample at a time, a case's volume read once; a block at a time
                                                where a language model is asked
    mask      draw_masks                        a batch of lesions
    paint     paint_lesions                     a batch of lesions
    finish    check -> write                    one sample at a time

What can be expected to fail ends its own sample; anything else is a bug, and is raised with the sample's name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from engine.core.dictation import Answer
from engine.core.errors import CaseError, LesionForgeError, OutputError, ServiceError, StageBug
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
from engine.stages.report import Draft, complete, questions, survey, write_reports
from engine.stages.result import result_row
from engine.stages.write import write

Stage = Callable[[Sample, Run, CaseReader], Sample]


def prepare(sample: Sample, run: Run, reader: CaseReader, services: Services) -> Sample:
    """LISTED -> PLACED."""
    stages = (_finding_organs(services), ("report", write_reports), ("place", place))
    return _through(stages, sample, run, reader)


def _finding_organs(services: Services) -> tuple[str, Stage]:
    return "organs", partial(find_organs, segmenter=services.segmenter)


def prepare_all(samples: Sequence[Sample], run: Run, reader: CaseReader, services: Services) -> Iterator[Sample]:
    """LISTED -> PLACED, in order, each when it is asked for.

    With a reporter all samples are surveyed first, so that it is asked once for all their lesions.
    """
    if services.reporter is None:
        yield from (prepare(sample, run, reader, services) for sample in samples)
        return
    surveyed = [_surveyed(sample, run, reader, services) for sample in samples]
    asked = [question for sample, drafts in surveyed for question in questions(sample, run, drafts)]
    try:
        answers = iter(services.reporter(asked))
    except OutputError as error:
        yield from _all_ended(samples, Status.UNWRITABLE, error)
    except ServiceError as error:
        yield from _all_ended(samples, Status.UNANSWERED, error)
    else:
        for sample, drafts in surveyed:
            yield _written(sample, drafts, list(islice(answers, len(drafts))), run, reader)


def _surveyed(sample: Sample, run: Run, reader: CaseReader, services: Services) -> tuple[Sample, list[Draft]]:
    """Its organs found and its lesions drafted; no drafts where that failed."""
    drafts: list[Draft] = []

    def draft(sample: Sample, run: Run, reader: CaseReader) -> Sample:
        drafts.extend(survey(sample, run, reader))
        return sample

    return _through((_finding_organs(services), ("report", draft)), sample, run, reader), drafts


def _written(
    sample: Sample, drafts: Sequence[Draft], answers: Sequence[Answer], run: Run, reader: CaseReader
) -> Sample:
    """Its drafts completed with their answers, and placed."""

    def write(sample: Sample, run: Run, reader: CaseReader) -> Sample:
        return complete(sample, run, drafts, answers)

    return _through((("report", write), ("place", place)), sample, run, reader)


def _all_ended(samples: Sequence[Sample], status: Status, error: LesionForgeError) -> Iterator[Sample]:
    yield from (sample.ended(status, "report", str(error)) for sample in samples)


def _through(stages: Sequence[tuple[str, Stage]], sample: Sample, run: Run, reader: CaseReader) -> Sample:
    """A sample through some stages, as far as it comes."""
    for name, stage in stages:
        if not sample.pending:
            break
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
    samples: Sequence[Sample], run: Run, reader: CaseReader, services: Services, masker: Masker, painter: Painter
) -> Iterator[dict[str, Any]]:
    """LISTED -> RESULT, a row each, for backends that need no process of their own."""
    for sample in prepare_all(samples, run, reader, services):
        masked = mask([sample], run, masker)
        yield finish(paint(masked, run, painter)[0], run, reader)


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
    spent = sample.seconds.get(stage, 0.0) + time.thread_time() - started
    return replace(sample, seconds={**sample.seconds, stage: spent})


def _bug(stage: str, sample: Sample, error: Exception) -> LesionForgeError:
    return error if isinstance(error, LesionForgeError) else StageBug(stage, sample.sample_id, error)
