"""The pictures of a run: of the right place, the same for equal runs, and no more than were asked for."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from engine.io.reader import CaseReader
from engine.io.storage import OutputFolder
from engine.preview import sheet
from engine.preview.drawing import LESION_RGB, font
from engine.preview.gallery import PAGE, SHEET, TILE_PX, write_preview
from engine.preview.outcome import read_outcome
from engine.preview.planes import PLANES
from engine.preview.views import LesionViews, draw_lesion

ORDERS = ("RAS", "LPS", "LAS", "PIR", "SAL")


def pictures(output: OutputFolder) -> dict[str, bytes]:
    return {name: output.get(name) for name in output.names("preview")}


def views_of(made: object) -> LesionViews:
    row = next(made.ledger.rows())
    outcome = read_outcome(made.run, CaseReader(made.run), row)
    return draw_lesion(outcome, row["lesions"][0], close_px=(90, 120), wide_px=(180, 240), type_px=12)


def test_every_order_of_the_axes_shows_the_same_body(finished_run: Callable) -> None:
    drawn = {axes: views_of(finished_run(axes)) for axes in ORDERS}
    reference = drawn.pop("RAS")
    assert np.asarray(reference.wide.before).std() > 20
    for views in drawn.values():
        for view, same in zip(
            [views.wide, *views.close.values()], [reference.wide, *reference.close.values()], strict=True
        ):
            for state in ("before", "after", "outline"):
                a, b = (np.asarray(getattr(v, state)).astype(int) for v in (view, same))
                assert np.abs(a - b).max() <= 1


def test_left_and_right_are_not_swapped(finished_run: Callable) -> None:
    made = finished_run()
    wide = np.asarray(views_of(made).wide.outlined).astype(int)
    lit = np.argwhere(np.abs(wide - LESION_RGB).sum(axis=2) < 30)
    centre_mm = made.affine[0, 0] * np.argwhere(made.label == 2)[:, 0].mean() + made.affine[0, 3]
    assert centre_mm > 5, "the made lesion lies on the patient's right"
    assert lit[:, 1].mean() < wide.shape[1] / 2


@pytest.mark.parametrize("plane", PLANES)
def test_the_outline_is_where_the_label_is(finished_run: Callable, plane: str) -> None:
    made = finished_run()
    view = views_of(made).close[plane]
    line = np.asarray(view.outline)
    lit = np.argwhere((np.abs(line[..., :3].astype(int) - LESION_RGB).sum(axis=2) < 30) & (line[..., 3] > 120))
    extent_mm = {"axial": (16, 16), "coronal": (18, 16), "sagittal": (18, 16)}[plane]
    pixel_mm = max(48.0, 2.8 * 18) / 90
    size = (lit.max(axis=0) - lit.min(axis=0)) * pixel_mm
    assert np.abs(size - extent_mm).max() < 1.5 * pixel_mm + 0.5
    assert np.abs(lit.max(axis=0) + lit.min(axis=0) - [89, 119]).max() <= 2
    changed = np.abs(np.asarray(view.after).astype(int) - np.asarray(view.before)) > 10
    assert changed[45, 60]
    assert not changed[5, 60]


@pytest.mark.parametrize("form", ["volume", "patch"])
def test_equal_runs_leave_equal_bytes(finished_run: Callable, form: str) -> None:
    made, remote = (finished_run(form=form, samples=2, where=at) for at in ("", f"memory://runs/{uuid.uuid4().hex}"))
    write_preview(made.run, made.ledger)
    first = pictures(made.run.output)
    write_preview(made.run, made.ledger)
    assert pictures(made.run.output) == first
    write_preview(remote.run, remote.ledger)
    assert pictures(remote.run.output) == first


def test_the_form_of_storage_never_shows(finished_run: Callable) -> None:
    volumes, patches = (finished_run(form=form) for form in ("volume", "patch"))
    for made in (volumes, patches):
        write_preview(made.run, made.ledger)
    left, right = (pictures(made.run.output) for made in (volumes, patches))
    assert [n for n in left if left[n] != right.get(n)] == [PAGE]  # its links alone


def test_the_sheet_has_a_strip_a_sample(finished_run: Callable) -> None:
    made = finished_run(samples=3, preview=2)
    write_preview(made.run, made.ledger)
    with Image.open(io.BytesIO(made.run.output.get(SHEET))) as picture:
        assert picture.size == (sheet.WIDTH_PX, sheet.HEAD_PX + 2 * (sheet.WIDE_PX[0] + sheet.EDGE_PX))
    assert len(made.run.output.names("preview/lesions")) == 2 * 3
    with Image.open(io.BytesIO(made.run.output.get(made.run.output.names("preview/lesions")[0]))) as picture:
        assert picture.size == (2 * TILE_PX[1] + 4, 2 * TILE_PX[0] + 4)


def test_a_long_report_is_written_out(finished_run: Callable) -> None:
    long = {
        "organ": "portal_vein_and_splenic_vein",
        "shape": ["irregular", "irregular wall thickening", "protrusion into the lumen"],
        "density": "isodense soft tissue mass with peripheral low-density ground-glass opacity",
        "specific_features": [
            "presence of decreased density areas",
            "presence of increased density areas",
            "spiculated margins",
            "retention of pancreatic fluid",
            "stone",
        ],
    }
    heights = []
    for asked in ({}, long):
        made = finished_run(**asked)
        write_preview(made.run, made.ledger)
        with Image.open(io.BytesIO(made.run.output.get(SHEET))) as picture:
            heights.append(picture.height)
            assert np.asarray(picture)[-sheet.EDGE_PX :].max() < 40, "nothing is cut off below"
    assert heights[1] > heights[0]


@pytest.mark.parametrize("width_px", [60, 120, 400])
def test_wrapped_text_is_whole_and_fits(width_px: int) -> None:
    text = "Cancer of the left lung lower lobe, round-like, 12 x 13 x 12 mm; hypodense lesion"
    lines = list(sheet.wrapped(text, 15, width_px))
    assert " ".join(lines) == text
    assert all(font(15).getlength(line) <= width_px or " " not in line for line in lines)


def test_a_smaller_preview_leaves_nothing_of_a_larger_one(finished_run: Callable) -> None:
    large = finished_run(samples=3)
    write_preview(large.run, large.ledger)
    large.run.output.put("preview/mine.png", b"the user's own")
    small = finished_run(samples=3, preview=1)
    write_preview(small.run, small.ledger)
    names = small.run.output.names("preview")
    assert names == [
        SHEET,
        PAGE,
        *(f"preview/lesions/case-v000-l0-{s}.png" for s in ("after", "before", "outline")),
        "preview/mine.png",
    ]
    none = finished_run(samples=3, preview=0)
    write_preview(none.run, none.ledger)
    assert none.run.output.names("preview") == ["preview/mine.png"]


def test_the_sheet_shows_every_kind_before_it_repeats_one() -> None:
    def lesion(organ: str, volume: float) -> dict:
        return {"organ": organ, "lesion_type": "cyst", "volume_mm3": volume}

    choice = sheet.LesionChoice()
    samples = [[lesion("liver", 9), lesion("lung", 1)]] * 3 + [[lesion("liver", 5), lesion("liver", 7)]]
    assert [(c["organ"], c["volume_mm3"]) for c in map(choice.of, samples)] == [
        ("liver", 9),
        ("lung", 1),
        ("liver", 9),
        ("liver", 7),
    ]
