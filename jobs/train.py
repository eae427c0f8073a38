"""`lesionforge train`: known lesions in; a VQ-GAN, an LMNet or a LINet out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from engine.core.errors import EXIT_DONE, EXIT_INTERRUPTED, RunConflictError, UsageError
from engine.core.failpoints import reached
from engine.io.lease import Lease
from engine.io.storage import OutputFolder, open_output
from engine.run import code_version
from engine.training.lesions import KnownLesion, known_lesions, split
from engine.training.settings import TrainSettings, load_training
from jobs.generate import refuse_relative
from jobs.training.paths import with_absolute_paths
from jobs.training.requirements import require_packages, require_settings
from jobs.training.trainfile import TrainFile

_HEARTBEAT_S = 5.0
_Lesions = tuple[tuple[KnownLesion, ...], tuple[KnownLesion, ...]]


def train(config: str, overrides: Sequence[str] = ()) -> int:
    """Train as a configuration says, or go on with it. Returns the exit code.

    Raises `UsageError` before the first step, and for a bad case where these are to stop it; `OutputError` where the
    output takes no more.
    """
    # for Ray to read as it is loaded: asked anything by a thread that outlives the run, it starts no other cluster
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    settings = load_training(config, overrides)
    refuse_relative("output", settings.output)
    refuse_relative("data.cache", settings.data.cache or "/")
    settings = with_absolute_paths(settings)
    require_packages(settings)
    require_settings(settings)
    trained, validated = split(known_lesions(settings.data), settings.data.validation, settings.seed)
    output = open_output(settings.output)
    from jobs.training.given_weights import weights_of  # torch takes seconds to load, too

    asked = TrainFile.of(settings, trained, validated, weights=weights_of(settings), code_version=code_version())
    present = _training_in(output, asked)
    if present and present.complete:
        _let_go(output)
        print(f"{settings.output} is complete; nothing to do")
        _print_summary(present, output)
        return EXIT_DONE
    return _train(settings, (trained, validated), output, asked)


def _train(settings: TrainSettings, lesions: _Lesions, output: OutputFolder, asked: TrainFile) -> int:
    lease = Lease.acquire(output, heartbeat_s=_HEARTBEAT_S)
    try:
        output = output.fence(lease.token)
        file = _training_in(output, asked) or asked  # once more: its last driver may have lived until just now
        file = replace(file, times={"started": _now(), **file.times})
        file.write(output)
        file = replace(file, **_outcome(settings, lesions, output))
        reached("trained")
        file = replace(file, complete=True, times={**file.times, "finished": _now()})
        file.write(output)
    except KeyboardInterrupt:
        print(f"stopped; the same command continues {settings.output}", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        lease.release()
    _print_summary(file, output)
    return EXIT_DONE


def _outcome(settings: TrainSettings, lesions: _Lesions, output: OutputFolder) -> dict[str, Any]:
    """Fields of `TrainFile`, once every step is done and the weights are written."""
    # Ray takes seconds to load; what is wrong with a request has been said by now
    from jobs.training.cluster import connected
    from jobs.training.drive import drive
    from jobs.training.weights import write_weights

    with connected(settings):
        kept, bad_cases = drive(settings, output, *lesions)
        reached("last_step")
        files = write_weights(settings, {"": kept.best, "-last": kept.last}, output)
    return {"best": kept.best_metrics, "last": kept.last_metrics, "bad_cases": bad_cases, "files": files}


def _training_in(output: OutputFolder, asked: TrainFile) -> TrainFile | None:
    """The training that this folder holds, if it may be continued as asked."""
    present = TrainFile.read(output)
    if present is not None:
        present.require_same(asked, output.uri)
    elif strays := [n for n in output.names("") if not n.startswith("lease/")]:
        raise UsageError(f"{output.uri} is not empty ({strays[0]}, ...) and holds no training; choose another output")
    return present


def _let_go(output: OutputFolder) -> None:
    """Clear away the lease of a driver that was killed between its last word and letting go."""
    if output.names("lease"):
        with suppress(RunConflictError):  # it is about to do so itself
            Lease.acquire(output, heartbeat_s=_HEARTBEAT_S).release()


def _print_summary(file: TrainFile, output: OutputFolder) -> None:
    count = file.lesions
    print(f"steps: {file.last['step']}; lesions: {count['trained']} trained on, {count['validated']} validated on")
    for word, metrics in (("best", file.best), ("last", file.last)):
        seen = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name.startswith("val/"))
        print(f"{word}: step {metrics['step']}" + (f", {seen}" if seen else ""))
    for case in file.bad_cases:
        print(f"skipped {case['examples']} examples: {case['reason']}")
    for name in file.files:
        print(f"weights: {output.uri_of(name)}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def main() -> None:
    """`python -m jobs.train CONFIG [key=value ...]`, for `ray job submit`."""
    from jobs.cli import command

    command("train")


if __name__ == "__main__":
    main()
