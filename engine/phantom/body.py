"""A healthy torso on CT, made from nothing: smooth organs in their anatomical places, and what a scanner adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from engine.core.anatomy import OrganMap
from engine.core.errors import UsageError
from engine.core.geometry import Affine, Grid, Shape3
from engine.core.seeds import SAMPLE_LEVEL, rng_for
from engine.core.suggest import did_you_mean
from engine.phantom.belly import paint_belly
from engine.phantom.canvas import Canvas
from engine.phantom.chest import paint_chest
from engine.phantom.lattice import Lattice
from engine.phantom.muscles import paint_muscles
from engine.phantom.phase import Phase
from engine.phantom.scanner import scanned
from engine.phantom.skeleton import paint_skeleton
from engine.phantom.surgeon import Surgeon
from engine.phantom.tissue import Tissues
from engine.phantom.torso import Build, Trunk, paint_torso
from engine.phantom.vessels import paint_vessels
from engine.procedural.waves import Field

SHAPE: Shape3 = (200, 150, 160)
SPACING_MM = (1.9, 1.9, 2.9)
CENTRE_MM = (0.0, 0.0, -8.0)
STRAIGHT_DEG = (0.0, 0.0, 0.0)


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
    phase: Phase | str = Phase.UNENHANCED,
    turn_deg: Sequence[float] = STRAIGHT_DEG,
    oblique_deg: Sequence[float] = STRAIGHT_DEG,
) -> Phantom:
    """The body of a seed, seen by one scan.

    `shape` and `spacing_mm` are along right, anterior, superior, however `orientation` ("RAS", "LPS", "PSR", ...) then
    lays out the array; `centre_mm` is the middle of the view, world RAS from the first lumbar level. `turn_deg` turns
    the patient in the world about the right, anterior and superior axis in turn, `oblique_deg` the grid. The body of a
    seed and a turn is the same in the world whatever the scan, and in every contrast phase.

    Raises `UsageError` for an orientation or a phase that is none.
    """
    layout, phase = _layout(orientation), _phase(phase)
    body_rng = rng_for(seed, "phantom", SAMPLE_LEVEL, 0, "body")
    size = np.array([1.0, 1.0, 1.0]) * body_rng.uniform(0.96, 1.05) * body_rng.uniform(0.97, 1.03, 3)
    world_from_body = np.eye(4)
    world_from_body[:3, :3] = _turn(turn_deg) * size
    scan = _scan_grid(shape, spacing_mm, centre_mm, oblique_deg)
    canvas, share = _painted(scan, np.asarray(np.linalg.inv(world_from_body)), phase, body_rng)
    hu = scanned(canvas.hu, scan.spacing_mm, share, rng_for(seed, "phantom", SAMPLE_LEVEL, 0, "noise"))
    grid_affine = scan.affine @ nib.orientations.inv_ornt_aff(layout, shape)
    laid_hu = np.ascontiguousarray(nib.orientations.apply_orientation(hu, layout))
    laid_organs = np.ascontiguousarray(nib.orientations.apply_orientation(canvas.organs, layout))
    return Phantom(laid_hu, laid_organs, Grid(laid_hu.shape, grid_affine))


def _painted(scan: Grid, body_from_world: Affine, phase: Phase, rng: np.random.Generator) -> tuple[Canvas, Field]:
    """The ideal body, before the scanner: outside in, then what displaces last; and each voxel's share of noise."""
    tissues, build = Tissues.drawn(rng, phase), Build.drawn(rng)
    canvas = Canvas.empty(scan, body_from_world, tissues.air)
    at = Surgeon(canvas, paint_torso(canvas, build, tissues), tissues, rng)
    paint_muscles(at)
    paint_chest(at)
    paint_belly(at, arterial=phase is Phase.ARTERIAL)
    paint_vessels(at)
    paint_skeleton(at, build)
    return canvas, _noise_share(canvas, build)


def _noise_share(canvas: Canvas, build: Build) -> Field:
    """1 on average in the body: more where rays are weakened most, in its middle, and little in air."""
    skin = Trunk(build, "skin")

    def share(points: Lattice) -> Field:
        depth = np.clip(-skin.distance(points) / 100, -0.3, 1)
        return np.asarray(0.78 + 0.42 * depth, np.float32)

    return canvas.read(canvas.whole, share, 8.0)


def _turn(deg: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(Rotation.from_euler("xyz", np.asarray(deg, float), degrees=True).as_matrix())


def _scan_grid(
    shape: Shape3, spacing_mm: Sequence[float], centre_mm: Sequence[float], oblique_deg: Sequence[float]
) -> Grid:
    """A grid nearest to RAS whose middle is at `centre_mm`."""
    affine = np.eye(4)
    affine[:3, :3] = _turn(oblique_deg) * np.asarray(spacing_mm, float)
    middle = (np.asarray(shape, float) - 1) / 2
    affine[:3, 3] = np.asarray(centre_mm, float) - affine[:3, :3] @ middle
    return Grid(shape, affine)


def _phase(name: str) -> Phase:
    """Raises `UsageError`."""
    known = [p.value for p in Phase]
    if name not in known:
        raise UsageError(f"unknown phase '{name}'{did_you_mean(name, known) or '; known are ' + ', '.join(known)}")
    return Phase(name)


def _layout(orientation: str) -> NDArray[np.float64]:
    """nibabel's transform from RAS to `orientation`. Raises `UsageError`."""
    code = orientation.upper()
    if len(code) != 3 or any(len(set(pair) & set(code)) != 1 for pair in ("RL", "AP", "SI")):
        raise UsageError(f"orientation '{orientation}' should hold one of R/L, one of A/P and one of S/I, such as RAS")
    ornt = nib.orientations
    return np.asarray(ornt.ornt_transform(ornt.axcodes2ornt("RAS"), ornt.axcodes2ornt(code)))
