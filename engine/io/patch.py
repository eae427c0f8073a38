"""A sample as boxes and voxels only: a thousandth of the volume, and enough to rebuild it bit for bit."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.core.geometry import Box

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


def encode(sample_id: str, boxes: Sequence[Box], image: NDArray[np.generic], label: NDArray[np.uint8]) -> bytes:
    """The boxes' content as Parquet bytes (no clock in them, so equal patches are equal bytes)."""
    rows = [
        {
            "sample_id": sample_id,
            "box": box.flat,
            "dtype": image.dtype.str,
            "image": image[box.slices].tobytes(order="F"),
            "label": label[box.slices].tobytes(order="F"),
        }
        for box in boxes
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=PATCH), buffer, compression="zstd")
    return buffer.getvalue()


def apply(data: bytes, image: NDArray[np.generic], label: NDArray[np.uint8]) -> None:
    """Write a patch into an image and a label of the source's shape, in place. Raises `ValueError` on another dtype."""
    for row in pq.read_table(io.BytesIO(data), schema=PATCH).to_pylist():
        box = Box.from_flat(row["box"])
        if row["dtype"] != image.dtype.str:
            raise ValueError(f"patch of {row['dtype']} values for an image of {image.dtype.str}")
        image[box.slices] = np.frombuffer(row["image"], image.dtype).reshape(box.shape, order="F")
        label[box.slices] = np.frombuffer(row["label"], np.uint8).reshape(box.shape, order="F")
