"""Pictures of a training's examples as one sheet."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BETWEEN = 2  # pixels, white


def one_above_the_other(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures (h w) of one or several sizes -> (h w), white where nothing is. There is one at least."""
    width = max(picture.shape[1] for picture in pictures)
    rows: list[NDArray[np.uint8]] = []
    for picture in pictures:
        rows += [_padded(picture, width), np.full((_BETWEEN, width), 255, np.uint8)]
    return np.concatenate(rows[:-1])


def _padded(picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1])), constant_values=255)


def as_png(picture: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()
