"""Outlines lie on the edge of what they outline; scale bars are as long as they say."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from engine.core.report import Report
from engine.preview.drawing import LESION_RGB, ORGAN_RGB, annotate, contour, outlines, scale_bar_mm
from engine.preview.window import ABDOMEN, BONE, LUNG, STONE, Window, close_window, wide_window


def disc(radius: float, soft: float = 2.0, size: int = 80) -> np.ndarray:
    """1 within a radius of the middle, 0 beyond, linear over `soft` pixels."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    return np.clip(0.5 + (radius - np.hypot(rows, columns)) / soft, 0, 1).astype(np.float32)


@pytest.mark.parametrize("soft", [0.01, 1.0, 4.0, 10.0])
def test_contour_is_a_thin_closed_line_at_one_half(soft: float) -> None:
    radius = 20.0
    line = contour(disc(radius, soft))
    rows, columns = np.mgrid[:80, :80] - 39.5
    away = np.abs(np.hypot(rows, columns) - radius)
    assert line[away > 2].max() == 0
    assert line[away < 0.3].min() > 0.4
    angles = np.degrees(np.arctan2(rows, columns))[line > 0.4]
    assert np.diff(np.sort(angles)).max() < 6


def test_nothing_to_outline_leaves_no_mark() -> None:
    for flat in (0.0, 1.0):
        assert contour(np.full((20, 30), flat, np.float32)).max() == 0


@pytest.mark.parametrize("half", [0.4999, 0.5, 0.5001])
def test_between_two_slices_only_the_rim_is_a_line(half: float) -> None:
    line = contour(disc(20) * np.float32(half))
    assert line[30:50, 30:50].max() == 0
    assert line.mean() < 0.05
    assert (line.max() > 0.4) == (half >= 0.5)


def test_the_lesions_outline_lies_over_its_organs() -> None:
    picture = np.asarray(outlines(disc(20), disc(20)))
    seen = picture[picture[..., 3] > 200]
    assert len(seen)
    to_lesion, to_organ = (np.abs(seen[:, :3].astype(int) - rgb).sum(axis=1) for rgb in (LESION_RGB, ORGAN_RGB))
    assert (to_lesion < to_organ / 2).all()
    apart = np.asarray(outlines(disc(30), disc(10)))
    assert tuple(apart[39, 39 + 30, :3]) == ORGAN_RGB
    assert tuple(apart[39, 39 + 10, :3]) == LESION_RGB


@pytest.mark.parametrize("pixel_mm", [0.3, 0.5, 1.1])
def test_scale_bar_has_its_length(pixel_mm: float) -> None:
    picture = Image.new("L", (200, 150))
    annotate(picture, "axial", pixel_mm, 12)
    bar = np.asarray(picture)[150 - 6]
    lit = np.flatnonzero(bar > 200)
    assert abs((lit[-1] - lit[0]) * pixel_mm - scale_bar_mm(200 * pixel_mm)) <= 1.5 * pixel_mm


COMPLETE = {
    "organ": "liver", "lesion_type": "cyst", "enhancement_status": "enhanced CT", "shape": "round-like",
    "density": "hypodense", "density_variations": "homogeneous", "surface_characteristics": "well-defined margin",
    "adjacent_organs": "no close relationship with surrounding organs", "cavity": "within the parenchymal organ",
    "size_mm": 10, "contrast_hu": -20,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "close", "wide"),
    [
        ({"organ": "liver"}, Window("narrow organ", -80, 180), ABDOMEN),
        ({"organ": "lung_upper_lobe_left"}, LUNG, LUNG),
        ({"organ": "rib_left_4"}, BONE, BONE),
        ({"organ": "kidney_left", "lesion_type": "stone"}, STONE, ABDOMEN),
    ],
)
def test_window_fits_what_is_looked_at(change: dict, close: object, wide: object) -> None:
    report = Report.from_json(COMPLETE | change)
    assert (close_window(report, 47.0), wide_window(report)) == (close, wide)


def test_a_bright_organ_is_not_shown_white() -> None:
    report = Report.from_json(COMPLETE)
    assert close_window(report, 182.0).grey(np.array([182.0]))[0] < 160
    assert close_window(report, float("nan")) == close_window(report, 50.0)


def test_grey_runs_from_black_to_white() -> None:
    assert ABDOMEN.grey(np.array([-1000.0, -160, 40, 240, 3000])).tolist() == [0, 0, 128, 255, 255]
