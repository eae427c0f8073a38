"""Ray Train at work on a training, and its driver, which listens and shows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any

import ray
from ray.train import CheckpointConfig, FailureConfig, Result, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from engine.core.errors import EXIT_OUTPUT, OutputError, ServiceLostError, UsageError
from engine.core.store_errors import refusal
from engine.io.storage import OutputFolder
from engine.training.lesions import KnownLesion
from engine.training.settings import TrainSettings, Workers
from jobs.training.board import News, Reporter, start_board
from jobs.training.checkpoints import FOLDER, SCORE, Kept, file_system
from jobs.training.loop import Work, train_loop
from jobs.training.progress import TrainingProgress
from jobs.training.source import Source

_LISTENS_EVERY_S = 0.5


def drive(
    settings: TrainSettings, output: OutputFolder, trained: Sequence[KnownLesion], validated: Sequence[KnownLesion]
) -> tuple[Kept, list[dict[str, Any]]]:
    """To the last step; the checkpoints kept, and the bad cases met. Ray is up.

    Raises `UsageError` for what a user has to mend, `OutputError` where the output takes no more, `ServiceLostError`
    where workers die again and again. A bug of ours comes with its traceback.
    """
    board, kept = start_board(), Kept.read(output)
    if kept is None or kept.step < settings.steps:
        work = Work(Source.of(settings, trained, validated), output, Reporter(board, settings))
        with TrainingProgress(settings.steps, kept.step if kept else 0) as progress:
            kept = Kept.of(_trained(_trainer(work), board, progress))
    else:  # by a driver that did not come to its end
        ray.get(board.recall.remote(kept.skipped()))
    if kept is None:
        raise OutputError(f"{output.uri}: Ray Train kept no checkpoint")
    return kept, ray.get(board.bad_cases.remote())


def _trainer(work: Work) -> TorchTrainer:
    settings, workers = work.settings, work.settings.workers
    store, path = file_system(work.output)
    return TorchTrainer(
        train_loop,
        train_loop_config={"work": work},
        torch_config=TorchConfig(backend="nccl" if _on_gpus(settings) else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=_elastic(workers),
            use_gpu=_on_gpus(settings),
            resources_per_worker=_reserved(workers),
        ),
        run_config=RunConfig(
            name=FOLDER,
            storage_path=path,
            storage_filesystem=store,
            failure_config=FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=SCORE),  # and the last one
        ),
    )


def _on_gpus(settings: TrainSettings) -> bool:
    return bool(settings.workers.num_gpus) and settings.device != "cpu"


def _elastic(workers: Workers) -> Any:
    return workers.max if workers.min == workers.max else (workers.min, workers.max)


def _reserved(workers: Workers) -> dict[str, float]:
    shares = {"CPU": workers.num_cpus, "GPU": workers.num_gpus}
    return {name: share for name, share in shares.items() if share}


def _trained(trainer: TorchTrainer, board: Any, progress: TrainingProgress) -> Result:
    """In a thread, so that this one hears of signals and of the workers."""
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    fitting: Future[Result] = Future()
    Thread(target=_fit, args=(trainer, fitting), name="ray-train", daemon=True).start()
    try:
        while not wait([fitting], _LISTENS_EVERY_S).done:
            _listen(board, progress)
        _listen(board, progress)
        return fitting.result()
    except TrainingFailedError as error:
        raise _explained(error) from error


def _fit(trainer: TorchTrainer, outcome: Future[Result]) -> None:
    """A daemon's work: where it is cut off it may ask a cluster that is gone for ever, and nobody waits for it."""
    try:
        outcome.set_result(trainer.fit())
    except BaseException as error:
        outcome.set_exception(error)


def _listen(board: Any, progress: TrainingProgress) -> None:
    news: News = ray.get(board.news.remote())
    progress.show(news)
    if news.verdict is not None:
        reason, code = news.verdict
        raise (OutputError if code == EXIT_OUTPUT else UsageError)(reason)


def _explained(error: TrainingFailedError) -> Exception:
    """A worker that died is nobody's bug: its node, its memory. What it raised is ours, and keeps its traceback."""
    ours = getattr(error, "controller_failure", None)
    if isinstance(ours, OSError):
        return OutputError(f"its checkpoints cannot be written: {refusal(ours)}")
    failures = getattr(error, "worker_failures", {})
    causes = [getattr(failure, "health_check_failure", failure) for failure in failures.values()]
    died = [cause for cause in causes if isinstance(cause, ray.exceptions.RayActorError)]
    if not died:
        for rank, failure in sorted(failures.items()):  # of its own it shows the head and the end
            error.add_note(f"worker {rank}: {failure}")
        return error
    return ServiceLostError(
        f"workers died more often than max_failures allows ({_first_line(died[0])}); the same command continues"
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
