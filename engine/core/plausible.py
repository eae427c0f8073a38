"""What may be said of a lesion in an organ: the vocabulary without what does not occur there, and what contradicts."""

from __future__ import annotations

from collections.abc import Mapping

from engine.core.errors import ReportError
from engine.core.family import Family, family_of
from engine.core.habits import habit_of, seen_types
from engine.core.report import Wanted
from engine.core.template import side_of
from engine.core.vocabulary import (
    AdjacentOrgans,
    Cavity,
    Density,
    DensityVariations,
    EnhancementStatus,
    LesionType,
    Shape,
    SpecificFeatures,
    SurfaceCharacteristics,
    Vocabulary,
)

Choices = Mapping[str, tuple[Vocabulary, ...]]

_GROUND_GLASS = (Density.GROUND_GLASS, Density.SOFT_TISSUE_GROUND_GLASS)
_WALL_SHAPES = (Shape.WALL_THICKENING, Shape.LUMINAL_NARROWING, Shape.PROTRUSION)
_RENAL = (SurfaceCharacteristics.CLEAR_RENAL, SurfaceCharacteristics.UNCLEAR_RENAL)
_SEROSAL = (SurfaceCharacteristics.CLEAR_SEROSA, SurfaceCharacteristics.IRREGULAR_SEROSA)
_DEFINED_BY_DENSITY = (LesionType.CYST, LesionType.STONE, LesionType.LIPOMA)


def choices_in(organ: str) -> Choices:
    """What each attribute may be in an organ of this exact name. Cavities of hollow organs follow from the type."""
    family = family_of(organ)
    in_lung, hollow = family is Family.LUNG, family.hollow
    never: set[Vocabulary] = set()
    never |= set() if in_lung else set(_GROUND_GLASS)
    never |= {Shape.CYSTIC} if hollow else set(_WALL_SHAPES)
    never |= set() if family is Family.KIDNEY else set(_RENAL)
    never |= set() if hollow else set(_SEROSAL)
    never |= set() if family is Family.ESOPHAGUS else {SurfaceCharacteristics.UNCLEAR_ESOPHAGEAL}
    never |= set() if family is Family.PANCREAS else {SpecificFeatures.PANCREATIC_FLUID}
    of: dict[str, tuple[Vocabulary, ...]] = {
        "lesion_type": seen_types(organ),
        "enhancement_status": tuple(EnhancementStatus),
        "shape": tuple(Shape),
        "density": tuple(Density),
        "density_variations": tuple(DensityVariations),
        "surface_characteristics": tuple(SurfaceCharacteristics),
        "adjacent_organs": tuple(AdjacentOrgans),
        "specific_features": tuple(SpecificFeatures),
    }
    if not hollow:
        of["cavity"] = (Cavity.PARENCHYMA, Cavity.PROTRUDING)
    return {name: tuple(v for v in values if v not in never) for name, values in of.items()}


def require_sense(wanted: Wanted, organ: str) -> None:
    """Raise `ReportError`, one line, where what is said of a lesion contradicts itself."""
    kind, density = wanted.lesion_type, wanted.density
    if kind in _DEFINED_BY_DENSITY and density is not None and density not in (looks := habit_of(organ, kind).looks):
        raise ReportError(f"density: a {kind.text} is {' or '.join(d.text for d in looks)}, not {density.text}")
    if kind is LesionType.STONE and wanted.shape and set(wanted.shape) & set(_WALL_SHAPES):
        raise ReportError(f"shape: a stone is no {wanted.shape[0].text}; punctate would do")
    if (SpecificFeatures.STONE in (wanted.specific_features or ())) and kind not in (None, LesionType.STONE):
        raise ReportError(f"specific_features: 'stone' is not said of a {kind.text}")
    if density is not None and wanted.contrast_hu is not None:
        side = side_of(density, family_of(organ))
        if side * wanted.contrast_hu < 0:
            raise ReportError(f"density: {density.text} contradicts the contrast asked for, {wanted.contrast_hu:+g} HU")
