"""The `lesionforge` command."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from engine.core.errors import EXIT_INTERRUPTED, EXIT_USAGE, LesionForgeError, UsageError

_WrongArguments: type[Exception] = typer.BadParameter.__bases__[0]
"""Root of what typer raises for arguments it does not understand, whichever click it was built on."""

app = typer.Typer(
    name="lesionforge",
    help="Synthetic lesions in healthy CT: images, exact masks, reports.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[str, typer.Argument(help="YAML of the run, local or any fsspec URI.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Dotted overrides, such as execution.workers=2.")]


@app.command()
def generate(
    config: Config,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    any_code: Annotated[bool, typer.Option("--any-code", help="Continue a run of another code version.")] = False,
) -> None:
    """Make lesions in the cases of a configuration, or continue a run that was stopped."""
    from jobs.generate import generate as run

    raise typer.Exit(run(config, overrides or [], dry_run=dry_run, any_code=any_code))


@app.command()
def train(config: Config, overrides: Overrides = None) -> None:
    """Train a network on known lesions, or go on with a training that was stopped."""
    from jobs.train import train as run

    raise typer.Exit(run(config, overrides or []))


@app.command()
def phantoms(
    folder: Annotated[str, typer.Argument(help="Where the phantom CTs go.")],
    count: Annotated[int, typer.Option(min=1)] = 4,
    seed: int = 0,
) -> None:
    """Make healthy phantom CTs with organ maps, to try everything without data."""
    from jobs.phantoms import phantoms as make

    make(folder, count, seed)


@app.command()
def inspect(
    run: Annotated[str, typer.Argument(help="Output folder of a run.")],
    verify: Annotated[bool, typer.Option("--verify", help="Read every file again and compare its hash.")] = False,
    plots: Annotated[
        str, typer.Option("--plots", metavar="FILE", help="Draw volumes, contrasts, reasons: .png .svg .pdf.")
    ] = "",
) -> None:
    """Counts, failures by reason, plots, and with --verify a check of every file."""
    from jobs.inspect import inspect as look

    raise typer.Exit(look(run, verify=verify, plots=plots))


@app.command()
def materialise(
    run: Annotated[str, typer.Argument(help="Output folder of a run with write.form: patch.")],
    output: Annotated[str, typer.Argument(help="Folder for the same dataset as whole volumes.")],
    cases: Annotated[str, typer.Option(help="Folder that relative URIs of the case list start from.")] = "",
    workers: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Rebuild whole volumes from their sources and a run of patches, bit for bit."""
    from jobs.materialise import materialise as rebuild

    raise typer.Exit(rebuild(run, output, cases_base=cases, workers=workers))


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Output folders of runs.")],
    picture: Annotated[str, typer.Option(metavar="FILE", help="PNG to write, local or any fsspec URI.")],
    cases: Annotated[str, typer.Option(help="Folder that relative URIs of the case lists start from.")] = "",
    samples: Annotated[int, typer.Option(min=1)] = 10,
) -> None:
    """Runs side by side in one picture, each under what made its lesions."""
    from jobs.compare import compare as draw

    raise typer.Exit(draw(runs, picture, cases_base=cases, samples=samples))


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A local checkpoint: published, trained here, or .safetensors.")],
    target: Annotated[str, typer.Argument(help="What to write: .safetensors, or .ckpt in the published layout.")],
    training: Annotated[
        bool, typer.Option("--training", help="Keep in a .safetensors what only training needs: raw weights, VQ loss.")
    ] = False,
) -> None:
    """Turn a checkpoint into one safetensors file, or back into the published layout."""
    try:
        from jobs.convert import convert as write
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; pip install 'lesionforge[networks]' brings it") from error

    write(source, target, training=training)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. A user's mistake is one line on standard error, never a traceback."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` leaves it ignored
    signal.signal(signal.SIGTERM, _terminate)
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        code = app(args=given or ["--help"], standalone_mode=False)
    except LesionForgeError as error:
        print(f"lesionforge: {error}", file=sys.stderr)
        code = error.exit_code
    except _WrongArguments as error:
        print(f"lesionforge: {_in_words(error)}; --help lists what there is", file=sys.stderr)
        code = EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        print("lesionforge: stopped; the same command continues", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.exit(code)


def command(name: str) -> None:
    """One subcommand as a module of its own: `python -m jobs.generate ...` is `lesionforge generate ...`."""
    main([name, *sys.argv[1:]])


def _in_words(error: Any) -> str:
    """typer's explanation as one line: its exceptions' `str` says less."""
    return " ".join(error.format_message().split()).rstrip(".?")


def _terminate(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
