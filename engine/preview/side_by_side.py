"""Runs beside each other: a column for each, with what made its lesions at the head.

The n-th strip of a column is of the n-th sample that its run has done: where both did all, of the same sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from PIL import Image, ImageDraw

from engine.core.errors import CaseError
from engine.io.ledger import Ledger
from engine.io.reader import CaseReader
from engine.preview.drawing import font
from engine.preview.gallery import first_done
from engine.preview.outcome import read_outcome
from engine.preview.sheet import INK, LesionChoice, contact_sheet, lesion_strip
from engine.preview.words import makers
from engine.run import Run

_HEAD_PX, _TITLE_PX, _EDGE_PX = 40, 21, 14


def side_by_side(runs: Sequence[tuple[Run, Ledger]], most: int) -> Image.Image | None:
    """One lesion of each of the first `most` samples that are done; None where no run has any.

    A sample whose source can no longer be read is left out.
    """
    columns = [_column(run, ledger, most) for run, ledger in runs]
    if not any(columns):
        return None
    sheets = [contact_sheet([strip for strip, _ in column]) for column in _levelled(columns)]
    width, height = sum(sheet.width for sheet in sheets), max(sheet.height for sheet in sheets)
    whole = Image.new("RGB", (width, _HEAD_PX + height), sheets[0].getpixel((0, 0)))
    draw, left = ImageDraw.Draw(whole), 0
    for sheet, column in zip(sheets, columns, strict=True):
        heads = sorted({makers(lesion) for _, lesion in column})
        place = left + _EDGE_PX, _HEAD_PX / 2
        draw.text(place, " / ".join(heads) or "no sample", fill=INK, font=font(_TITLE_PX), anchor="lm")
        whole.paste(sheet, (left, _HEAD_PX))
        left += sheet.width
    return whole


_Strips = list[tuple[Image.Image, Mapping[str, Any]]]


def _column(run: Run, ledger: Ledger, most: int) -> _Strips:
    """Strips, with the lesion that each shows."""
    reader, choice = CaseReader(run), LesionChoice()
    strips: _Strips = []
    for row in first_done(ledger, most):
        try:
            outcome = read_outcome(run, reader, row)
        except CaseError:
            continue
        lesion = choice.of(row["lesions"])
        strips.append((lesion_strip(outcome, row, lesion), lesion))
    return strips


def _levelled(columns: Sequence[_Strips]) -> list[_Strips]:
    """Strips of a row get the height of its tallest."""
    levelled: list[_Strips] = [[] for _ in columns]
    for row in zip_longest(*columns):
        height = max(strip.height for strip, _ in filter(None, row))
        for column, there in zip(levelled, row, strict=True):
            if there is not None:
                strip, lesion = there
                taller = Image.new("RGB", (strip.width, height), strip.getpixel((0, 0)))
                taller.paste(strip, (0, 0))
                column.append((taller, lesion))
    return levelled
