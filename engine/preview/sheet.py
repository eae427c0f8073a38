"""One contact sheet a run: a lesion of each of the first samples, its report beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from engine.core.report import Report
from engine.preview.drawing import LESION_RGB, ORGAN_RGB, Rgb, font
from engine.preview.outcome import Outcome
from engine.preview.planes import PLANES
from engine.preview.views import LesionViews, draw_lesion
from engine.preview.window import close_window
from engine.preview.words import makers, measured_rows, sentence, title

CLOSE_PX, WIDE_PX = (120, 160), (368, 480)
"""(rows, columns) of a close view, of which three by three stand side by side, and of the wide one as tall as three."""
TEXT_PX, EDGE_PX, GAP_PX, HEAD_PX = 286, 14, 4, 34
_PAPER: Rgb = (16, 18, 22)
INK: Rgb = (236, 238, 240)
_FAINT: Rgb = (150, 156, 164)
_TITLE_PX, _BODY_PX, _SMALL_PX, _LETTER_PX = 21, 15, 14, 12
_WIDE_LEFT = EDGE_PX + TEXT_PX
_CLOSE_LEFT = _WIDE_LEFT + WIDE_PX[1] + EDGE_PX
WIDTH_PX = _CLOSE_LEFT + 3 * CLOSE_PX[1] + 2 * GAP_PX + EDGE_PX
_LINE_HEIGHT, _PARAGRAPH_PX = 1.32, 7
_STATES = ("before", "after", "outlined")


class LesionChoice:
    """Which lesion of each sample is shown: of the kind shown least so far, and of those the largest."""

    def __init__(self) -> None:
        self._shown: Counter[tuple[str, str]] = Counter()

    def of(self, lesions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """One lesion of a manifest row."""
        chosen = min(lesions, key=lambda lesion: (self._shown[_kind(lesion)], -lesion["volume_mm3"]))
        self._shown[_kind(chosen)] += 1
        return chosen


def _kind(lesion: Mapping[str, Any]) -> tuple[str, str]:
    return lesion["organ"], lesion["lesion_type"]


def lesion_strip(outcome: Outcome, row: Mapping[str, Any], lesion: Mapping[str, Any]) -> Image.Image:
    """One lesion, `WIDTH_PX` wide: its report, the body around it, and three planes before, after and outlined."""
    report = Report.loads(lesion["report"])
    views = draw_lesion(outcome, lesion, close_px=CLOSE_PX, wide_px=WIDE_PX, type_px=_LETTER_PX)
    lines = list(_column_of_text(row, lesion, report))
    strip = Image.new("RGB", (WIDTH_PX, max(WIDE_PX[0], lines[-1].bottom)), _PAPER)
    draw = ImageDraw.Draw(strip)
    for line in lines:
        draw.text((EDGE_PX, line.top), line.text, fill=line.colour, font=font(line.size))
    strip.paste(views.wide.outlined, (_WIDE_LEFT, 0))
    _paste_close(strip, views)
    return strip


def _paste_close(strip: Image.Image, views: LesionViews) -> None:
    for down, plane in enumerate(PLANES):
        for across, state in enumerate(_STATES):
            left, top = _CLOSE_LEFT + across * (CLOSE_PX[1] + GAP_PX), down * (CLOSE_PX[0] + GAP_PX)
            strip.paste(getattr(views.close[plane], state), (left, top))


@dataclass(frozen=True)
class _Line:
    top: float
    text: str
    size: int
    colour: Rgb

    @property
    def bottom(self) -> int:
        return math.ceil(self.top + self.size * _LINE_HEIGHT)


def _column_of_text(row: Mapping[str, Any], lesion: Mapping[str, Any], report: Report) -> Iterator[_Line]:
    (_, volume), (_, contrast), *_ = measured_rows(lesion, report)
    blocks: list[tuple[str, int, Rgb]] = [
        (title(report), _TITLE_PX, INK),
        (row["sample_id"], _SMALL_PX, _FAINT),
        (sentence(report), _BODY_PX, INK),
        (f"volume {volume}", _BODY_PX, LESION_RGB),
        (f"contrast {contrast}", _BODY_PX, LESION_RGB),
        (f"made by {makers(lesion)}", _SMALL_PX, _FAINT),
        (close_window(report, lesion["surround_hu"]).text, _SMALL_PX, _FAINT),
    ]
    top = 2.0
    for text, size, colour in blocks:
        for line in wrapped(text, size, TEXT_PX - EDGE_PX):
            yield _Line(top, line, size, colour)
            top += size * _LINE_HEIGHT
        top += _PARAGRAPH_PX


def wrapped(text: str, size: int, width_px: float) -> Iterator[str]:
    """Lines of whole words, none wider than `width_px` unless a word alone is."""
    type_, line = font(size), ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and type_.getlength(longer) > width_px:
            yield line
            line = word
        else:
            line = longer
    yield line


def contact_sheet(strips: Sequence[Image.Image]) -> Image.Image:
    """Strips one below the other, under a line that says what they show."""
    height = HEAD_PX + sum(strip.height + EDGE_PX for strip in strips)
    sheet = Image.new("RGB", (WIDTH_PX, height), _PAPER)
    _write_head(ImageDraw.Draw(sheet))
    top = HEAD_PX
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height + EDGE_PX
    return sheet


def _write_head(draw: ImageDraw.ImageDraw) -> None:
    middle = HEAD_PX / 2
    draw.text((EDGE_PX, middle), "report asked for", fill=_FAINT, font=font(_BODY_PX), anchor="lm")
    left: float = _WIDE_LEFT
    for text, colour in (("body,", _FAINT), ("lesion,", LESION_RGB), ("its organ", ORGAN_RGB)):
        draw.text((left, middle), text, fill=colour, font=font(_BODY_PX), anchor="lm")
        left += draw.textlength(text + " ", font=font(_BODY_PX))
    for across, state in enumerate(_STATES):
        centre = _CLOSE_LEFT + across * (CLOSE_PX[1] + GAP_PX) + CLOSE_PX[1] / 2
        draw.text((centre, middle), state, fill=_FAINT, font=font(_BODY_PX), anchor="mm")
