"""`lesionforge inspect`: what a run holds, and with `--verify` whether every file still is what the manifest says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import track

from engine.core.errors import EXIT_DONE, EXIT_SOME_FAILED, UsageError
from engine.io.ledger import Ledger
from engine.io.organ_cache import FOLDER, MADE
from engine.io.runfile import RUN_FILE, RunFile
from engine.io.storage import OutputFolder, open_input
from engine.settings import Settings, parse_settings
from jobs.plots import Picture
from jobs.summary import print_summary

_FOLDERS = ("manifest/", "metrics/", "preview/", f"{FOLDER}/")
"""Of files that a manifest row need not name."""
_MADE_HERE = f"{MADE}{FOLDER}/"


def inspect(run: str, *, verify: bool = False, plots: str = "") -> int:
    """Print a run's counts; returns the exit code. Writes nothing but `plots`, a picture file, where one is named.

    Raises `UsageError` where there is no run, or where `plots` is of no picture format.
    """
    picture = Picture.at(plots) if plots else None
    output = open_input(run, RUN_FILE)
    file = RunFile.read(output)
    if file is None:
        raise UsageError(f"{run} holds no run: there is no {RUN_FILE} in it")
    settings = settings_of(file, run)
    tally = print_summary(output, settings, most_reasons=None)
    console = Console(markup=False, highlight=False)
    committed = tally.statuses.total()
    state = "complete" if file.complete else f"unfinished: {committed} of {file.samples} samples committed"
    console.print(f"run: {state}; code {file.code_version}, config {file.config_hash}", soft_wrap=True)
    if picture:
        picture.draw(tally)
        console.print(f"plots: {picture.path}", soft_wrap=True)
    if not verify:
        return EXIT_DONE
    problems = list(verify_run(output, settings, file, Ledger(output)))
    for problem in problems[:50]:
        console.print(f"  {problem}", style="red", soft_wrap=True)
    console.print(f"verified {committed} rows: {len(problems)} problems")
    return EXIT_SOME_FAILED if problems else EXIT_DONE


def settings_of(file: RunFile, output: str, **extra: Any) -> Settings:
    """The settings that a run was made with, as far as they decide its content."""
    config = {**file.config, **extra}
    cases = {**file.config["cases"], "source": "recorded"}
    return parse_settings({**config, "cases": cases, "output": output}, origin=f"{output}/run.json")


def verify_run(output: OutputFolder, settings: Settings, file: RunFile, ledger: Ledger) -> Iterator[str]:
    """One line a problem: a file missing, changed or unknown, a sample missing or doubled."""
    folder = settings.write.dataset_folder
    known: set[str] = {RUN_FILE, f"{folder}/dataset.json", f"{folder}/splits_final.json"}
    seen = 0
    for row in track(ledger.rows(), total=file.samples, description="verify", transient=True):
        seen += 1
        made = row["organs_uri"] or ""
        if made.startswith(_MADE_HERE) and (name := made.removeprefix(MADE)) not in known:
            known.add(name)
            yield from _check_file(output, name, row, "organs")
        if row["status"] == "done":
            for kind in ("image", "label"):
                if row[f"{kind}_uri"]:
                    name = f"{folder}/{row[f'{kind}_uri']}"
                    known.add(name)
                    yield from _check_file(output, name, row, kind)
    if file.complete and seen != file.samples:
        yield f"{seen} rows for {file.samples} samples"
    for name in output.names():
        if name in known or name.startswith(_FOLDERS):
            continue
        if not file.complete and name.startswith(("lease/", f"{folder}/shard-")):
            continue  # of the driver at work, and of samples that it has not committed yet
        yield f"{name}: no manifest row names this file"


def _check_file(output: OutputFolder, name: str, row: Mapping[str, Any], kind: str) -> Iterator[str]:
    try:
        data = output.get(name)
    except FileNotFoundError:
        yield f"{row['sample_id']}: {name} is missing"
        return
    if hashlib.sha256(data).hexdigest() != row[f"{kind}_sha256"]:
        yield f"{row['sample_id']}: {name} is not what was written (sha256 differs)"


def main() -> None:
    """`python -m jobs.inspect RUN [--verify] [--plots FILE]`."""
    from jobs.cli import command

    command("inspect")


if __name__ == "__main__":
    main()
