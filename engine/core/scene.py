"""One case as placement sees it, and a lesion in it: the ellipsoid that fills its box, as a few hundred points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from engine.core.anatomy import OrganMap
from engine.core.geometry import Box, Grid, Points
from engine.core.organ_site import CtHu

_POINTS = 256


@dataclass(frozen=True, eq=False)
class Scene:
    """One case as placement sees it: ids and HU on the native grid, boxes on the model grid."""

    organs: OrganMap
    ct_hu: CtHu | None
    native: Grid
    model: Grid

    def ids(self, index: Points) -> NDArray[np.uint8]:
        """Organ ids at native indices (..., 3); 0 beyond the volume."""
        at = np.rint(index).astype(np.intp)
        inside = np.all((at >= 0) & (at < self.native.shape), axis=-1)
        i, j, k = np.moveaxis(np.where(inside[..., None], at, 0), -1, 0)
        return np.where(inside, self.organs[i, j, k], 0).astype(np.uint8)

    def ellipsoids(self, boxes: Sequence[Box], points: Points) -> Points:
        """Unit-ball points (m, 3), fitted into boxes of one shape -> native indices (n, m, 3)."""
        to_native = self.model.index_map(self.native)
        half = np.asarray(boxes[0].shape, float) / 2
        offsets = (points * half) @ to_native[:3, :3].T
        centres = np.stack([b.centre for b in boxes]) @ to_native[:3, :3].T + to_native[:3, 3]
        return np.asarray(centres[:, None] + offsets)

    def hu(self, index: Points) -> NDArray[np.float32]:
        """HU at native indices (m, 3), those beyond the volume left out."""
        if self.ct_hu is None:
            raise ValueError("a scene without CT has no HU")
        at = np.rint(index).astype(np.intp)
        at = at[np.all((at >= 0) & (at < self.native.shape), axis=-1)]
        if not len(at):
            return np.zeros(0, np.float32)
        box = Box.of_points(at.astype(float))
        i, j, k = (at - box.start).T
        return np.asarray(self.ct_hu(box)[i, j, k], np.float32)


@cache
def sphere() -> Points:
    """Points spread evenly over the unit sphere (n, 3): a Fibonacci lattice."""
    i = np.arange(_POINTS) + 0.5
    height = 1 - 2 * i / _POINTS
    turn = np.pi * (1 + 5**0.5) * i
    flat = np.sqrt(1 - height**2)
    points = np.stack([height, flat * np.cos(turn), flat * np.sin(turn)], axis=1)
    points.setflags(write=False)
    return points


@cache
def ball() -> Points:
    """Points spread evenly through the unit ball (n, 3): the sphere's, at radii of equal shells, shuffled once."""
    radii = ((np.arange(_POINTS) + 0.5) / _POINTS) ** (1 / 3)
    # A stride prime to the number of points, so that radius and height are not correlated.
    points: Points = sphere() * radii[(np.arange(_POINTS) * 97) % _POINTS][:, None]
    points.setflags(write=False)
    return points
