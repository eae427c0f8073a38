"""One contact sheet a run: the largest lesion of each of the first samples, before and after, in three planes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from engine.core.anatomy import find_organ
from engine.core.geometry import Box, Grid
from engine.core.intensity import AIR_HU
from engine.core.report import Report
from engine.io import patch
from engine.io.layers import Layered, Overlay
from engine.io.ledger import Ledger
from engine.io.reader import CaseReader
from engine.io.volumes import Volume, read_volume
from engine.preview.planes import Plane, plane_grid, read_plane
from engine.run import Run
from engine.stages.write import LABEL_LESION

PANEL_PX = 200
TEXT_PX = 250
GAP_PX = 4
WIDE_MM, NEAR_MM = 260.0, 90.0
SOFT_WINDOW_HU, LUNG_WINDOW_HU = (-160.0, 240.0), (-1350.0, 150.0)
OUTLINE_RGB = (255, 196, 0)
_PANELS: tuple[tuple[str, Plane, float, bool], ...] = (
    ("before", "axial", WIDE_MM, False),
    ("after", "axial", WIDE_MM, True),
    ("before", "axial", NEAR_MM, False),
    ("after", "axial", NEAR_MM, True),
    ("after", "coronal", NEAR_MM, True),
    ("after", "sagittal", NEAR_MM, True),
)


@dataclass(frozen=True)
class Outcome:
    """A sample's source and result on the source's grid."""

    source: Volume
    image: Layered
    label: Layered

    def before(self, box: Box) -> NDArray[np.float32]:
        """HU of the source."""
        return self.source.hu(box)

    def after(self, box: Box) -> NDArray[np.float32]:
        """HU of the result."""
        return self.source.to_hu(self.image.cut(box))

    def lesion(self, box: Box) -> NDArray[np.float32]:
        """1 in a lesion, else 0."""
        return np.asarray(self.label.cut(box) == LABEL_LESION, np.float32)


def write_contact_sheet(run: Run, ledger: Ledger) -> None:
    """`preview/contact_sheet.png`: a row a sample. Equal runs give equal bytes. Nothing is written without a lesion."""
    rows = []
    reader = CaseReader(run)
    for row in _first_done(run, ledger):
        outcome = read_outcome(run, reader, row)
        largest = max(row["lesions"], key=lambda lesion: lesion["volume_mm3"])
        rows.append(lesion_strip(outcome, row, largest))
    if not rows:
        return
    sheet = Image.new("RGB", (rows[0].width, sum(r.height + GAP_PX for r in rows)), "black")
    top = 0
    for strip in rows:
        sheet.paste(strip, (0, top))
        top += strip.height + GAP_PX
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    run.output.put("preview/contact_sheet.png", buffer.getvalue())


def _first_done(run: Run, ledger: Ledger) -> Iterator[Mapping[str, Any]]:
    left = run.settings.write.preview
    for row in ledger.rows():
        if not left:
            return
        if row["status"] == "done":
            left -= 1
            yield row


def read_outcome(run: Run, reader: CaseReader, row: Mapping[str, Any]) -> Outcome:
    """The sample's image and label as they lie in the output, whatever the form they are stored in."""
    source = reader.volume(row["source_uri"])
    folder = run.settings.write.dataset_folder
    match run.settings.write.form:
        case "patch":
            over_image, over_label = patch.decode(run.output.get(f"{folder}/{row['image_uri']}"))
        case _:
            painted = read_volume(run.output.uri_of(f"{folder}/{row['image_uri']}"))
            labels = read_volume(run.output.uri_of(f"{folder}/{row['label_uri']}"))
            box = _place_of(painted, source)
            over_image, over_label = (Overlay(box, painted.raw),), (Overlay(box, labels.raw),)
    nothing = np.zeros(source.raw.shape, np.uint8, order="F")
    return Outcome(source, Layered(source.raw, over_image), Layered(nothing, over_label))


def _place_of(part: Volume, whole: Volume) -> Box:
    """Where a crop of a volume lies in it."""
    start = np.rint(whole.grid.to_index(part.grid.affine[:3, 3])).astype(int)
    return Box.whole(part.grid.shape).shifted(start.tolist())


def lesion_strip(outcome: Outcome, row: Mapping[str, Any], lesion: Mapping[str, Any]) -> Image.Image:
    """One lesion: its panels side by side, and what was asked for."""
    report = Report.loads(lesion["report"])
    centre = np.asarray(lesion["centroid_mm"], float)
    window = LUNG_WINDOW_HU if find_organ(report.organ).airy else SOFT_WINDOW_HU
    strip = Image.new("RGB", (TEXT_PX + len(_PANELS) * (PANEL_PX + GAP_PX), PANEL_PX), "black")
    draw = ImageDraw.Draw(strip)
    draw.multiline_text((6, 6), _caption(row, lesion, report), fill="white", font=_font(12), spacing=3)
    for i, (name, plane, width_mm, outlined) in enumerate(_PANELS):
        picture = _panel(outcome, name, plane_grid(plane, centre, width_mm, PANEL_PX), window, outlined)
        left = TEXT_PX + i * (PANEL_PX + GAP_PX)
        strip.paste(picture, (left, 0))
        draw.text((left + 4, 2), f"{name} {plane} {width_mm:.0f} mm", fill="white", font=_font(10))
    return strip


def _panel(outcome: Outcome, name: str, plane: Grid, window: tuple[float, float], outlined: bool) -> Image.Image:
    values = outcome.before if name == "before" else outcome.after
    hu = read_plane(values, outcome.source.grid, plane, interpolation="linear", fill=AIR_HU)
    low, high = window
    grey = np.clip((hu - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    if outlined:
        inside = read_plane(outcome.lesion, outcome.source.grid, plane, interpolation="linear", fill=0) >= 0.5
        rgb[ndimage.binary_dilation(inside) & ~inside] = OUTLINE_RGB
    return Image.fromarray(rgb)


def _caption(row: Mapping[str, Any], lesion: Mapping[str, Any], report: Report) -> str:
    size = " x ".join(f"{s:.0f}" for s in report.size_mm)
    features = ", ".join(f.text for f in report.specific_features)
    lines = [
        row["sample_id"],
        f"{report.organ}: {report.lesion_type.text}",
        f"{', '.join(s.text for s in report.shape)}, {size} mm",
        report.density.text,
        f"{report.density_variations.text}, {report.surface_characteristics.text}",
        report.cavity.text,
        *([features] if features else []),
        f"{lesion['volume_mm3'] / 1000:.2f} ml, shift {lesion['shift_hu']:+.0f} HU",
        f"mask {lesion['mask_backend']}, paint {lesion['paint_backend']}",
    ]
    return "\n".join(line if len(line) <= 42 else line[:40] + ".." for line in lines)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
