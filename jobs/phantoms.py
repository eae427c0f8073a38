"""`lesionforge phantoms`: healthy phantom CTs with organ maps, to try everything without data."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.phantom.cases import write_phantoms


def phantoms(folder: str, count: int = 4, seed: int = 0) -> None:
    """Write `count` cases and their list below `folder`, and say where the list is.

    Raises `UsageError` and `OutputError`, as `write_phantoms` does.
    """
    console = Console(file=sys.stderr)
    columns = (TextColumn("phantoms"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("phantoms", total=count)
        uri = write_phantoms(folder, count, seed, written=lambda _: bar.advance(task))
    print(f"{count} phantom cases, listed in {uri}")


if __name__ == "__main__":
    from jobs.cli import command

    command("phantoms")
