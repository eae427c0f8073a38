"""Stomach, duodenum, small bowel and colon with what they hold. Places in body mm, x right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.core.anatomy import V1_IDS
from engine.phantom.canvas import Region
from engine.phantom.lattice import Lattice, mm
from engine.phantom.solids import Bundle
from engine.phantom.surgeon import FAT_PLANE_MM, Surgeon
from engine.phantom.tubes import tree, tube
from engine.procedural.waves import Field, Waves

_COLON = (
    (76, 20, -140, 26), (92, 6, -104, 26), (96, 0, -66, 24), (84, 16, -40, 23), (58, 48, -54, 22), (18, 58, -70, 21),
    (-30, 58, -62, 21), (-74, 40, -26, 20), (-99, 6, 2, 19), (-103, -18, -36, 17), (-103, -20, -84, 15),
    (-92, -6, -124, 16), (-62, 10, -158, 17), (-26, 18, -152, 17), (2, -2, -158, 18), (6, -38, -186, 18),
    (0, -48, -240, 20),
)  # fmt: skip
"""Centre line (x, y, z) and radius, from the caecum to the rectum."""
_STOMACH = (
    (-62, -16, 78, 30), (-66, 8, 52, 31), (-56, 38, 20, 28), (-28, 54, -6, 22), (4, 48, -10, 17), (24, 36, 0, 12),
)  # fmt: skip
_DUODENUM = (
    (28, 32, 2, 11), (48, 20, 0, 12), (56, 8, -30, 12), (38, -4, -52, 11), (4, -8, -56, 10), (-24, 4, -40, 10.5),
)  # fmt: skip
_ROOT_OF_MESENTERY = np.array([2.0, 4.0, -44.0])
_BUBBLE_HU = -520.0
_SAC_MM = 28.0
"""From fold to fold of the colon."""
_NEAR_MM = 40.0


def paint_small_bowel(at: Surgeon) -> None:
    """Loops that fill the middle of the belly; the vessels of the mesentery between them."""
    rng, tissues = at.rng, at.tissues
    line = _loops(rng)
    stretched = rng.uniform(9.5, 14.0, len(line))
    solid = at.dented(Bundle(tube(line, list(stretched), step_mm=9)), 0.8, (18.0, 60.0))
    arcade = tree(_ROOT_OF_MESENTERY, line + rng.uniform(-4, 4, line.shape) - mm(0, 6, 0), 0.9)
    at.vessels(arcade, tissues.portal_vein)
    region = at.place("small_bowel", solid, tissues.wall, room=at.rooms.belly, gap_mm=1.0)
    folds, gas = Waves.drawn(rng, 6, (6.0, 13.0)), Waves.drawn(rng, 5, (30.0, 80.0))

    def juice(points: Lattice) -> Field:
        mixed = np.float32(tissues.chyme) + 9 * points.waves(folds)
        rises = points.along(at.canvas.up) > 46
        return np.where(rises & (points.waves(gas) > 0.5), np.float32(tissues.air), mixed)

    at.canvas.hollow(region, V1_IDS["small_bowel"], 2.8, juice)


def _loops(rng: np.random.Generator) -> NDArray[np.float64]:
    """A path from loop to loop, to and fro: down through the back of the belly, and up again in front (n, 3)."""
    knots = []
    for layer, y in enumerate((12.0, 50.0)):
        rows = np.linspace(-48, -172, 6)[:: 1 if layer == 0 else -1]
        for row, z in enumerate(rows):
            wide = float(np.interp(z, [-172, -110, -48], [48, 72, 66]))
            across = np.linspace(-wide, wide, 6)[:: 1 if row % 2 else -1]
            knots += [mm(x, y - 0.003 * x * x, z) + rng.uniform(-1, 1, 3) * (9, 11, 13) for x in across]
    return np.array(knots)


def paint_duodenum(at: Surgeon) -> None:
    """Between the stomach and the first loop, around the head of the pancreas."""
    region = at.place("duodenum", at.dented(at.pipe(_DUODENUM), 0.6), at.tissues.wall, gap_mm=FAT_PLANE_MM)
    at.canvas.fill(region.deeper(4.0), at.tissues.chyme, where=at.canvas.own(region, V1_IDS["duodenum"]))


def place_colon(at: Surgeon) -> tuple[Region, NDArray[np.float64]]:
    """The colon, and the middles of its sacs (n, 3)."""
    pipe = at.pipe(_COLON, step_mm=_SAC_MM / 5, haustra_mm=4.2)
    sacs = np.array([part.bounds.mean(axis=0) for part in pipe.parts[2::5]])
    return at.place("colon", at.dented(pipe, 1.0), at.tissues.wall, room=at.rooms.belly, gap_mm=FAT_PLANE_MM), sacs


def place_stomach(at: Surgeon) -> Region:
    solid = at.dented(at.pipe(_STOMACH), 1.2)
    return at.place("stomach", solid, at.tissues.wall, room=at.rooms.belly, gap_mm=FAT_PLANE_MM)


def fill_stomach(at: Surgeon, stomach: Region) -> None:
    """Gas above its level, a meal below it, rugae along the wall."""
    tissues, rng = at.tissues, at.rng
    level_mm, crumbs = float(rng.uniform(36, 56)), Waves.drawn(rng, 8, (7.0, 18.0))

    def meal(points: Lattice) -> Field:
        mixed = np.float32(tissues.chyme) + 7 * points.waves(crumbs)
        return np.where(points.along(at.canvas.up) > level_mm, np.float32(tissues.air), mixed)

    at.canvas.hollow(stomach, V1_IDS["stomach"], float(rng.uniform(3.6, 5.0)), meal)


def fill_colon(at: Surgeon, colon: Region, sacs: NDArray[np.float64]) -> None:
    """Stool mottled with small bubbles, and in each sac gas above its own level."""
    tissues, rng = at.tissues, at.rng
    crumbs = Waves.drawn(rng, 9, (6.0, 16.0))
    # Neighbouring sacs are filled alike.
    above_mm = 34 * np.convolve(rng.uniform(-1, 1, len(sacs) + 2), np.full(3, 1 / 3), "valid") + 2
    levels = sacs @ at.canvas.up + above_mm

    def stool(points: Lattice) -> Field:
        fine = points.waves(crumbs)
        mottled = np.where(fine > 2.1, np.float32(_BUBBLE_HU), np.float32(tissues.stool) + 20 * np.minimum(fine, 1))
        under = _of_nearest(points, sacs, levels) > points.along(at.canvas.up)
        return np.where(under, mottled, np.float32(tissues.air))

    at.canvas.hollow(colon, V1_IDS["colon"], 3.0, stool)


def _of_nearest(points: Lattice, centres: NDArray[np.float64], values: NDArray[np.float64]) -> Field:
    """For each point the value of the nearest of a few `centres` (n, 3), where one is near."""
    nearest, found = np.full(points.shape, np.inf, np.float32), np.full(points.shape, 1e3, np.float32)
    for centre, value in zip(centres, values, strict=True):
        box = points.window(np.array([centre - _NEAR_MM, centre + _NEAR_MM]))
        if not box.voxels:
            continue
        here, view = points.crop(box), nearest[box.slices]
        square = sum(here.along(axis, centre) ** 2 for axis in np.eye(3))
        found[box.slices][square < view] = value
        np.minimum(view, square, out=view)
    return found
