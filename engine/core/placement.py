"""Where a lesion goes: a box of the model grid, in an organ, by what the report says of cavity and size.

A cheap picture of the organ (its bounding box, thinned to a few hundred thousand voxels) proposes centres; the organ
map itself decides, with points spread over the lesion's ellipsoid. So a large volume costs a fraction of a second and
nothing depends on how its axes lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.core.anatomy import Organ, OrganMap, find_organ, organ_of_id
from engine.core.errors import PlacementError
from engine.core.geometry import Box, Grid, Points, Shape3
from engine.core.organ_site import CtHu, OrganSite, find_site
from engine.core.report import Report
from engine.core.scene import Scene, ball, sphere
from engine.core.vocabulary import Cavity, Shape

MIN_BOX_VOX = 3
_CHUNK = 64
_MOST_CHUNKS = 64
"""So many boxes are tried at a time, and so many times, before a place counts as full."""
_SOFT_HU = -200.0
"""Above gas, lung and air; below fat."""
_SOFT_SHARE = 0.9
_MOST_LOOKS = 32
_INSIDE_SHARE = 0.98
"""Of an ellipsoid's surface that must lie in the parenchyma."""
_PROTRUDING_SHARE = (0.3, 0.8)
"""Of an ellipsoid's volume that stays in the organ it protrudes from."""
_THICKENED_DEPTH, _ON_WALL_DEPTH = (0.25, 0.6), (0.6, 1.0)
_BESIDE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 1e-3


class NoRoomError(PlacementError):
    """The organ is there, and no place in it takes this lesion. `fits` is a share of its size worth trying."""

    def __init__(self, message: str, fits: float = 0.5) -> None:
        super().__init__(message)
        self.fits = fits


def place_lesions(
    organs: OrganMap,
    ct_hu: CtHu | None,
    native: Grid,
    model: Grid,
    reports: Sequence[Report],
    rngs: Sequence[np.random.Generator],
    gap_mm: float,
) -> list[Box]:
    """A box of the model grid for each report, `gap_mm` apart from one another.

    `organs` uint8 v1 ids on `native`. A box has the report's size (at least 3 voxels an axis). Lesions whose centre
    the user fixed are placed first, so the others make room for them; each draws from its own generator.
    Raises `PlacementError`: organ absent, organ smaller than the box, box larger than the volume, centre elsewhere;
    `NoRoomError` where no place is left.
    """
    scene = Scene(organs, ct_hu, native, model)
    gap_vox = int(np.ceil(gap_mm / model.spacing_mm.min() - 1e-6))
    sites: dict[str, OrganSite] = {}
    placed: dict[int, Box] = {}
    for i in sorted(range(len(reports)), key=lambda i: reports[i].centre_mm is None):
        report = reports[i]
        if report.organ not in sites:
            sites[report.organ] = find_site(organs, native, find_organ(report.organ))
        site = sites[report.organ]
        shape = box_shape(report, model)
        _check_size(scene, site, shape)
        keep_off = [b.grown(gap_vox) for b in placed.values()]
        if report.centre_mm is not None:
            placed[i] = _at_centre(scene, site.organ, report.centre_mm, shape, keep_off)
        else:
            placed[i] = _somewhere(scene, site, report, shape, keep_off, rngs[i])
    return [placed[i] for i in range(len(reports))]


def box_shape(report: Report, model: Grid) -> Shape3:
    """The report's size in model voxels, at least 3 an axis."""
    s, a, l = (max(MIN_BOX_VOX, round(mm / sp)) for mm, sp in zip(report.size_mm, model.spacing_mm, strict=True))  # noqa: E741
    return s, a, l


def _check_size(scene: Scene, site: OrganSite, shape: Shape3) -> None:
    box_mm = np.asarray(shape) * scene.model.spacing_mm
    if any(n > r for n, r in zip(shape, scene.model.shape, strict=True)):
        whole = scene.native.extent_mm(Box.whole(scene.native.shape))
        raise PlacementError(f"the box of {_x(box_mm)} mm exceeds the volume of {_x(whole)} mm (S x A x L)")
    # Half a voxel of slack: the box was rounded to whole voxels.
    if any(mm > e + 0.5 * sp for mm, e, sp in zip(box_mm, site.extent_mm, scene.model.spacing_mm, strict=True)):
        raise PlacementError(f"{site.organ.name} measures {_x(site.extent_mm)} mm, the box {_x(box_mm)} mm (S x A x L)")


def _at_centre(scene: Scene, organ: Organ, centre_mm: Sequence[float], shape: Shape3, keep_off: list[Box]) -> Box:
    """The box about a point that the user fixed."""
    point = f"centre_mm ({', '.join(f'{v:g}' for v in centre_mm)})"
    index = scene.native.to_index(centre_mm)
    if not Box.whole(scene.native.shape).holds(index):
        raise PlacementError(f"{point} lies outside the volume")
    found = int(scene.ids(index))
    if found not in organ.ids:
        where = organ_of_id(found).name if found else "no organ"
        raise PlacementError(f"{point} lies in {where}, not in {organ.name}")
    box = _unslid(scene, scene.model.to_index(centre_mm), shape)
    if box is None:
        raise PlacementError(f"the box of {_x(shape)} voxels about {point} leaves the volume")
    if any(box.overlaps(other) for other in keep_off):
        raise NoRoomError(f"{point} lies too near another lesion of this sample")
    return box


def _unslid(scene: Scene, centre: Points, shape: Shape3) -> Box | None:
    """The box about a model index, or None where it would have to be slid to stay in the volume."""
    box = Box.around(centre, shape, within=scene.model.shape)
    off_centre = np.abs(box.centre - centre).max()
    return box if off_centre <= 0.5 + 1e-6 else None


def _somewhere(
    scene: Scene, site: OrganSite, report: Report, shape: Shape3, keep_off: list[Box], rng: np.random.Generator
) -> Box:
    """A box at an admissible place, all such places being equally likely.

    In a hollow organ, and for a lesion that sticks out, the first place with mostly tissue around it is taken (gas
    has no lesions); a hollow organ full of gas gives its best of a few.
    """
    depth = site.depth(scene.model, shape)
    picky = scene.ct_hu is not None and (report.cavity is Cavity.PROTRUDING or site.organ.hollow)
    best: tuple[float, Box | None] = (-1.0, None)
    for looks, box in enumerate(_admissible(scene, site, depth, report, shape, keep_off, rng)):
        if not picky:
            return box
        share = _soft_share(scene, site.organ, box, outside=report.cavity is Cavity.PROTRUDING)
        if share >= _SOFT_SHARE:
            return box
        best = max(best, (share, box), key=lambda b: b[0])
        if looks + 1 == _MOST_LOOKS:
            break
    if best[1] is not None and report.cavity is not Cavity.PROTRUDING:
        return best[1]
    raise _no_room(scene, site, report, depth, shape, bool(keep_off))


def _admissible(
    scene: Scene,
    site: OrganSite,
    depth: NDArray[np.float32],
    report: Report,
    shape: Shape3,
    keep_off: list[Box],
    rng: np.random.Generator,
) -> Iterator[Box]:
    """Boxes that the cavity allows, in random order.

    Centres are spread evenly within their voxel of the thinned grid; where that finds nothing (a place that just
    fits), the voxels' own centres are tried. In a lumen those are the places farthest from the wall.
    """
    proposed = np.argwhere(_proposals(depth, site.mask, report))
    to_model = site.grid.index_map(scene.model)
    for spread in (0.0,) if report.cavity is Cavity.LUMEN else (0.5, 0.0):
        order = rng.permutation(len(proposed))[: _CHUNK * _MOST_CHUNKS]
        for at in range(0, len(order), _CHUNK):
            index = proposed[order[at : at + _CHUNK]].astype(float)
            index += rng.uniform(-spread, spread, index.shape)
            centres = index @ to_model[:3, :3].T + to_model[:3, 3]
            boxes = [b for c in centres if (b := _unslid(scene, c, shape)) is not None]
            boxes = [b for b in boxes if not any(b.overlaps(other) for other in keep_off)]
            if boxes:
                fitting = _fits(scene, site.organ, report.cavity, boxes)
                yield from (b for b, fits in zip(boxes, fitting, strict=True) if fits)


def _proposals(depth: NDArray[np.float32], mask: NDArray[np.bool_], report: Report) -> NDArray[np.bool_]:
    """Thinned voxels worth a closer look. `depth` counts half-sizes of the lesion from the organ's surface inwards."""
    outermost, deepest = float(depth[mask].min()), float(depth.max())
    match report.cavity:
        case Cavity.PARENCHYMA:
            return depth >= 0.85
        case Cavity.PROTRUDING:
            return mask & (depth <= max(0.75, outermost))
        case Cavity.LUMEN:
            return mask & (depth >= min(1.0, 0.85 * deepest))
        case Cavity.WALL:
            # A thickened wall lies half in its box; a polyp touches the wall and stays in the organ, and so does a
            # narrowing, which in a slim organ comes to lie around the whole lumen.
            thickened = Shape.WALL_THICKENING in report.shape
            low, high = _THICKENED_DEPTH if thickened else _ON_WALL_DEPTH
            return mask & (depth >= min(low, 0.85 * deepest)) & (depth <= max(high, outermost * 1.001))


def _fits(scene: Scene, organ: Organ, cavity: Cavity, boxes: Sequence[Box]) -> NDArray[np.bool_]:
    """Do ellipsoids in boxes of one shape lie as the cavity wants them? Judged on the organ map itself: (n,)."""
    table = organ.table
    # On a face between two voxels the centre must be in the organ on either side, whichever way a reader rounds.
    centred = table[scene.ids(scene.ellipsoids(boxes, _BESIDE))].all(axis=1)
    match cavity:
        case Cavity.PARENCHYMA:
            surface = table[scene.ids(scene.ellipsoids(boxes, sphere()))].mean(axis=1)
            return np.asarray(centred & (surface >= _INSIDE_SHARE))
        case Cavity.PROTRUDING:
            low, high = _PROTRUDING_SHARE
            inside = table[scene.ids(scene.ellipsoids(boxes, ball()))].mean(axis=1)
            return np.asarray(centred & (inside >= low) & (inside <= high))
        case Cavity.LUMEN | Cavity.WALL:
            return np.asarray(centred)


def _soft_share(scene: Scene, organ: Organ, box: Box, *, outside: bool) -> float:
    """Share of a box's ellipsoid that is neither gas, lung nor air; with `outside`, of its part beyond the organ."""
    index = scene.ellipsoids([box], ball())[0]
    if outside:
        index = index[~organ.table[scene.ids(index)]]
    hu = scene.hu(index)
    if hu.size and np.isnan(hu).all():
        return 1.0  # not known to be gas: whoever reads the crop says what is wrong with it
    return float((hu > _SOFT_HU).mean()) if hu.size else 0.0


def _no_room(
    scene: Scene, site: OrganSite, report: Report, depth: NDArray[np.float32], shape: Shape3, others: bool
) -> NoRoomError:
    size_mm = np.asarray(shape) * scene.model.spacing_mm
    line = f"no free place for a box of {_x(size_mm)} mm in {site.organ.name} ({report.cavity.text})"
    deepest = float(depth.max())
    if report.cavity is Cavity.PARENCHYMA and deepest < 1:
        # Depth counts to voxel centres, and a box is snapped to the model grid: both take a little away.
        fits = max(0.85 * deepest - 1 / min(shape), 0.1)
        return NoRoomError(f"{line}; about {_x(size_mm * fits)} mm would fit", fits)
    return NoRoomError(line + ("; other lesions of this sample are in the way" if others else ""), 0.8)


def _x(values: Sequence[float] | NDArray[np.generic]) -> str:
    return "x".join(f"{float(v):.0f}" for v in values)
