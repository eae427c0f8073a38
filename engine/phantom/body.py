"""A healthy torso on CT, made from nothing: smooth organs in their anatomical places, and what a scanner adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.core.anatomy import OrganMap
from engine.core.errors import UsageError
from engine.core.geometry import Grid, Shape3
from engine.core.seeds import SAMPLE_LEVEL, rng_for
from engine.phantom.belly import paint_belly
from engine.phantom.canvas import Canvas
from engine.phantom.chest import paint_chest, paint_vessels
from engine.phantom.skeleton import paint_muscles, paint_skeleton
from engine.phantom.tissue import Tissues
from engine.phantom.torso import Build, paint_torso

SHAPE: Shape3 = (200, 150, 160)
SPACING_MM = (1.9, 1.9, 2.9)
CENTRE_MM = (0.0, 0.0, -8.0)

_BLUR_VOX = 0.55
"""Partial volume: the sigma of a scanner's point spread, in voxels."""
_NOISE_VOX = (0.8, 0.8, 0.5)
"""Correlation of the noise, along (right, anterior, superior)."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """`hu` int16 and `organs` uint8 v1 ids, both (i j k) on `grid` (world RAS mm)."""

    hu: NDArray[np.int16]
    organs: OrganMap
    grid: Grid


def make_phantom(
    seed: int,
    *,
    shape: Shape3 = SHAPE,
    spacing_mm: Sequence[float] = SPACING_MM,
    orientation: str = "RAS",
    centre_mm: Sequence[float] = CENTRE_MM,
) -> Phantom:
    """The body of a seed, seen by one scan.

    `shape` and `spacing_mm` are along right, anterior, superior, however `orientation` ("RAS", "LPS", "PSR", ...) then
    lays out the array; `centre_mm` is the middle of the view, world RAS from the first lumbar level. The body in the
    world is the same whatever the scan. Raises `UsageError` for an orientation that is none.
    """
    layout = _layout(orientation)
    body_rng = rng_for(seed, "phantom", SAMPLE_LEVEL, 0, "body")
    size = np.array([1.0, 1.0, 1.0]) * body_rng.uniform(0.96, 1.05) * body_rng.uniform(0.97, 1.03, 3)
    world = _axis_aligned(shape, spacing_mm, centre_mm)
    canvas = _painted(Grid(shape, np.diag([*(1 / size), 1.0]) @ world.affine), body_rng)
    hu = _scanned(canvas.hu, rng_for(seed, "phantom", SAMPLE_LEVEL, 0, "noise"))
    grid_affine = world.affine @ nib.orientations.inv_ornt_aff(layout, shape)
    laid_hu = np.ascontiguousarray(nib.orientations.apply_orientation(hu, layout))
    laid_organs = np.ascontiguousarray(nib.orientations.apply_orientation(canvas.organs, layout))
    return Phantom(laid_hu, laid_organs, Grid(laid_hu.shape, grid_affine))


def _painted(grid: Grid, rng: np.random.Generator) -> Canvas:
    """The ideal body, before the scanner: outside in, then what displaces last."""
    tissues, build = Tissues.drawn(rng), Build.drawn(rng)
    canvas = Canvas.empty(grid, tissues.air)
    rooms = paint_torso(canvas, build, tissues)
    paint_muscles(canvas, rooms, tissues)
    paint_chest(canvas, rooms, tissues, rng)
    paint_belly(canvas, rooms, tissues, rng)
    paint_vessels(canvas, rooms, tissues, rng)
    paint_skeleton(canvas, build, rooms, tissues, rng)
    return canvas


def _scanned(ideal: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int16]:
    """Partial volume and correlated noise (sigma 10 to 15 HU), rounded to int16."""
    hu = ndimage.gaussian_filter(ideal, _BLUR_VOX, truncate=3)
    sigma_hu = np.float32(rng.uniform(10, 15))
    noise = rng.standard_normal(ideal.shape, dtype=np.float32)
    for axis, vox in enumerate(_NOISE_VOX):
        noise = ndimage.gaussian_filter1d(noise, vox, axis=axis, truncate=3)
    hu += noise * (sigma_hu / noise.std())
    return np.asarray(np.clip(np.rint(hu), -1024, 3071), np.int16)


def _axis_aligned(shape: Shape3, spacing_mm: Sequence[float], centre_mm: Sequence[float]) -> Grid:
    """An RAS grid whose middle is at `centre_mm`."""
    affine = np.diag([*(float(s) for s in spacing_mm), 1.0])
    middle = (np.asarray(shape, float) - 1) / 2
    affine[:3, 3] = np.asarray(centre_mm, float) - affine[:3, :3] @ middle
    return Grid(shape, affine)


def _layout(orientation: str) -> NDArray[np.float64]:
    """nibabel's transform from RAS to `orientation`. Raises `UsageError`."""
    code = orientation.upper()
    if len(code) != 3 or any(len(set(pair) & set(code)) != 1 for pair in ("RL", "AP", "SI")):
        raise UsageError(f"orientation '{orientation}' should hold one of R/L, one of A/P and one of S/I, such as RAS")
    ornt = nib.orientations
    return np.asarray(ornt.ornt_transform(ornt.axcodes2ornt("RAS"), ornt.axcodes2ornt(code)))
