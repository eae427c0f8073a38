"""Faults put into good lesions between `paint` and `check`: what networks, painters and bugs do. No code of the gates.

A fault changes the soft mask and the painted change (HU) of one lesion, on the 1 mm crop around its site. Severities
are drawn from moderate to plain. A site that cannot show a fault (no lung nearby) gives None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.painted import Painted
from engine.core.anatomy import V1_IDS
from engine.core.geometry import Box
from engine.core.sample import Crop, Sample
from engine.core.vocabulary import Cavity

Array = NDArray[np.float64]

LUNG = [i for name, i in V1_IDS.items() if name.startswith("lung")]
_AIRY_OR_BONY = [i for name, i in V1_IDS.items() if name.startswith(("lung", "trachea", "rib", "vertebrae"))]
_MARGIN_VOX = 4
_MARGIN_SHOWS_MM = 2.1
"""The margin of 3 mm holds no voxel of a coarser grid: what is painted there never reaches the file."""


@dataclass(frozen=True, eq=False)
class Site:
    """One painted lesion: soft `mask`, `change` (HU), `ct` (HU) before it and organ `ids`, all on one crop."""

    mask: Array
    change: Array
    ct: Array
    ids: NDArray[np.uint8]
    host_id: int
    protruding: bool
    native_mm: float
    """Finest spacing of the case's own grid, and its coarsest."""
    coarsest_mm: float
    box_step: tuple[int, int, int] = (0, 0, 0)
    """By how much placement itself was wrong: the box that the lesion was given moves along."""

    @property
    def inside(self) -> NDArray[np.bool_]:
        return self.mask >= 0.5

    @property
    def contrast_hu(self) -> float:
        return float(self.change[self.inside].mean())

    @property
    def centre(self) -> Array:
        return np.argwhere(self.inside).mean(axis=0)

    def away_mm(self, point: Array) -> Array:
        """Distance of every voxel from a point."""
        return np.sqrt(
            sum((np.arange(n) - p).reshape(s) ** 2 for n, p, s in zip(self.mask.shape, point, _OPEN, strict=True))
        )

    def outside_share(self, where: NDArray[np.bool_]) -> float:
        return float(where[self.inside].mean())


_OPEN = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
Fault = Callable[[Site, np.random.Generator], Site | None]


def plant(painted: Painted, fault: Fault, rng: np.random.Generator) -> Sample | None:
    """The sample with its lesion spoilt, or None where this site cannot show the fault."""
    lesion, box = painted.lesion, painted.ct.box
    assert lesion.mask is not None
    assert lesion.delta is not None
    site = Site(
        lesion.mask.onto(box).values.astype(float),
        lesion.delta.onto(box).values.astype(float),
        painted.ct.values.astype(float),
        painted.organs.onto(box).values,
        lesion.organ_id,
        lesion.report.cavity is Cavity.PROTRUDING,
        *(float(mm) for mm in _finest_and_coarsest(painted)),
    )
    spoilt = fault(site, rng)
    held = None if spoilt is None else Box.of_mask(spoilt.mask > 0)
    if spoilt is None or held is None:
        return None
    room = Box.whole(spoilt.mask.shape)
    mask_box, delta_box = held.grown(1) & room, held.grown(_MARGIN_VOX) & room
    mask = Crop(mask_box.shifted(box.start), spoilt.mask[mask_box.slices].astype(np.float32))
    change = spoilt.change[delta_box.slices]
    delta = np.rint(np.clip(change, -32768, 32767)).astype(np.int16) if np.isfinite(change).all() else change
    assert lesion.box is not None
    placed = lesion.box.shifted(spoilt.box_step)
    changed = replace(lesion, box=placed, mask=mask, delta=Crop(delta_box.shifted(box.start), delta))
    return replace(painted.sample, lesions=(changed,))


def _finest_and_coarsest(painted: Painted) -> tuple[float, float]:
    source = painted.sample.source
    assert source is not None
    return source.grid.spacing_mm.min(), source.grid.spacing_mm.max()


def outside_the_organ(site: Site, rng: np.random.Generator) -> Site | None:
    """Placed so that 40 to 90% of it lie in something else."""
    return _moved_until(site, rng, site.ids != site.host_id, 0.4, 0.9)


def half_in_bone_or_lung(site: Site, rng: np.random.Generator) -> Site | None:
    """Placed so that 15 to 60% of it lie in lung, airway or bone."""
    return _moved_until(site, rng, np.isin(site.ids, _AIRY_OR_BONY) & (site.ids != site.host_id), 0.15, 0.6)


def shifted_8_mm(site: Site, rng: np.random.Generator) -> Site | None:
    """Mask and paint put down 8 mm beside their place."""
    step = np.zeros(3, int)
    step[rng.integers(3)] = rng.choice((-8, 8))
    return replace(site, mask=_moved(site.mask, step), change=_moved(site.change, step))


def paint_shifted(site: Site, rng: np.random.Generator) -> Site | None:
    """The paint half a lesion beside its mask."""
    size = np.ptp(np.argwhere(site.inside), axis=0) + 1
    axis = int(rng.integers(3))
    step = np.zeros(3, int)
    step[axis] = rng.choice((-1, 1)) * max(4, round(0.5 * size[axis]))
    return replace(site, change=_moved(site.change, step))


def wrong_sign(site: Site, rng: np.random.Generator) -> Site | None:
    return replace(site, change=-rng.uniform(0.5, 1.2) * site.change)


def too_weak(site: Site, rng: np.random.Generator) -> Site | None:
    return replace(site, change=rng.uniform(0.05, 0.25) * site.change) if abs(site.contrast_hu) > 15 else None


def too_strong(site: Site, rng: np.random.Generator) -> Site | None:
    return replace(site, change=rng.uniform(2.5, 4) * site.change) if abs(site.contrast_hu) > 15 else None


def seam_at_crop_box(site: Site, rng: np.random.Generator) -> Site | None:
    """The paint's crop ends a millimetre or two beyond the lesion, and shows: everything in it is shifted."""
    held = Box.of_mask(site.inside)
    if held is None or site.native_mm > _MARGIN_SHOWS_MM:
        return None
    box = held.grown(int(rng.integers(1, 3))) & Box.whole(site.mask.shape)
    change = site.change.copy()
    offset = rng.uniform(1.0, 1.6) * site.contrast_hu
    change[box.slices] += offset * (1 - site.mask[box.slices])
    return replace(site, change=change)


def seam_at_margin_end(site: Site, rng: np.random.Generator) -> Site | None:
    """A painter that undoes the blending: the change keeps its strength up to 3 mm from the outline, then stops."""
    if site.native_mm > _MARGIN_SHOWS_MM:
        return None
    away = ndimage.distance_transform_edt(~site.inside)
    left = np.clip(1 - away / 3, 0.05, 1)
    kept = rng.uniform(0.6, 1) * site.contrast_hu / (left * left * (3 - 2 * left))
    ring = ~site.inside & (away < 3)
    return replace(site, change=np.where(ring, np.clip(kept, -30000, 30000), site.change))


def paint_ends_inside(site: Site, rng: np.random.Generator) -> Site | None:
    """Nothing was painted beyond a plane that cuts off 25 to 45% of the lesion."""
    beyond = _beyond_plane(site, rng, float(rng.uniform(0.25, 0.45)))
    return replace(site, change=np.where(beyond, 0, site.change))


def step_between_tiles(site: Site, rng: np.random.Generator) -> Site | None:
    """Two tiles that meet in the lesion differ by as much as the lesion's contrast."""
    if np.ptp(np.argwhere(site.inside), axis=0).min() < 6 * site.coarsest_mm:
        return None
    beyond = _beyond_plane(site, rng, float(rng.uniform(0.35, 0.65)))
    step = rng.choice((-1, 1)) * rng.uniform(0.8, 1.2) * max(abs(site.contrast_hu), 20)
    return replace(site, change=site.change + np.where(beyond, step / 2, -step / 2))


def speck(site: Site, rng: np.random.Generator) -> Site | None:
    """Only a ball of 2 to 3 mm is left of it."""
    ball = site.away_mm(site.centre) <= rng.uniform(1.5, 3)
    return replace(site, mask=np.where(ball, site.mask, 0)) if site.inside.sum() > 1000 else None


def scattered_specks(site: Site, rng: np.random.Generator) -> Site | None:
    """A handful of small balls are left of it."""
    voxels = np.argwhere(site.inside)
    near = np.full(site.mask.shape, np.inf)
    for point in voxels[rng.choice(len(voxels), int(rng.integers(5, 12)))]:
        near = np.minimum(near, site.away_mm(point))
    kept = np.where(near <= 2.5, site.mask, 0)
    return replace(site, mask=kept) if len(voxels) > 2000 else None


def torn_in_two(site: Site, rng: np.random.Generator) -> Site | None:
    """A gap of 5 to 7 mm through the middle."""
    axis = int(rng.integers(3))
    size = np.ptp(np.argwhere(site.inside)[:, axis]) + 1
    gap = float(rng.uniform(5, 7))
    off = np.abs(np.arange(site.mask.shape[axis]) - site.centre[axis]).reshape(_OPEN[axis])
    return replace(site, mask=np.where(off < gap / 2, 0, site.mask)) if size > 2.5 * gap else None


def spilled_into_lung(site: Site, rng: np.random.Generator) -> Site | None:
    """Grown across the border into lung that is near."""
    return _grown_into(site, rng, np.isin(site.ids, LUNG) & (site.ids != site.host_id), 0.1, 0.35)


def grown_into_neighbour(site: Site, rng: np.random.Generator) -> Site | None:
    """Grown across the border into another organ that is near."""
    neighbour = (site.ids != site.host_id) & (site.ids != 0)
    return None if site.protruding else _grown_into(site, rng, neighbour, 0.22, 0.45)


def doubled(site: Site, rng: np.random.Generator) -> Site | None:
    """1.6 to 2 times as large along every axis."""
    return _zoomed(site, float(rng.uniform(1.6, 2)))


def halved(site: Site, rng: np.random.Generator) -> Site | None:
    """Half as large along every axis, or a little more."""
    return _zoomed(site, float(rng.uniform(0.45, 0.65))) if site.inside.sum() > 500 else None


def checkerboard(site: Site, rng: np.random.Generator) -> Site | None:
    """What transposed convolutions leave: blocks of 3 or 4 mm, up and down in turn."""
    block = int(rng.integers(3, 5))
    if np.ptp(np.argwhere(site.inside), axis=0).min() < 5 * block:  # a few blocks are uneven density, not a board
        return None
    index = sum((np.arange(n) // block).reshape(s) for n, s in zip(site.mask.shape, _OPEN, strict=True))
    size = max(30.0, rng.uniform(0.7, 1.2) * abs(site.contrast_hu))
    return replace(site, change=site.change + site.mask * size * np.where(index % 2, 1, -1))


def not_finite(site: Site, rng: np.random.Generator) -> Site | None:
    """A network that overflowed, at some spot of the lesion."""
    voxels = np.argwhere(site.inside)
    spot = site.away_mm(voxels[rng.integers(len(voxels))]) <= rng.uniform(2.5, 4)
    return replace(site, change=np.where(spot, rng.choice((np.nan, np.inf)), site.change))


def implausible_values(site: Site, rng: np.random.Generator) -> Site | None:
    """A few voxels far beyond CT: an unclipped network output."""
    spots = site.inside & (site.away_mm(site.centre) <= 3)
    return replace(site, change=np.where(spots, rng.choice((-1, 1)) * rng.uniform(5000, 9000), site.change))


FAULTS: Mapping[str, Fault] = {
    "outside the organ": outside_the_organ,
    "half in bone or lung": half_in_bone_or_lung,
    "spilled into lung": spilled_into_lung,
    "grown into a neighbour": grown_into_neighbour,
    "shifted by 8 mm": shifted_8_mm,
    "doubled in size": doubled,
    "halved in size": halved,
    "speck": speck,
    "scattered specks": scattered_specks,
    "torn in two": torn_in_two,
    "wrong sign": wrong_sign,
    "contrast far too weak": too_weak,
    "contrast far too strong": too_strong,
    "paint beside its mask": paint_shifted,
    "paint ends inside": paint_ends_inside,
    "seam at the crop box": seam_at_crop_box,
    "seam at the margin's end": seam_at_margin_end,
    "step between tiles": step_between_tiles,
    "checkerboard": checkerboard,
    "not finite": not_finite,
    "implausible values": implausible_values,
}


def _moved(values: Array, step: NDArray[np.int_]) -> Array:
    """By whole voxels; what leaves the crop is lost."""
    box = Box.whole(values.shape)
    to = box & box.shifted(step)
    out = np.zeros_like(values)
    out[to.slices] = values[to.shifted(-step).slices]
    return out


def _moved_until(
    site: Site, rng: np.random.Generator, where: NDArray[np.bool_], least: float, most: float
) -> Site | None:
    """Moved in some direction until a share between `least` and `most` of it lies in `where`."""
    if site.protruding:
        return None
    for _ in range(12):
        way = rng.standard_normal(3)
        way /= np.linalg.norm(way)
        for far in range(2, 12):
            step = np.rint(far * way).astype(int)
            x, y, z = (int(v) for v in step)
            moved = replace(site, mask=_moved(site.mask, step), change=_moved(site.change, step), box_step=(x, y, z))
            if moved.inside.any() and least <= moved.outside_share(where) <= most:
                return moved
    return None


def _grown_into(
    site: Site, rng: np.random.Generator, where: NDArray[np.bool_], least: float, most: float
) -> Site | None:
    """A bud towards the nearest such voxel, painted like the rest, until the share of it there is large enough."""
    if not where.any():
        return None
    off = ndimage.distance_transform_edt(~site.inside)
    target = np.array(np.unravel_index(int(np.where(where, off, np.inf).argmin()), off.shape), float)
    if off[tuple(target.astype(int))] > 9:
        return None
    level = float((site.ct + site.change)[site.inside].mean())
    wanted = float(rng.uniform(least, most))
    way = target - site.centre
    for reach in np.arange(1.0, 14.0, 0.5):
        bud = np.full(site.mask.shape, np.inf)
        for share in np.linspace(0, 1, 8):
            bud = np.minimum(bud, site.away_mm(site.centre + share * (way + 0.3 * reach * way / np.linalg.norm(way))))
        mask = np.maximum(site.mask, np.clip(reach - bud + 0.5, 0, 1))
        new = (mask >= 0.5) & ~site.inside
        grown = replace(site, mask=mask, change=np.where(new, level - site.ct, site.change))
        if wanted <= grown.outside_share(where):
            return grown if grown.outside_share(where) <= most + 0.1 else None
    return None


def _beyond_plane(site: Site, rng: np.random.Generator, share: float) -> NDArray[np.bool_]:
    """The side of a plane across some axis that holds `share` of the lesion."""
    axis, up = int(rng.integers(3)), bool(rng.integers(2))
    at = np.argwhere(site.inside)[:, axis]
    index = np.arange(site.mask.shape[axis]).reshape(_OPEN[axis])
    side = index > np.quantile(at, 1 - share) if up else index < np.quantile(at, share)
    return np.broadcast_to(side, site.mask.shape)


def _zoomed(site: Site, by: float) -> Site | None:
    """Mask and change larger or smaller about the centre; cut off where the crop ends."""
    offset = site.centre - site.centre / by

    def zoom(values: Array) -> Array:
        return ndimage.affine_transform(values, np.full(3, 1 / by), offset, order=1)

    return replace(site, mask=zoom(site.mask), change=zoom(site.change))
