"""What is drawn over a plane: outlines, the letters of its edges, a scale bar."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from engine.preview.planes import Plane, letters_of

Rgb = tuple[int, int, int]

LESION_RGB: Rgb = (255, 176, 0)
ORGAN_RGB: Rgb = (64, 196, 255)
LINE_PX = 1.3
_ORGAN_OPACITY = 0.7
_INK = 235
_BARS_MM = (5, 10, 20, 50, 100, 200)
_BAR_SHARE = 0.35
"""Of a picture's width, at most."""


def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface, the same on every machine. It has no multiplication sign, dashes or superscripts."""
    return ImageFont.load_default(size)


def contour(inside: NDArray[np.float32]) -> NDArray[np.float32]:
    """Opacity (0 to 1) of a thin smooth line where `inside` (rows, columns; 0 to 1) passes one half."""
    # Midway between a slice that is inside and one that is not, whole areas are one half: only their rim is a line.
    rim = _rim(inside >= 0.5)
    row, column = np.nonzero(rim)
    here, around = inside[rim], np.pad(inside, 1, mode="edge")
    down = np.maximum(abs(around[row + 2, column + 1] - here), abs(around[row, column + 1] - here))
    across = np.maximum(abs(around[row + 1, column + 2] - here), abs(around[row + 1, column] - here))
    # Near the line the distance to it in pixels is the value's difference from one half over its slope.
    distance_px = abs(here - 0.5) / np.maximum(np.hypot(down, across), 1e-6)
    line = np.zeros_like(inside, np.float32)
    line[rim] = np.clip(LINE_PX / 2 + 0.5 - distance_px, 0, 1)
    return line


def _rim(solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels with a neighbour (edges, corners) on the other side. A fifth of the time of scipy's morphology."""
    around = np.pad(solid, 1, mode="edge")
    some = around[:, :-2] | around[:, 1:-1] | around[:, 2:]
    every = around[:, :-2] & around[:, 1:-1] & around[:, 2:]
    return (some[:-2] | some[1:-1] | some[2:]) & ~(every[:-2] & every[1:-1] & every[2:])


def outlines(organ: NDArray[np.float32], lesion: NDArray[np.float32]) -> Image.Image:
    """A transparent picture (RGBA) of both outlines, the lesion's on top; both (rows, columns), 0 to 1."""
    return Image.alpha_composite(_line(contour(organ) * _ORGAN_OPACITY, ORGAN_RGB), _line(contour(lesion), LESION_RGB))


def _line(opacity: NDArray[np.float32], colour: Rgb) -> Image.Image:
    picture = np.empty((*opacity.shape, 4), np.uint8)
    picture[..., :3] = colour
    picture[..., 3] = np.rint(opacity * 255)
    return Image.fromarray(picture)


def annotate(picture: Image.Image, plane: Plane, pixel_mm: float, size: int) -> None:
    """Draw the plane's name, the letters of its left and upper edge and a scale bar into a grey or coloured picture."""
    draw = ImageDraw.Draw(picture)
    ink, shade = (_INK, 0) if picture.mode == "L" else ((_INK,) * 3, (0, 0, 0))
    write = partial(draw.text, fill=ink, font=font(size), stroke_width=1, stroke_fill=shade)
    letters, edge = letters_of(plane), 3
    right, bottom = picture.width - 2 * edge, picture.height - 2 * edge
    write((edge, picture.height / 2), letters.left, anchor="lm")
    write((picture.width / 2, edge), letters.top, anchor="mt")
    write((edge, bottom), plane, anchor="lb")
    bar_mm = scale_bar_mm(picture.width * pixel_mm)
    left = right - bar_mm / pixel_mm
    draw.rectangle((left - 1, bottom - 2, right + 1, bottom + 1), fill=shade)
    draw.rectangle((left, bottom - 1, right, bottom), fill=ink)
    write((right, bottom - 4), f"{bar_mm} mm", anchor="rb")


def scale_bar_mm(width_mm: float) -> int:
    """The longest round length that takes no more than a third or so of a picture."""
    return max((mm for mm in _BARS_MM if mm <= width_mm * _BAR_SHARE), default=_BARS_MM[0])
