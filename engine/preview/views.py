"""The pictures of one lesion: close ones in three planes, before and after, and the body around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from engine.core.geometry import Box, Grid
from engine.core.intensity import AIR_HU
from engine.core.report import Report
from engine.preview.drawing import annotate, outlines
from engine.preview.outcome import Outcome, Values
from engine.preview.planes import PLANES, Plane, plane_grid, read_plane
from engine.preview.window import Window, close_window, wide_window

Pixels = tuple[int, int]
"""(rows, columns)"""

_CLOSE_FIELDS, _CLOSE_MM = 2.8, (48.0, 200.0)
"""Height of a close view: so many times the lesion's longest extent, within limits."""
_BODY_HU, _BODY_MARGIN_MM, _SCOUT_MM = -400.0, 12.0, 3.0
_TILE_GAP_PX = 4
_FIELD_RGB = (200, 200, 200)


@dataclass(frozen=True, eq=False)
class View:
    """One plane: grey before and after with letters and scale, and the outlines (transparent) to lay over either."""

    before: Image.Image
    after: Image.Image
    outline: Image.Image

    @property
    def outlined(self) -> Image.Image:
        """After, with the outlines on top."""
        return laid_over(self.after, self.outline)


@dataclass(frozen=True)
class LesionViews:
    """A lesion's close views by plane, and its whole axial slice with the close view's field framed."""

    close: Mapping[Plane, View]
    wide: View


def draw_lesion(
    outcome: Outcome, lesion: Mapping[str, Any], *, close_px: Pixels, wide_px: Pixels, type_px: int
) -> LesionViews:
    """All views of one lesion of a manifest row; `type_px` is the size of letters."""
    grid, report = outcome.source.grid, Report.loads(lesion["report"])
    centre = np.asarray(lesion["centroid_mm"], float)
    height_mm = close_field_mm(grid.extent_mm(Box.from_flat(lesion["box"])))
    pixel_mm = height_mm / close_px[0]
    window = close_window(report, lesion["surround_hu"])
    close: dict[Plane, View] = {
        plane: _view(outcome, lesion, plane, plane_grid(plane, centre, close_px, pixel_mm), window, type_px)
        for plane in PLANES
    }
    body = body_grid(outcome.source.hu, grid, float(centre[2]), wide_px)
    wide = _view(outcome, lesion, "axial", body, wide_window(report), type_px)
    _frame(wide.outline, body, close["axial"].before.size, pixel_mm, centre)
    return LesionViews(close, wide)


def close_field_mm(extent_mm: NDArray[np.float64]) -> float:
    """Height in mm of a close view of a lesion with these extents."""
    return float(np.clip(extent_mm.max() * _CLOSE_FIELDS, *_CLOSE_MM))


def body_grid(values: Values, grid: Grid, height_mm: float, pixels: Pixels) -> Grid:
    """The axial plane at a height (world S) that shows all of the body there, as large as `pixels` allow."""
    corners = grid.to_world(Box.whole(grid.shape).corners())
    low, high = corners.min(axis=0), corners.max(axis=0)
    middle = np.array([*(low + high)[:2] / 2, height_mm])
    across, down = (int(mm / _SCOUT_MM) + 1 for mm in (high - low)[:2])
    scout = plane_grid("axial", middle, (down, across), _SCOUT_MM)
    body = _largest(read_plane(values, grid, scout, fill=AIR_HU) > _BODY_HU)
    box = Box.of_mask(body[None]) or Box.whole(scout.shape)
    centre = scout.to_world(box.centre)
    size_mm = np.asarray(box.shape[1:]) * _SCOUT_MM + 2 * _BODY_MARGIN_MM
    return plane_grid("axial", centre, pixels, float((size_mm / pixels).max()))


def laid_over(grey: Image.Image, overlay: Image.Image) -> Image.Image:
    """A grey picture in RGB with a transparent one on top."""
    picture = grey.convert("RGB")
    picture.paste(overlay, mask=overlay)
    return picture


def tiled(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size and mode, two a row."""
    (width, height), rows = pictures[0].size, -(-len(pictures) // 2)
    picture = Image.new(pictures[0].mode, (2 * width + _TILE_GAP_PX, rows * (height + _TILE_GAP_PX) - _TILE_GAP_PX))
    for i, tile in enumerate(pictures):
        picture.paste(tile, (i % 2 * (width + _TILE_GAP_PX), i // 2 * (height + _TILE_GAP_PX)))
    return picture


def _view(outcome: Outcome, lesion: Mapping[str, Any], plane: Plane, at: Grid, window: Window, type_px: int) -> View:
    grid = outcome.source.grid

    def grey(values: Values) -> Image.Image:
        picture = Image.fromarray(window.grey(read_plane(values, grid, at, fill=AIR_HU)))
        annotate(picture, plane, float(at.spacing_mm[0]), type_px)
        return picture

    organ = read_plane(outcome.organ(lesion["organ_id"]), grid, at, fill=0)
    inside = read_plane(outcome.lesion, grid, at, fill=0)
    return View(grey(outcome.before), grey(outcome.after), outlines(organ, inside))


def _frame(
    overlay: Image.Image, body: Grid, close_size: tuple[int, int], close_mm: float, centre_mm: NDArray[np.float64]
) -> None:
    """Mark on the whole slice what the close axial view shows."""
    _, row, column = body.to_index(centre_mm)
    half = np.asarray(close_size) * close_mm / body.spacing_mm[0] / 2
    corners = (column - half[0], row - half[1], column + half[0], row + half[1])
    ImageDraw.Draw(overlay).rectangle(corners, outline=(*_FIELD_RGB, 150))


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part: a body without its table."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax())
