"""`preview/index.html`: every lesion of the first samples, before, after and outlined.

One file beside its pictures: no network, no fonts or scripts from elsewhere, readable without JavaScript. Whatever
comes out of a manifest row is escaped, since ids and free text are the user's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from engine.core.report import Report
from engine.preview.page_style import CSS, SCRIPT
from engine.preview.window import close_window
from engine.preview.words import Rows, measured_rows, report_rows, sentence, title
from engine.settings import Write

_STATES = ("before", "after", "outline")


@dataclass(frozen=True)
class Figure:
    """One lesion and its pictures: names beside the page, and their size in pixels (width, height)."""

    lesion: Mapping[str, Any]
    before: str
    after: str
    outline: str
    size: tuple[int, int]


@dataclass(frozen=True)
class SampleCard:
    """A `done` row of the manifest and the figures of its lesions."""

    row: Mapping[str, Any]
    figures: tuple[Figure, ...]


def page(write: Write, config_hash: str, cards: Sequence[SampleCard]) -> str:
    """The whole document."""
    name = f"Dataset{write.dataset_id:03d}_{write.dataset_name}"
    lesions = sum(len(card.figures) for card in cards)
    samples = "\n".join(_sample(card, write) for card in cards)
    links = "\n".join(f'<li><a href="#{_anchor(card)}">{_text(card.row["sample_id"])}</a></li>' for card in cards)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(name)}: preview</title>
<style>{CSS}</style>
</head>
<body>
<header>
<h1>{_text(name)}</h1>
<p>The first {len(cards)} samples, {lesions} lesions; configuration {_text(config_hash)}.
<span class="lesion-ink">Lesion</span> and <span class="organ-ink">its organ</span> are outlined; the grey frame is the
field of the close views. The patient's right is on the left, anterior on the left in sagittal planes.</p>
<p class="keys" hidden>Keys for all at once: <kbd>b</kbd> before, <kbd>a</kbd> after, <kbd>o</kbd> outline;
<kbd>j</kbd> and <kbd>k</kbd> next and previous sample.</p>
<p id="missing" role="alert" hidden></p>
<nav aria-label="Samples"><ul>
{links}
</ul></nav>
</header>
<main>
{samples}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _sample(card: SampleCard, write: Write) -> str:
    row = card.row
    figures = "\n".join(_figure(figure, f"{_anchor(card)}-l{i}") for i, figure in enumerate(card.figures))
    files = " ".join(
        f'<a href="../{_url(write.dataset_folder)}/{_url(row[f"{kind}_uri"])}">{kind}</a>'
        for kind in ("image", "label")
        if row[f"{kind}_uri"]
    )
    return f"""<article id="{_anchor(card)}" tabindex="-1">
<h2>{_text(row["sample_id"])}</h2>
<p class="facts">case {_text(row["case_id"])}, variant {row["variant"]} <span class="files">{files}</span></p>
{figures}
</article>"""


def _figure(figure: Figure, group: str) -> str:
    report = Report.loads(figure.lesion["report"])
    return f"""<section>
<h3>{_text(title(report))}</h3>
<div class="viewer">
{_choices(group)}
<div class="pictures">
{_pictures(figure, report)}
</div>
<p class="window">{_text(close_window(report, figure.lesion["surround_hu"]).text)}</p>
</div>
<div class="words">
<p>{_text(sentence(report))}</p>
{_table("measured", measured_rows(figure.lesion, report))}
{_table("asked for", report_rows(report))}
</div>
</section>"""


def _choices(group: str) -> str:
    """Radio buttons ahead of the pictures: style alone shows what is chosen."""
    return "\n".join(
        f'<input type="radio" name="{group}" id="{group}-{state}" value="{state}"'
        f'{" checked" if state == "outline" else ""}><label for="{group}-{state}">{state}</label>'
        for state in _STATES
    )


def _pictures(figure: Figure, report: Report) -> str:
    width, height = figure.size
    what = _text(title(report))
    planes = "axial slice of the body; axial, coronal and sagittal plane through the lesion"
    alts = {"before": f"{what}, before: {planes}", "after": f"{what}, after: {planes}", "outline": ""}
    return "\n".join(
        f'<img class="{state}" src="{_url(getattr(figure, state))}" width="{width}" height="{height}" '
        f'alt="{alts[state]}">'
        for state in _STATES
    )


def _table(caption: str, rows: Rows) -> str:
    lines = "\n".join(f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in rows)
    return f"<table><caption>{caption}</caption><tbody>\n{lines}\n</tbody></table>"


def _anchor(card: SampleCard) -> str:
    return f"sample-{card.row['ordinal']}"


def _text(value: object) -> str:
    return escape(str(value))


def _url(path: str) -> str:
    """A relative path as an attribute's value."""
    return escape(quote(path))
