"""The report writer of a run: looked at before it starts, and resident while it goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import SecretStr

from engine.core.errors import UsageError
from engine.run import Run
from engine.settings import Settings
from engine.writers import ReportWriter

if TYPE_CHECKING:
    from actors.reporter import RemoteReporter

Execute = Callable[[pa.Table], Iterator[pa.Table]]


def require_reporter(settings: Settings) -> None:
    """Raise `UsageError` where a language model is to be asked, and cannot be."""
    writer = settings.report
    if not writer.asks:
        return
    if writer.base_url is None:
        raise UsageError("report.writer llm needs report.base_url, such as http://127.0.0.1:8000/v1")
    try:
        from actors.probe import require_server
    except ModuleNotFoundError as error:
        raise UsageError(
            f"report.writer llm needs {error.name}, which is not installed; pip install 'lesionforge[llm]' brings it"
        ) from None
    asyncio.run(require_server(writer, key_of(writer)))


def key_of(writer: ReportWriter) -> SecretStr | None:
    """From the environment. Raises `UsageError` where it should be there and is not."""
    if writer.key_env is None:
        return None
    key = os.environ.get(writer.key_env, "").strip()
    if not key:
        raise UsageError(f"report.key_env: the environment variable {writer.key_env} is not set")
    return SecretStr(key)


@contextmanager
def reporter_of(run: Run) -> Iterator[RemoteReporter | None]:
    """The resident reporter, for the length of a run; None where the template writes. Ray is up."""
    writer = run.settings.report
    if not writer.asks:
        yield None
        return
    import ray

    from actors.reporter import start_reporter

    reporter = start_reporter(writer, run.output, key_of(writer))
    try:
        yield reporter
    finally:
        ray.kill(reporter.actor)


def with_budget_watched(execute: Execute, reporter: RemoteReporter | None, say: Callable[[str], None]) -> Execute:
    """`execute`, which says so, once, when the budget is spent."""
    if reporter is None:
        return execute
    import ray

    news = [reporter.actor.budget_spent.remote()]

    def watched(wave: pa.Table) -> Iterator[pa.Table]:
        for table in execute(wave):
            yield table
            if news and ray.wait(news, timeout=0)[0]:
                say(f"report.budget is spent ({ray.get(news.pop())}); further reports are by template")

    return watched
