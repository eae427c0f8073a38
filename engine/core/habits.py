"""How lesions usually look: the one table behind the template report writer, organ by lesion type.

HU and sizes are ranges that radiology texts give, for CT with and without contrast medium. `level` is the lesion's own
HU (fluid is fluid in any organ), `against` counts from the organ's tissue. Sizes are the longest axis in mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.core.family import Family, base_name, family_of
from engine.core.vocabulary import Density, EnhancementStatus, LesionType, Shape, SpecificFeatures


@dataclass(frozen=True)
class Span:
    """A range of HU: the lesion's own, or counted from the organ's tissue."""

    low: float
    high: float
    own: bool

    def contrast(self, organ_hu: float) -> tuple[float, float]:
        """The range counted from tissue of `organ_hu`."""
        return (self.low - organ_hu, self.high - organ_hu) if self.own else (self.low, self.high)


def level(low: float, high: float) -> Span:
    return Span(low, high, own=True)


def against(low: float, high: float) -> Span:
    return Span(low, high, own=False)


@dataclass(frozen=True)
class Habit:
    """The usual look of one lesion type in one organ.

    `uneven`, `sharp`, `protruding` and `featured` are probabilities: of a heterogeneous density, a clear margin,
    sticking out of the organ, the features. A type that is not `common` is drawn only where the user asks for it.
    """

    looks: Mapping[Density, Span]
    size_mm: tuple[float, float]
    shapes: tuple[Shape, ...] = (Shape.ROUND_LIKE,)
    uneven: float = 0.3
    sharp: float = 0.7
    protruding: float = 0.0
    features: tuple[SpecificFeatures, ...] = ()
    featured: float = 0.5
    common: bool = True

    @property
    def enhancement(self) -> EnhancementStatus:
        """Stones are looked for without contrast medium."""
        stone = SpecificFeatures.STONE in self.features
        return EnhancementStatus.NON_CONTRAST if stone else EnhancementStatus.ENHANCED


MIN_CONTRAST_HU = 8.0
"""A lesion drawn without a wish is always this far from its surroundings, so that it can be seen at all."""

ANY_LOOK: Mapping[Density, Span] = {
    Density.HYPODENSE: against(-50, -20),
    Density.ISODENSE: against(8, 14),
    Density.HYPERDENSE: against(20, 60),
    Density.MIXED: against(8, 20),
    Density.FLUID: level(0, 20),
    Density.SOFT_TISSUE: against(10, 30),
    Density.SOFT_TISSUE_GROUND_GLASS: against(10, 25),
    Density.GROUND_GLASS: against(-30, -15),
    Density.RING_ENHANCEMENT: against(10, 20),
}
"""For a density that is not among its type's usual ones."""

LUNG_LOOK: Mapping[Density, Span] = {
    Density.HYPODENSE: against(-90, -40),
    Density.ISODENSE: level(20, 60),
    Density.HYPERDENSE: level(60, 150),
    Density.MIXED: level(-300, 0),
    Density.FLUID: level(0, 20),
    Density.SOFT_TISSUE: level(10, 60),
    Density.SOFT_TISSUE_GROUND_GLASS: level(-450, -150),
    Density.GROUND_GLASS: level(-700, -500),
    Density.RING_ENHANCEMENT: level(-100, 30),
}
"""The same in lung: all but bullae are denser than it."""

_T, _D, _F = LesionType, Density, SpecificFeatures
_ROUND, _RAGGED, _DOT = (Shape.ROUND_LIKE,), (Shape.IRREGULAR,), (Shape.PUNCTATE,)
_CYSTIC, _EITHER = (Shape.ROUND_LIKE, Shape.CYSTIC), (Shape.IRREGULAR, Shape.ROUND_LIKE)
_WALL = (Shape.WALL_THICKENING, Shape.IRREGULAR, Shape.LUMINAL_NARROWING)
_BUD = (Shape.PROTRUSION, Shape.ROUND_LIKE)
_DARK, _BRIGHT, _STAR, _DUCT, _STONE = (
    (_F.DECREASED_AREAS,), (_F.INCREASED_AREAS,), (_F.SPICULATED,), (_F.PANCREATIC_FLUID,), (_F.STONE,),
)  # fmt: skip
_FLUID: Mapping[Density, Span] = {_D.FLUID: level(0, 20), _D.HYPODENSE: level(5, 25)}
_MASS: Mapping[Density, Span] = {_D.SOFT_TISSUE: against(15, 45), _D.HYPERDENSE: against(20, 50)}
_SOLID_IN_LUNG: Mapping[Density, Span] = {_D.SOFT_TISSUE: level(10, 60)}

# (organ or family, type): looks, size, shapes, uneven, sharp, protruding, features, featured
HABITS: Mapping[tuple[str, LesionType], Habit] = {
    ("liver", _T.CANCER): Habit(
        {_D.HYPODENSE: against(-45, -20), _D.MIXED: against(10, 20), _D.HYPERDENSE: against(15, 35)},
        (15, 70), _EITHER, 0.7, 0.4, 0.2, _DARK),
    ("liver", _T.CYST): Habit(_FLUID, (6, 50), _CYSTIC, 0.0, 1.0),
    ("liver", _T.METASTASIS): Habit(
        {_D.HYPODENSE: against(-45, -20), _D.RING_ENHANCEMENT: against(10, 20)},
        (6, 40), _ROUND, 0.5, 0.5, 0.0, _DARK, 0.3),
    ("liver", _T.HEMANGIOMA): Habit(
        {_D.HYPERDENSE: against(20, 60), _D.HYPODENSE: against(-35, -15)}, (6, 40), _ROUND, 0.4, 0.9, 0.0, _BRIGHT),
    ("liver", _T.ABSCESS): Habit(
        {_D.FLUID: level(5, 30), _D.RING_ENHANCEMENT: against(10, 20)}, (15, 60), _EITHER, 0.6, 0.3, 0.0, _DARK),

    ("spleen", _T.CYST): Habit(_FLUID, (8, 50), _CYSTIC, 0.0, 1.0),
    ("spleen", _T.INFARCT): Habit({_D.HYPODENSE: against(-60, -25)}, (10, 40), _RAGGED, 0.2, 0.4),
    ("spleen", _T.LYMPHOMA): Habit({_D.HYPODENSE: against(-40, -15)}, (8, 40), _EITHER, 0.2, 0.5),
    ("spleen", _T.HEMANGIOMA): Habit(
        {_D.HYPERDENSE: against(20, 50), _D.HYPODENSE: against(-35, -15)}, (6, 30), _ROUND, 0.3, 0.9, 0.0, _BRIGHT),

    ("kidney", _T.CANCER): Habit(
        {_D.HYPODENSE: against(-60, -20), _D.MIXED: against(10, 20)}, (12, 50), _EITHER, 0.7, 0.6, 0.5, _DARK),
    ("kidney", _T.CYST): Habit(_FLUID, (6, 50), _CYSTIC, 0.0, 1.0, 0.4),
    ("kidney", _T.STONE): Habit({_D.HYPERDENSE: level(250, 900)}, (4, 10), _DOT, 0.0, 1.0, 0.0, _STONE, 1.0),
    ("kidney", _T.ADENOMA): Habit(  # angiomyolipoma-like: fat in it
        {_D.HYPODENSE: level(-60, 0)}, (6, 30), _ROUND, 0.5, 0.9, 0.3, _DARK, common=False),

    ("pancreas", _T.CANCER): Habit({_D.HYPODENSE: against(-40, -15)}, (8, 40), _EITHER, 0.5, 0.25, 0.3, _DUCT),
    ("pancreas", _T.CYST): Habit(_FLUID, (6, 40), _CYSTIC, 0.0, 1.0, 0.3),

    ("gallbladder", _T.CANCER): Habit(_MASS, (8, 35), (Shape.WALL_THICKENING, Shape.PROTRUSION), 0.5, 0.35),
    ("gallbladder", _T.STONE): Habit({_D.HYPERDENSE: level(80, 400)}, (4, 12), _DOT, 0.0, 1.0, 0.0, _STONE, 1.0),
    ("gallbladder", _T.POLYP): Habit(_MASS, (5, 12), _BUD, 0.1, 0.9),
    ("urinary_bladder", _T.CANCER): Habit(_MASS, (8, 35), (Shape.WALL_THICKENING, Shape.PROTRUSION), 0.5, 0.4),
    ("urinary_bladder", _T.STONE): Habit({_D.HYPERDENSE: level(300, 1000)}, (5, 20), _DOT, 0.0, 1.0, 0.0, _STONE, 1.0),

    ("colon", _T.CANCER): Habit(_MASS, (12, 50), _WALL, 0.5, 0.35),
    ("colon", _T.POLYP): Habit(_MASS, (6, 18), _BUD, 0.1, 0.9),
    ("stomach", _T.CANCER): Habit(_MASS, (12, 50), _WALL, 0.5, 0.35),
    ("stomach", _T.LYMPHOMA): Habit({_D.SOFT_TISSUE: against(10, 30)}, (15, 50), (Shape.WALL_THICKENING,), 0.1, 0.6),
    ("stomach", _T.POLYP): Habit(_MASS, (6, 20), _BUD, 0.1, 0.9),
    ("esophagus", _T.CANCER): Habit(_MASS, (8, 40), (Shape.WALL_THICKENING, Shape.LUMINAL_NARROWING), 0.4, 0.3),

    ("lung", _T.CANCER): Habit(
        {_D.SOFT_TISSUE: level(10, 60), _D.SOFT_TISSUE_GROUND_GLASS: level(-450, -150)},
        (10, 50), _EITHER, 0.5, 0.5, 0.0, _STAR),
    ("lung", _T.NODULE): Habit(
        {_D.SOFT_TISSUE: level(10, 60), _D.GROUND_GLASS: level(-700, -500)}, (6, 25), _ROUND, 0.2, 0.8),
    ("lung", _T.METASTASIS): Habit(_SOLID_IN_LUNG, (6, 30), _ROUND, 0.1, 0.9),
    ("lung", _T.PNEUMONIA): Habit(
        {_D.GROUND_GLASS: level(-700, -450), _D.SOFT_TISSUE_GROUND_GLASS: level(-500, -200)},
        (20, 70), _RAGGED, 0.9, 0.05),
    ("lung", _T.ABSCESS): Habit(
        {_D.RING_ENHANCEMENT: level(-100, 30)}, (15, 50), _ROUND, 0.9, 0.6, 0.0, _DARK, common=False),
    ("lung", _T.CYST): Habit({_D.HYPODENSE: against(-90, -40)}, (8, 40), _ROUND, 0.0, 1.0, common=False),
    ("lung", _T.STONE): Habit(  # a calcified granuloma
        {_D.HYPERDENSE: level(150, 500)}, (4, 10), _DOT, 0.0, 1.0, 0.0, _STONE, 1.0, common=False),

    ("adrenal_gland", _T.ADENOMA): Habit({_D.HYPODENSE: level(-10, 20)}, (6, 30), _ROUND, 0.0, 1.0),
    ("adrenal_gland", _T.METASTASIS): Habit({_D.HYPODENSE: against(-35, -12)}, (8, 40), _EITHER, 0.6, 0.5),
    ("brain", _T.CANCER): Habit(
        {_D.RING_ENHANCEMENT: against(10, 25), _D.HYPODENSE: against(-20, -8)},
        (10, 50), _RAGGED, 0.8, 0.3, 0.0, _DARK),
    ("brain", _T.METASTASIS): Habit({_D.RING_ENHANCEMENT: against(10, 25)}, (6, 30), _ROUND, 0.3, 0.7),
    ("brain", _T.HEMATOMA): Habit({_D.HYPERDENSE: level(55, 85)}, (10, 50), _EITHER, 0.3, 0.7),

    ("bone", _T.METASTASIS): Habit(
        {_D.HYPODENSE: against(-200, -60), _D.HYPERDENSE: against(100, 350)}, (6, 25), _EITHER, 0.5, 0.4),
    ("bone", _T.HEMANGIOMA): Habit({_D.HYPODENSE: against(-150, -50)}, (6, 25), _ROUND, 0.6, 0.9),
    ("bone", _T.CANCER): Habit(
        {_D.HYPODENSE: against(-200, -60), _D.MIXED: against(15, 40)}, (8, 40), _RAGGED, 0.8, 0.3, common=False),

    ("bowel", _T.CANCER): Habit(_MASS, (8, 40), _WALL, 0.5, 0.35),
    ("bowel", _T.LYMPHOMA): Habit(_MASS, (10, 40), (Shape.WALL_THICKENING,), 0.1, 0.5, common=False),
    ("bowel", _T.METASTASIS): Habit(_MASS, (6, 25), _EITHER, 0.4, 0.5, common=False),
    ("bowel", _T.POLYP): Habit(_MASS, (6, 18), _BUD, 0.1, 0.9),
    ("bowel", _T.ADENOMA): Habit(_MASS, (6, 18), _BUD, 0.1, 0.9, common=False),
    ("bowel", _T.NODULE): Habit(_MASS, (6, 15), _BUD, 0.1, 0.9, common=False),

    ("any", _T.CANCER): Habit(
        {_D.HYPODENSE: against(-45, -20), _D.MIXED: against(10, 20), _D.HYPERDENSE: against(15, 35)},
        (12, 60), _EITHER, 0.7, 0.35, 0.2, _DARK, common=False),
    ("any", _T.CYST): Habit(_FLUID, (6, 40), _CYSTIC, 0.0, 1.0),
    ("any", _T.STONE): Habit(
        {_D.HYPERDENSE: level(150, 500)}, (4, 12), _DOT, 0.0, 1.0, 0.0, _STONE, 1.0, common=False),
    ("any", _T.METASTASIS): Habit(
        {_D.HYPODENSE: against(-40, -20), _D.MIXED: against(8, 18), _D.RING_ENHANCEMENT: against(10, 20)},
        (6, 35), _ROUND, 0.5, 0.5, 0.0, _DARK, 0.3),
    ("any", _T.HEMANGIOMA): Habit(
        {_D.HYPERDENSE: against(20, 60), _D.HYPODENSE: against(-35, -15)}, (6, 40), _ROUND, 0.4, 0.9, 0.0, _BRIGHT,
        common=False),
    ("any", _T.ADENOMA): Habit(
        {_D.HYPODENSE: against(-30, -12), _D.HYPERDENSE: against(12, 30)}, (6, 30), _ROUND, 0.1, 0.95, common=False),
    ("any", _T.NODULE): Habit(
        {_D.HYPODENSE: against(-35, -12), _D.ISODENSE: against(8, 14)}, (6, 20), _ROUND, 0.2, 0.8, common=False),
    ("any", _T.POLYP): Habit({_D.SOFT_TISSUE: against(10, 30)}, (6, 20), _ROUND, 0.1, 0.9, 1.0, common=False),
    ("any", _T.ABSCESS): Habit(
        {_D.FLUID: level(5, 30), _D.RING_ENHANCEMENT: against(10, 20)}, (15, 60), _EITHER, 0.6, 0.3, 0.0, _DARK,
        common=False),
    ("any", _T.PNEUMONIA): Habit({_D.SOFT_TISSUE: against(10, 30)}, (15, 60), _RAGGED, 0.8, 0.1, common=False),
    ("any", _T.LYMPHOMA): Habit({_D.HYPODENSE: against(-40, -15)}, (8, 50), _EITHER, 0.2, 0.5),
    ("any", _T.LIPOMA): Habit({_D.HYPODENSE: level(-115, -70)}, (6, 40), _ROUND, 0.0, 1.0, common=False),
    ("any", _T.HEMATOMA): Habit(
        {_D.HYPERDENSE: against(15, 40), _D.HYPODENSE: against(-50, -20)}, (10, 50), _EITHER, 0.6, 0.3, 0.0, _BRIGHT,
        common=False),
    ("any", _T.INFARCT): Habit({_D.HYPODENSE: against(-60, -25)}, (10, 50), _RAGGED, 0.2, 0.4, common=False),
}  # fmt: skip
"""An organ's own row counts before that of its family (bowel, bone), and that before the one for any organ."""


def _rows(organ: str) -> tuple[str, ...]:
    """Names under which the table speaks of an organ, its own first."""
    family = family_of(organ)
    group = "bone" if family is Family.BONE else "bowel" if family.hollow else None
    return (base_name(organ), *([group] if group else []), "any")


def habit_of(organ: str, lesion_type: LesionType) -> Habit:
    """The look of a lesion type in an organ."""
    return next(HABITS[row, lesion_type] for row in _rows(organ) if (row, lesion_type) in HABITS)


def likely_types(organ: str) -> tuple[LesionType, ...]:
    """Lesion types that are drawn in an organ where the user names none."""
    for row in _rows(organ):
        common = tuple(t for (name, t), habit in HABITS.items() if name == row and habit.common)
        if common:
            return common
    raise ValueError(f"the table has no row for {organ}")


def seen_types(organ: str) -> tuple[LesionType, ...]:
    """Every lesion type that the table knows of an organ, or of any organ as common."""
    rows = _rows(organ)
    named = [t for (name, t), habit in HABITS.items() if name in rows and (name != "any" or habit.common)]
    return tuple(t for t in LesionType if t in named)
