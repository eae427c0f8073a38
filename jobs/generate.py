"""`lesionforge generate`: healthy CTs in; lesions, manifest and an nnU-Net dataset out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from engine.core.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_SOME_FAILED, RunConflictError, UsageError
from engine.core.failpoints import reached
from engine.driver import Ending
from engine.io.cases import open_cases
from engine.io.lease import Lease
from engine.io.ledger import Ledger
from engine.io.organ_cache import open_cache
from engine.io.runfile import RunFile
from engine.io.storage import OutputFolder, open_output
from engine.planner import Plan, make_plan
from engine.run import Run, code_version
from engine.settings import Settings, load_settings
from jobs.organ_models import organ_models
from jobs.reporting import require_reporter
from jobs.summary import print_plan, print_summary


def generate(config: str, overrides: Sequence[str] = (), *, dry_run: bool = False, any_code: bool = False) -> int:
    """Run a configuration to its end, or continue it. Returns the exit code.

    Raises `UsageError` before any sample is made, `OutputError` where the output takes no more.
    """
    # for Ray to read as it is loaded: asked anything by a thread that outlives the run, it starts no other cluster
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    settings = load_settings(config, overrides)
    refuse_relative("output", settings.output)
    refuse_relative("organs.cache", settings.organs.cache or "/")
    plan, base = _plan(settings)
    asked = RunFile.of(
        settings,
        cases=plan.cases,
        samples=plan.total,
        fingerprint=plan.fingerprint,
        code_version=code_version(),
        weights=_weights(settings),
    )
    output = open_output(settings.output)
    open_cache(settings.organs.cache, "", output)
    present = _run_in(output, asked, any_code)
    if not (present and present.complete):
        require_reporter(settings)
    if dry_run:
        print_plan(settings, plan, Ledger(output), present)
        return EXIT_DONE
    if present and present.complete:
        _let_go(output, settings)
        print(f"{settings.output} is complete; nothing to do")
        print_summary(output, settings)
        return _exit_code(present.counts)
    return _generate(settings, plan, base, output, asked, any_code)


def _generate(settings: Settings, plan: Plan, base: str, output: OutputFolder, asked: RunFile, any_code: bool) -> int:
    lease = Lease.acquire(output, heartbeat_s=settings.execution.heartbeat_s)
    try:
        output = output.fence(lease.token)
        file = _run_in(output, asked, any_code) or asked  # once more: its last driver may have lived until just now
        file = replace(file, times={"started": _now(), **file.times})
        file.write(output)
        run = Run(settings, base, output, code_version=asked.code_version, weights=file.weights)
        # Ray takes seconds to load; what is wrong with a request has been said by now
        from engine.finish import finish_run
        from jobs.drive import drive

        ending = drive(run, plan, Ledger(output), lease)
        if ending is Ending.INTERRUPTED:
            print(f"stopped; the same command continues {settings.output}", file=sys.stderr)
            return EXIT_INTERRUPTED
        counts, note = finish_run(run, plan.total, Ledger(output))
        reached("finished")
        replace(file, counts=counts, complete=True, times={**file.times, "finished": _now()}).write(output)
        reached("completed")
    finally:
        lease.release()
    print_summary(output, settings)
    if note:
        print(f"folds: {note}")
    return _exit_code(counts)


def _plan(settings: Settings) -> tuple[Plan, str]:
    cases = open_cases(settings.cases)
    return make_plan(cases, settings.cases.variants_per_case), cases.base


def _weights(settings: Settings) -> str:
    """Whatever has weights in this run, by part and digest. Raises `UsageError` for what cannot be used."""
    models = organ_models(settings)
    found = [f"organs {models.name}"] if models else []
    if settings.mask.is_network or settings.paint.is_network:
        from jobs.backends import require_networks

        require_networks(settings)
        from jobs.weights import weights_of

        found.append(weights_of(settings))
    return ", ".join(found)


def _run_in(output: OutputFolder, asked: RunFile, any_code: bool) -> RunFile | None:
    """The run that this folder holds, if it may be continued as asked."""
    present = RunFile.read(output)
    if present is not None:
        present.require_same(asked, output.uri, any_code=any_code)
    elif strays := [n for n in output.names("") if not n.startswith("lease/")]:
        raise UsageError(f"{output.uri} is not empty ({strays[0]}, ...) and holds no run; choose another output")
    return present


def _let_go(output: OutputFolder, settings: Settings) -> None:
    """Clear away the lease of a driver that was killed between its last word and letting go."""
    if output.names("lease"):
        with suppress(RunConflictError):  # it is about to do so itself
            Lease.acquire(output, heartbeat_s=settings.execution.heartbeat_s).release()


def refuse_relative(setting: str, folder: str) -> None:
    """A job's working folder is a temporary upload: what is written there would vanish with it."""
    if _in_submitted_job() and "://" not in folder and not Path(folder).expanduser().is_absolute():
        raise UsageError(
            f"{setting} '{folder}' is relative, and inside a submitted job that is a temporary folder; "
            "give an absolute path or a URI"
        )


def _in_submitted_job() -> bool:
    """Whether this process is the entry point of `ray job submit`: Ray's job supervisor sets this for it alone."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def _exit_code(counts: dict[str, int] | object) -> int:
    failed = counts.get("failed", 0) if isinstance(counts, dict) else 0
    return EXIT_SOME_FAILED if failed else EXIT_DONE


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def main() -> None:
    """`python -m jobs.generate CONFIG [key=value ...]`, for `ray job submit`."""
    from jobs.cli import command

    command("generate")


if __name__ == "__main__":
    main()
