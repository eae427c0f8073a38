"""What a run leaves to look at: a contact sheet, and a page that works from disk.

    preview/contact_sheet.png    one lesion a sample
    preview/index.html           every lesion of these samples
    preview/lesions/*.png        the page's pictures

All of it follows from the manifest and the files it names, so equal runs have equal pictures.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image

from engine.core.errors import CaseError
from engine.io.ledger import Ledger
from engine.io.reader import CaseReader
from engine.preview.outcome import Outcome, read_outcome
from engine.preview.page import Figure, SampleCard, page
from engine.preview.sheet import LesionChoice, contact_sheet, lesion_strip
from engine.preview.views import draw_lesion, tiled
from engine.run import Run

FOLDER = "preview"
SHEET, PAGE, PICTURES = f"{FOLDER}/contact_sheet.png", f"{FOLDER}/index.html", f"{FOLDER}/lesions"
TILE_PX, _LETTER_PX = (270, 360), 14
"""(rows, columns) of a plane on the page."""
_PNG_LEVEL = 4
"""Half the time of the usual 6 for a twentieth more bytes."""


def write_preview(run: Run, ledger: Ledger) -> None:
    """Sheet, page and pictures of the first `write.preview` samples that are done; nothing where there are none.

    A sample whose source can no longer be read is left out. Raises `OutputError` where nothing can be written.
    """
    reader, choice = CaseReader(run), LesionChoice()
    stale = {SHEET, PAGE, *run.output.names(PICTURES)}  # perhaps of a preview of more samples
    cards, strips = [], []
    for row in first_done(ledger, run.settings.write.preview):
        try:
            outcome = read_outcome(run, reader, row)
        except CaseError:  # its source is gone since: the samples are whole, there is only nothing to show them on
            continue
        strips.append(lesion_strip(outcome, row, choice.of(row["lesions"])))
        figures = []
        for lesion in row["lesions"]:
            figure, pictures = _draw(outcome, lesion, f"lesions/{row['sample_id']}-l{lesion['index']}")
            for name, data in pictures.items():
                run.output.put(f"{FOLDER}/{name}", data)
                stale.discard(f"{FOLDER}/{name}")
            figures.append(figure)
        cards.append(SampleCard(row, tuple(figures)))
    if cards:
        run.output.put(SHEET, _png(contact_sheet(strips)))
        run.output.put(PAGE, page(run.settings.write, run.config_hash, cards).encode())
        stale -= {SHEET, PAGE}
    run.output.delete(sorted(stale))


def first_done(ledger: Ledger, most: int) -> Iterator[Mapping[str, Any]]:
    """Rows of the first samples that are done."""
    left = most
    for row in ledger.rows() if left else ():
        if row["status"] == "done":
            yield row
            left -= 1
            if not left:
                return


def _draw(outcome: Outcome, lesion: Mapping[str, Any], stem: str) -> tuple[Figure, dict[str, bytes]]:
    """One lesion's figure, and its picture files by their names beside the page."""
    views = draw_lesion(outcome, lesion, close_px=TILE_PX, wide_px=TILE_PX, type_px=_LETTER_PX)
    tiles = [views.wide, *views.close.values()]
    before, after = tiled([view.before for view in tiles]), tiled([view.after for view in tiles])
    outline = tiled([view.outline for view in tiles])
    figure = Figure(lesion, f"{stem}-before.png", f"{stem}-after.png", f"{stem}-outline.png", before.size)
    return figure, {figure.before: _png(before), figure.after: _png(after), figure.outline: _png(outline)}


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()
