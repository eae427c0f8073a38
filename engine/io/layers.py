"""A volume with a few boxes laid over it, read slab by slab, so that the whole of it need never exist twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.geometry import Box, Shape3, iter_blocks

_SLAB_BYTES = 1 << 18


@dataclass(frozen=True, eq=False)
class Overlay:
    """`values` that replace what lies in `box`; only at `where`, if given. Both have the box's shape."""

    box: Box
    values: NDArray[Any] | int
    where: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Layered:
    """`base` (i, j, k), each value looked up in `table` where there is one, with overlays in their order on top."""

    base: NDArray[Any]
    overlays: tuple[Overlay, ...] = ()
    table: NDArray[np.uint8] | None = None

    @property
    def shape(self) -> Shape3:
        i, j, k = self.base.shape
        return i, j, k

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.base.dtype if self.table is None else self.table.dtype

    def cut(self, box: Box) -> NDArray[Any]:
        """The values in a box inside the volume: a view of `base` where nothing changes it, else a copy."""
        part = self.base[box.slices]
        if self.table is not None:
            part = np.asfortranarray(self.table[part])
        hits = [overlay for overlay in self.overlays if overlay.box.overlaps(box)]
        if hits and self.table is None:
            part = part.copy(order="K")
        for overlay in hits:
            _lay(overlay, part, box)
        return part

    def slabs(self) -> Iterator[NDArray[Any]]:
        """The whole volume along the last axis, about 256 KiB at a time; the cuts follow from shape and dtype alone."""
        i, j, _ = self.shape
        for box in iter_blocks(self.shape, max(1, _SLAB_BYTES // (i * j * self.dtype.itemsize))):
            yield self.cut(box)

    def sha256(self) -> str:
        """Digest of the voxels in NIfTI order (first index fastest), whatever file holds them."""
        digest = hashlib.sha256()
        for slab in self.slabs():
            digest.update(np.ascontiguousarray(slab.T).data)
        return digest.hexdigest()


def _lay(overlay: Overlay, part: NDArray[Any], box: Box) -> None:
    shared = overlay.box & box
    there, here = shared.relative_to(overlay.box).slices, shared.relative_to(box).slices
    values = overlay.values if isinstance(overlay.values, int) else overlay.values[there]
    if overlay.where is None:
        part[here] = values
    else:
        np.copyto(part[here], np.asarray(values, part.dtype), where=overlay.where[there])
