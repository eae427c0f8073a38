"""A sample as boxes and voxels only: a thousandth of the volume, and enough to rebuild it bit for bit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.core.geometry import Box
from engine.io.layers import Layered, Overlay

PATCH = pa.schema(
    [
        ("sample_id", pa.string()),
        ("box", pa.list_(pa.int32())),
        ("dtype", pa.string()),
        ("image", pa.large_binary()),
        ("label", pa.large_binary()),
    ]
)
"""One row a lesion: native box, on-disk values and labels in it, first index fastest."""


def encode(sample_id: str, boxes: Sequence[Box], image: Layered, label: Layered) -> bytes:
    """The boxes' content as Parquet bytes (no clock in them, so equal patches are equal bytes)."""
    rows = [
        {
            "sample_id": sample_id,
            "box": box.flat,
            "dtype": image.dtype.str,
            "image": image.cut(box).tobytes(order="F"),
            "label": label.cut(box).tobytes(order="F"),
        }
        for box in boxes
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=PATCH), buffer, compression="zstd")
    return buffer.getvalue()


def decode(data: bytes) -> tuple[tuple[Overlay, ...], tuple[Overlay, ...]]:
    """What a patch lays over the source's image, and over the label of its host organs."""
    rows = pq.read_table(io.BytesIO(data), schema=PATCH).to_pylist()
    return (
        tuple(_overlay(row["box"], row["image"], np.dtype(row["dtype"])) for row in rows),
        tuple(_overlay(row["box"], row["label"], np.dtype(np.uint8)) for row in rows),
    )


def _overlay(flat: Sequence[int], data: bytes, dtype: np.dtype[Any]) -> Overlay:
    box = Box.from_flat(flat)
    return Overlay(box, np.frombuffer(data, dtype).reshape(box.shape, order="F"))
