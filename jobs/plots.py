"""`lesionforge inspect --plots`: what a run made, and why it made no more, in one picture."""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.core.errors import OutputError, UsageError
from engine.preview.words import organ_words
from jobs.tally import Kind, Lesions, Tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")
_MOST_KINDS, _MOST_REASONS, _MOST_POINTS = 30, 12, 3000
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_HUE = {"done": "#2f7d4f", "rejected": "#d08a00", "failed": "#b3261e"}
_LESION, _FAINT = "#0b62a8", "#8a939c"
_TICKS_HU = (0, 10, 30, 100, 200, 400, 800, 1600)
_WIDTH_IN, _LINE_IN = 12.0, 0.26
_DOTS: Mapping[str, Any] = {"marker": "o", "linestyle": "", "markersize": 3, "markeredgewidth": 0, "alpha": 0.4}


@dataclass(frozen=True)
class Picture:
    """A picture file to be drawn, in the format that its name says."""

    path: Path

    @classmethod
    def at(cls, path: str) -> Picture:
        """Raises `UsageError` for another format, or where there is no such folder."""
        picture = cls(Path(path).expanduser())
        if picture.path.suffix.lower() not in FORMATS:
            raise UsageError(f"--plots '{path}' should end in one of {', '.join(FORMATS)}")
        if not picture.path.parent.is_dir():
            raise UsageError(f"--plots '{path}': there is no folder {picture.path.parent}")
        return picture

    def draw(self, tally: Tally) -> None:
        """Volumes and contrasts side by side, reasons below. Raises `OutputError` where it cannot be written."""
        # Imported here: matplotlib takes a second to load, and few looks at a run need it.
        from matplotlib.figure import Figure

        kinds, reasons = _most_frequent(tally), grouped_reasons(tally)
        upper = max(4.0, _LINE_IN * len(kinds) + 1.2)
        lines = sum(_reason_label(reason).count("\n") + 1.4 for reason in reasons)
        lower = _LINE_IN * lines + 1.2 if reasons else 0.6
        figure = Figure(figsize=(_WIDTH_IN, upper + lower), layout="constrained", dpi=110)
        rows = figure.add_gridspec(2, 1, height_ratios=(upper, lower))
        above, below = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
        volumes, contrasts = above.subplots(1, 2)
        _plot_volumes(volumes, kinds)
        _plot_contrasts(contrasts, list(tally.kinds.values()))
        _plot_reasons(below.subplots(), tally, reasons)
        for axis in figure.axes:
            axis.spines[["top", "right"]].set_visible(False)
        try:
            figure.savefig(self.path)
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror or error}") from None


Grouped = Counter[tuple[str, str, str]]


def grouped_reasons(tally: Tally) -> Grouped:
    """Reasons that differ only in their numbers, as one: what was measured differs from sample to sample."""
    grouped: Grouped = Counter()
    for (status, stage, reason), count in tally.reasons.items():
        grouped[status, stage, _NUMBER.sub("…", reason)] += count
    return Counter(dict(grouped.most_common(_MOST_REASONS)))


def _most_frequent(tally: Tally) -> list[tuple[Kind, Lesions]]:
    most = sorted(tally.kinds.items(), key=lambda item: (-len(item[1]), item[0]))[:_MOST_KINDS]
    return sorted(most, key=lambda item: item[0])


def spread(values: Sequence[float]) -> NDArray[np.float64]:
    """As many of them as can be drawn, evenly from the whole row."""
    return np.asarray(values, float)[:: math.ceil(len(values) / _MOST_POINTS) or 1]


def _plot_volumes(axis: Axes, kinds: Sequence[tuple[Kind, Lesions]]) -> None:
    """A row a kind: each lesion a dot, the median a bar; logarithmic, since volumes range over five decades."""
    for row, (_, lesions) in enumerate(kinds):
        ml = spread(lesions.volume_mm3) / 1000
        jitter = 0.3 * np.sin(np.arange(len(ml)) * 2.4)  # the golden angle: even, and the same each time
        axis.plot(ml, row + jitter, color=_LESION, **_DOTS)
        axis.plot([np.median(ml)] * 2, [row - 0.4, row + 0.4], color="black", lw=1.5)
    axis.set(title="Volumes by organ and lesion type", xlabel="ml (bar: median)")
    if not kinds:
        axis.set_axis_off()
        return
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_yticks(range(len(kinds)), [f"{organ_words(o)}: {t} ({len(n)})" for (o, t), n in kinds])
    axis.set_ylim(len(kinds) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.3)


def _plot_contrasts(axis: Axes, kinds: Sequence[Lesions]) -> None:
    """Measured against asked. On the line is as asked; in a shaded quarter the sign is wrong."""
    asked = spread([hu for lesions in kinds for hu in lesions.asked_hu])
    measured = spread([hu for lesions in kinds for hu in lesions.measured_hu])
    reach = max(10.0, float(np.abs([*asked, *measured]).max(initial=0))) * 1.1
    axis.fill([-reach, 0, 0, -reach], [0, 0, reach, reach], color=_FAINT, alpha=0.12, lw=0)
    axis.fill([0, reach, reach, 0], [-reach, -reach, 0, 0], color=_FAINT, alpha=0.12, lw=0)
    axis.plot([-reach, reach], [-reach, reach], color=_FAINT, lw=1)
    axis.plot(asked, measured, color=_LESION, **_DOTS)
    # A root keeps a tumour's ten HU apart from nothing beside a nodule's seven hundred in lung.
    root = (lambda hu: np.sign(hu) * np.sqrt(np.abs(hu)), lambda at: np.sign(at) * at**2)
    axis.set_xscale("function", functions=root)
    axis.set_yscale("function", functions=root)
    ticks = [
        sign * hu for hu in _TICKS_HU if not 0 < hu < reach / 30 and hu < reach for sign in ((-1, 1) if hu else (1,))
    ]
    axis.set(xticks=ticks, yticks=ticks)
    axis.tick_params("x", rotation=90)
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axis.set(title="Contrast to the tissue replaced (HU)", xlabel="asked", ylabel="measured; shaded: wrong sign")


def _plot_reasons(axis: Axes, tally: Tally, reasons: Grouped) -> None:
    counts = ", ".join(f"{tally.statuses[s]} {s}" for s in _HUE)
    axis.set_title(f"Rejections and failures by reason (samples: {counts})", loc="left")
    if not reasons:
        axis.set_axis_off()
        return
    ordered = reasons.most_common()
    colours = [_HUE[status] for (status, _, _), _ in ordered]
    bars = axis.barh(range(len(ordered)), [n for _, n in ordered], color=colours)
    axis.bar_label(bars, padding=3)
    axis.set_yticks(range(len(ordered)), [_reason_label(reason) for reason, _ in ordered])
    axis.invert_yaxis()
    axis.set_xlabel("samples")


def _reason_label(reason: tuple[str, str, str]) -> str:
    status, stage, text = reason
    return textwrap.fill(f"{status} at {stage}: {text}", 60)
