"""A report writer without a network: it fills in what the user left open, coherently for the organ and the lesion type.

What is usual lives in `engine.core.habits`. What the user fixed always wins, and the rest is drawn to agree with it and
with the organ as it is in this volume: its extents, its mean HU, the voxels it is seen in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

from engine.core.anatomy import find_organ, organ_of_id
from engine.core.errors import PlacementError, ReportError
from engine.core.family import THICKNESS_MM, Family, base_name, family_of
from engine.core.habits import ANY_LOOK, LUNG_LOOK, MIN_CONTRAST_HU, Habit, habit_of, likely_types
from engine.core.organ_site import OrganView
from engine.core.report import Report, Size3, Wanted
from engine.core.vocabulary import (
    AdjacentOrgans,
    Cavity,
    Density,
    DensityVariations,
    LesionType,
    Shape,
    SurfaceCharacteristics,
)

T = TypeVar("T")

MAX_ORGAN_SHARE = 0.45
"""Longest axis of a drawn lesion, as a share of the organ's smallest extent."""
MIN_SIZE_MM = 6.0
_CLOSE_SHARE = 0.35
_SIDE: Mapping[Density, int] = {
    Density.HYPODENSE: -1, Density.FLUID: -1, Density.GROUND_GLASS: -1, Density.HYPERDENSE: 1,
}  # fmt: skip
"""Which way a density goes from soft tissue. Those left out say nothing of the mean's direction."""
_UNEVEN = frozenset({Density.MIXED, Density.RING_ENHANCEMENT, Density.SOFT_TISSUE_GROUND_GLASS})


class MixEntry(Protocol):
    """One kind of lesion that a run may draw, as the settings give it."""

    @property
    def weight(self) -> float: ...

    @property
    def wanted(self) -> Wanted: ...


DEFAULT_ORGANS = (
    "liver", "spleen", "kidney_left", "kidney_right", "pancreas", "colon", "urinary_bladder", "stomach", "gallbladder",
    "esophagus", "lung_left", "lung_right",
)  # fmt: skip
"""What is drawn from, in equal parts, where a run gives no mix."""


def draw_wanted(
    mix: Sequence[MixEntry], present: Collection[int], count: int, rng: np.random.Generator, skip_absent: bool
) -> list[Wanted]:
    """`count` draws by weight from a mix; an empty one stands for the usual organs.

    `present` holds the v1 ids in view. With `skip_absent` only entries whose organ is in view are drawn; without, a
    draw may fail later. Raises `PlacementError` where none of the mix's organs is in view.
    """
    entries = [(e.wanted, e.weight) for e in mix] or [(Wanted(organ=name), 1.0) for name in DEFAULT_ORGANS]
    seen = [(w, weight) for w, weight in entries if set(find_organ(str(w.organ)).ids) & set(present)]
    if not seen:
        asked = ", ".join(dict.fromkeys(str(w.organ) for w, _ in entries))
        in_view = ", ".join(organ_of_id(i).name for i in list(present)[:5]) or "nothing"
        raise PlacementError(f"none of the organs asked for ({asked}) is in view; in view: {in_view}")
    pool = seen if skip_absent else entries
    weights = np.array([weight for _, weight in pool])
    return [pool[i][0] for i in rng.choice(len(pool), size=count, p=weights / weights.sum())]


def fill_report(wanted: Wanted, organ: OrganView, rng: np.random.Generator) -> Report:
    """A complete report. The same generator state gives the same report.

    Raises `ReportError` where no organ is named. A size that the user fixed is kept even where it cannot fit:
    placement has the line for that.
    """
    if wanted.organ is None:
        raise ReportError("a lesion needs an organ")
    family = family_of(wanted.organ)
    lesion_type = wanted.lesion_type or _pick(rng, likely_types(wanted.organ))
    habit = habit_of(wanted.organ, lesion_type)
    density = wanted.density or _density(wanted, habit, family, rng)
    contrast_hu = _contrast(wanted, habit, family, density, organ.mean_hu, rng)
    cavity = wanted.cavity or _cavity(family, lesion_type, habit, rng)
    shape = wanted.shape or (_pick(rng, habit.shapes),)
    size_mm = wanted.size_mm or _size(wanted.organ, habit, shape, organ, rng)
    variations = _variations(habit, density, rng)
    sharp = bool(rng.random() < habit.sharp)
    features = habit.features if habit.features and rng.random() < habit.featured else ()
    return Report(
        organ=wanted.organ,
        lesion_type=lesion_type,
        enhancement_status=wanted.enhancement_status or habit.enhancement,
        shape=shape,
        density=density,
        density_variations=wanted.density_variations or variations,
        surface_characteristics=wanted.surface_characteristics or _surface(family, cavity, sharp, rng),
        adjacent_organs=wanted.adjacent_organs or _adjacent(cavity, size_mm, organ.extent_mm),
        specific_features=features if wanted.specific_features is None else wanted.specific_features,
        cavity=cavity,
        size_mm=size_mm,
        contrast_hu=contrast_hu,
        ct_value_hu=wanted.ct_value_hu,
        centre_mm=wanted.centre_mm,
        free_text=wanted.free_text,
    )


def side_of(density: Density, family: Family) -> int:
    """+1 or -1 where a density tells which way the mean goes, else 0. In lung all but bullae are denser than it."""
    if family is Family.LUNG:
        return -1 if density is Density.HYPODENSE else 1
    return _SIDE.get(density, 0)


def _density(wanted: Wanted, habit: Habit, family: Family, rng: np.random.Generator) -> Density:
    """One of the type's usual densities; of the asked contrast's sign, where one is asked."""
    usual = list(habit.looks)
    if wanted.contrast_hu is None:
        return _pick(rng, usual)
    sign = int(np.sign(wanted.contrast_hu))
    agreeing = [d for d in usual if sign and side_of(d, family) == sign]
    if agreeing:
        return _pick(rng, agreeing)
    return {1: Density.HYPERDENSE, -1: Density.HYPODENSE, 0: Density.ISODENSE}[sign]


def _contrast(
    wanted: Wanted, habit: Habit, family: Family, density: Density, organ_hu: float, rng: np.random.Generator
) -> float:
    """Against the organ's tissue: from the usual range, on the density's side, and never too weak to be seen."""
    usual = LUNG_LOOK if family is Family.LUNG else ANY_LOOK
    span = habit.looks.get(density, usual[density])
    drawn, coin = float(rng.uniform(*span.contrast(organ_hu))), float(rng.choice((-1.0, 1.0)))
    if wanted.contrast_hu is not None:
        return wanted.contrast_hu
    side = side_of(density, family)
    if side == 0:
        if wanted.ct_value_hu is not None:
            return 0.0  # an asked mean: the tissue at the place decides where it goes
        side = 1 if density in (Density.SOFT_TISSUE, Density.SOFT_TISSUE_GROUND_GLASS) else int(coin)
        return round(side * max(abs(drawn), MIN_CONTRAST_HU), 1)
    return round(side * max(side * drawn, MIN_CONTRAST_HU), 1)


def _cavity(family: Family, lesion_type: LesionType, habit: Habit, rng: np.random.Generator) -> Cavity:
    """Hollow organs and the kidney: stones in the lumen; hollow organs: the rest in the wall."""
    if lesion_type is LesionType.STONE and (family.hollow or family is Family.KIDNEY):
        return Cavity.LUMEN
    if family.hollow:
        return Cavity.WALL
    return Cavity.PROTRUDING if rng.random() < habit.protruding else Cavity.PARENCHYMA


def _size(name: str, habit: Habit, shape: Sequence[Shape], organ: OrganView, rng: np.random.Generator) -> Size3:
    """(S, A, L): the longest axis drawn evenly in its logarithm, within the organ, the others by roundness."""
    smallest = min(organ.extent_mm)
    slimmest = 0.85 if {Shape.ROUND_LIKE, Shape.CYSTIC, Shape.PUNCTATE} & set(shape) else 0.65
    low, high = habit.size_mm
    cap = min(high, MAX_ORGAN_SHARE * smallest, THICKNESS_MM.get(base_name(name), high))
    cap = max(cap, min(low, MIN_SIZE_MM), min(organ.least_mm / slimmest, MAX_ORGAN_SHARE * smallest))
    low = min(max(low, organ.least_mm / slimmest), cap)
    longest = min(float(np.exp(rng.uniform(np.log(low), np.log(cap)))), smallest)
    ratios = rng.uniform(slimmest, 1.0, 3)
    ratios[rng.integers(3)] = 1.0
    s, a, l = (round(float(longest * r), 1) for r in ratios)  # noqa: E741 - the axis is called L
    return s, a, l


def _variations(habit: Habit, density: Density, rng: np.random.Generator) -> DensityVariations:
    uneven = density in _UNEVEN or rng.random() < habit.uneven
    return DensityVariations.HETEROGENEOUS if uneven else DensityVariations.HOMOGENEOUS


def _surface(family: Family, cavity: Cavity, sharp: bool, rng: np.random.Generator) -> SurfaceCharacteristics:
    surface = SurfaceCharacteristics
    plain = surface.WELL_DEFINED if sharp else surface.ILL_DEFINED
    match family:
        case Family.KIDNEY:
            own = surface.CLEAR_RENAL if sharp else surface.UNCLEAR_RENAL
        case Family.ESOPHAGUS if not sharp:
            own = surface.UNCLEAR_ESOPHAGEAL
        case _ if family.hollow and cavity is Cavity.WALL:
            own = surface.CLEAR_SEROSA if sharp else surface.IRREGULAR_SEROSA
        case _:
            own = plain
    return _pick(rng, (plain, own))


def _adjacent(cavity: Cavity, size_mm: Size3, organ_extent_mm: Size3) -> AdjacentOrgans:
    close = cavity is Cavity.PROTRUDING or max(size_mm) > _CLOSE_SHARE * min(organ_extent_mm)
    return AdjacentOrgans.CLOSE if close else AdjacentOrgans.NO_CLOSE


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]
