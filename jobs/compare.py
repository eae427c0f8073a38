"""`lesionforge compare`: runs side by side in one picture, each under the name of what made its lesions."""

from __future__ import annotations

import io
from collections.abc import Sequence

from engine.core.errors import EXIT_DONE, UsageError
from engine.io.ledger import Ledger
from engine.io.runfile import RUN_FILE, RunFile
from engine.io.storage import open_input, open_output
from engine.preview.side_by_side import side_by_side
from engine.run import Run
from jobs.inspect import settings_of


def compare(runs: Sequence[str], picture: str, *, cases_base: str = "", samples: int = 10) -> int:
    """Draw the first samples of each run; returns the exit code. `cases_base` is where relative URIs start.

    Raises `UsageError`: a folder that holds no run, runs without a sample to show, a picture that is no PNG.
    """
    folder, _, name = picture.rpartition("/")
    if not name.endswith(".png"):
        raise UsageError(f"{picture}: the picture should end in .png")
    drawn = side_by_side([_opened(run, cases_base) for run in runs], samples)
    if drawn is None:
        raise UsageError(f"{', '.join(runs)}: no done sample whose source can be read; --cases says where sources are")
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    open_output(folder or ("/" if picture.startswith("/") else ".")).put(name, buffer.getvalue())
    print(f"picture: {picture}")
    return EXIT_DONE


def _opened(run: str, cases_base: str) -> tuple[Run, Ledger]:
    output = open_input(run, RUN_FILE)
    file = RunFile.read(output)
    if file is None:
        raise UsageError(f"{run} holds no run: there is no {RUN_FILE} in it")
    return Run(settings_of(file, run), cases_base, output, file.code_version, file.weights), Ledger(output)
