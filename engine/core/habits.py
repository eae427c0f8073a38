"""How lesions usually look, by kind of organ and lesion type: the tables behind the template report writer.

Contrasts are HU against the surrounding tissue, sizes the longest axis in mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from engine.core.anatomy import find_organ
from engine.core.vocabulary import Density, EnhancementStatus, LesionType, Shape, SpecificFeatures


class Family(Enum):
    """Organs whose lesions look alike."""

    SOLID = "solid"
    KIDNEY = "kidney"
    PANCREAS = "pancreas"
    LUNG = "lung"
    BOWEL = "bowel"
    SAC = "sac"
    """Gallbladder and bladder: fluid inside."""
    ESOPHAGUS = "esophagus"
    BONE = "bone"

    @property
    def hollow(self) -> bool:
        return self in (Family.BOWEL, Family.SAC, Family.ESOPHAGUS)


@dataclass(frozen=True, kw_only=True)
class Habit:
    """The usual look of one lesion type.

    `looks` are its densities with their weakest and strongest contrast; `uneven`, `sharp`, `protruding` and
    `features_share` are probabilities (of a heterogeneous density, a clear margin, sticking out, the features).
    """

    looks: Mapping[Density, tuple[float, float]]
    size_mm: tuple[float, float] = (6.0, 40.0)
    shapes: tuple[Shape, ...] = (Shape.ROUND_LIKE,)
    uneven: float = 0.3
    sharp: float = 0.7
    protruding: float = 0.0
    features: tuple[SpecificFeatures, ...] = ()
    features_share: float = 0.5
    enhancement: EnhancementStatus = EnhancementStatus.ENHANCED


MIN_CONTRAST_HU = 8.0
"""A lesion drawn without a wish is always this far from its surroundings, so that it can be seen at all."""

ANY_CONTRAST_HU: Mapping[Density, tuple[float, float]] = {
    Density.HYPODENSE: (-20, -50),
    Density.ISODENSE: (8, 14),
    Density.HYPERDENSE: (20, 60),
    Density.MIXED: (8, 20),
    Density.FLUID: (-25, -60),
    Density.SOFT_TISSUE: (10, 30),
    Density.SOFT_TISSUE_GROUND_GLASS: (10, 25),
    Density.GROUND_GLASS: (-15, -30),
    Density.RING_ENHANCEMENT: (10, 20),
}
"""For a density that is not among its type's usual ones."""

LUNG_CONTRAST_HU: Mapping[Density, tuple[float, float]] = {
    Density.HYPODENSE: (-40, -90),
    Density.ISODENSE: (500, 850),
    Density.HYPERDENSE: (600, 900),
    Density.MIXED: (300, 600),
    Density.FLUID: (600, 800),
    Density.SOFT_TISSUE: (500, 850),
    Density.SOFT_TISSUE_GROUND_GLASS: (350, 650),
    Density.GROUND_GLASS: (150, 350),
    Density.RING_ENHANCEMENT: (500, 800),
}
"""The same in lung, whose own tissue is near -850 HU: nearly everything is denser than it."""

THICKNESS_MM: Mapping[str, float] = {
    "pancreas": 14.0,
    "kidney": 22.0,
    "adrenal_gland": 7.0,
    "esophagus": 14.0,
    "duodenum": 16.0,
    "small_bowel": 18.0,
    "colon": 28.0,
    "gallbladder": 14.0,
    "portal_vein_and_splenic_vein": 8.0,
    "rib": 6.0,
}
"""Organs much thinner than their bounding box: the longest lesion that is drawn in them."""

_ROUND = (Shape.ROUND_LIKE,)
_RAGGED = (Shape.IRREGULAR, Shape.ROUND_LIKE)
_DARK = SpecificFeatures.DECREASED_AREAS

_SOLID: Mapping[LesionType, Habit] = {
    LesionType.CANCER: Habit(
        looks={Density.HYPODENSE: (-20, -45), Density.MIXED: (10, 20), Density.HYPERDENSE: (15, 35)},
        size_mm=(12, 60), shapes=_RAGGED, uneven=0.7, sharp=0.35, protruding=0.2, features=(_DARK,),
    ),
    LesionType.METASTASIS: Habit(
        looks={Density.HYPODENSE: (-20, -40), Density.MIXED: (8, 18), Density.RING_ENHANCEMENT: (10, 20)},
        size_mm=(6, 35), uneven=0.5, sharp=0.5, features=(_DARK,), features_share=0.3,
    ),
    LesionType.CYST: Habit(
        looks={Density.FLUID: (-25, -50), Density.HYPODENSE: (-25, -50)},
        shapes=(Shape.ROUND_LIKE, Shape.CYSTIC), uneven=0.0, sharp=1.0,
    ),
    LesionType.HEMANGIOMA: Habit(
        looks={Density.HYPERDENSE: (20, 60), Density.HYPODENSE: (-15, -35)}, uneven=0.4, sharp=0.9,
        features=(SpecificFeatures.INCREASED_AREAS,),
    ),
    LesionType.ADENOMA: Habit(
        looks={Density.HYPODENSE: (-12, -30), Density.HYPERDENSE: (12, 30)}, size_mm=(6, 30), uneven=0.1, sharp=0.95,
    ),
    LesionType.NODULE: Habit(
        looks={Density.HYPODENSE: (-12, -35), Density.ISODENSE: (8, 14)}, size_mm=(6, 20), uneven=0.2, sharp=0.8,
    ),
    LesionType.ABSCESS: Habit(
        looks={Density.FLUID: (-20, -40), Density.RING_ENHANCEMENT: (10, 20)},
        size_mm=(15, 60), shapes=_RAGGED, uneven=0.6, sharp=0.3, features=(_DARK,),
    ),
    LesionType.LYMPHOMA: Habit(
        looks={Density.HYPODENSE: (-15, -40)}, size_mm=(8, 50), shapes=_RAGGED, uneven=0.2, sharp=0.5,
    ),
    LesionType.LIPOMA: Habit(looks={Density.HYPODENSE: (-80, -160)}, size_mm=(6, 40), uneven=0.0, sharp=1.0),
    LesionType.HEMATOMA: Habit(
        looks={Density.HYPERDENSE: (15, 40), Density.HYPODENSE: (-20, -50)}, size_mm=(10, 50), shapes=_RAGGED,
        uneven=0.6, sharp=0.3, features=(SpecificFeatures.INCREASED_AREAS,),
    ),
    LesionType.INFARCT: Habit(
        looks={Density.HYPODENSE: (-25, -60)}, size_mm=(10, 50), shapes=(Shape.IRREGULAR,), uneven=0.2, sharp=0.4,
    ),
    LesionType.STONE: Habit(
        looks={Density.HYPERDENSE: (150, 400)}, size_mm=(5, 12), shapes=(Shape.PUNCTATE,), uneven=0.0, sharp=1.0,
        features=(SpecificFeatures.STONE,), features_share=1.0, enhancement=EnhancementStatus.NON_CONTRAST,
    ),
    LesionType.POLYP: Habit(
        looks={Density.SOFT_TISSUE: (10, 30)}, size_mm=(6, 20), uneven=0.1, sharp=0.9, protruding=1.0,
    ),
    LesionType.PNEUMONIA: Habit(
        looks={Density.SOFT_TISSUE: (10, 30)}, size_mm=(15, 60), shapes=(Shape.IRREGULAR,), uneven=0.8, sharp=0.1,
    ),
}  # fmt: skip
"""Liver, spleen, adrenals, muscle, brain, and whatever has no table of its own."""

_WALL = Habit(
    looks={Density.SOFT_TISSUE: (20, 45), Density.HYPERDENSE: (20, 50)}, size_mm=(8, 40),
    shapes=(Shape.WALL_THICKENING, Shape.IRREGULAR, Shape.LUMINAL_NARROWING), uneven=0.5, sharp=0.35,
)  # fmt: skip
"""Cancer of a wall, measured against what the box held before: wall, contents and fat together."""
_POLYP = replace(_WALL, size_mm=(6, 18), shapes=(Shape.PROTRUSION, Shape.ROUND_LIKE), uneven=0.1, sharp=0.9)

_HOLLOW: Mapping[LesionType, Habit] = {
    LesionType.CANCER: _WALL,
    LesionType.LYMPHOMA: replace(_WALL, uneven=0.1, shapes=(Shape.WALL_THICKENING,)),
    LesionType.METASTASIS: replace(_WALL, size_mm=(6, 25), shapes=_RAGGED),
    LesionType.POLYP: _POLYP,
    LesionType.ADENOMA: _POLYP,
    LesionType.NODULE: _POLYP,
}

_OWN: Mapping[Family, Mapping[LesionType, Habit]] = {
    Family.SOLID: {},
    Family.KIDNEY: {
        LesionType.CANCER: replace(
            _SOLID[LesionType.CANCER], looks={Density.HYPODENSE: (-20, -60), Density.MIXED: (10, 20)}, protruding=0.5
        ),
        LesionType.CYST: replace(_SOLID[LesionType.CYST], protruding=0.4),
    },
    Family.PANCREAS: {
        LesionType.CANCER: replace(
            _SOLID[LesionType.CANCER],
            looks={Density.HYPODENSE: (-15, -40)},
            size_mm=(8, 40),
            features=(SpecificFeatures.PANCREATIC_FLUID,),
        ),
    },
    Family.LUNG: {
        LesionType.CANCER: Habit(
            looks={Density.SOFT_TISSUE: (500, 850), Density.SOFT_TISSUE_GROUND_GLASS: (350, 650)},
            size_mm=(10, 50), shapes=_RAGGED, uneven=0.5, sharp=0.5, features=(SpecificFeatures.SPICULATED,),
        ),
        LesionType.NODULE: Habit(
            looks={Density.SOFT_TISSUE: (500, 850), Density.GROUND_GLASS: (150, 350)}, size_mm=(6, 25), sharp=0.8,
        ),
        LesionType.METASTASIS: Habit(looks={Density.SOFT_TISSUE: (500, 850)}, size_mm=(6, 30), uneven=0.1, sharp=0.9),
        LesionType.PNEUMONIA: Habit(
            looks={Density.GROUND_GLASS: (200, 450), Density.SOFT_TISSUE_GROUND_GLASS: (350, 650)},
            size_mm=(20, 70), shapes=(Shape.IRREGULAR,), uneven=0.9, sharp=0.05,
        ),
        LesionType.ABSCESS: Habit(
            looks={Density.RING_ENHANCEMENT: (500, 800)}, size_mm=(15, 50), uneven=0.9, features=(_DARK,),
        ),
        LesionType.CYST: Habit(looks={Density.HYPODENSE: (-40, -90)}, size_mm=(8, 40), uneven=0.0, sharp=1.0),
        LesionType.STONE: replace(_SOLID[LesionType.STONE], looks={Density.HYPERDENSE: (700, 1100)}),
    },
    Family.BOWEL: _HOLLOW,
    Family.SAC: {
        **_HOLLOW,
        LesionType.STONE: _SOLID[LesionType.STONE],
        LesionType.CANCER: replace(_WALL, shapes=(Shape.WALL_THICKENING, Shape.PROTRUSION), size_mm=(8, 35)),
    },
    Family.ESOPHAGUS: _HOLLOW,
    Family.BONE: {
        LesionType.METASTASIS: Habit(
            looks={Density.HYPODENSE: (-60, -200), Density.HYPERDENSE: (100, 350)},
            size_mm=(6, 25), shapes=_RAGGED, uneven=0.5, sharp=0.4,
        ),
        LesionType.CANCER: Habit(
            looks={Density.HYPODENSE: (-60, -200), Density.MIXED: (15, 40)},
            size_mm=(8, 40), shapes=_RAGGED, uneven=0.8, sharp=0.3,
        ),
        LesionType.HEMANGIOMA: Habit(looks={Density.HYPODENSE: (-50, -150)}, size_mm=(6, 25), uneven=0.6, sharp=0.9),
    },
}  # fmt: skip
"""Where an organ's family differs from `_SOLID`."""

_LIKELY: Mapping[Family, tuple[LesionType, ...]] = {
    Family.SOLID: (LesionType.CYST, LesionType.METASTASIS, LesionType.LYMPHOMA),
    Family.KIDNEY: (LesionType.CYST, LesionType.CANCER, LesionType.STONE),
    Family.PANCREAS: (LesionType.CANCER, LesionType.CYST),
    Family.LUNG: (LesionType.NODULE, LesionType.CANCER, LesionType.METASTASIS),
    Family.BOWEL: (LesionType.CANCER, LesionType.POLYP),
    Family.SAC: (LesionType.CANCER, LesionType.STONE),
    Family.ESOPHAGUS: (LesionType.CANCER,),
    Family.BONE: (LesionType.METASTASIS, LesionType.HEMANGIOMA),
}

_LIKELY_IN: Mapping[str, tuple[LesionType, ...]] = {
    "liver": (LesionType.CANCER, LesionType.CYST, LesionType.METASTASIS, LesionType.HEMANGIOMA, LesionType.ABSCESS),
    "spleen": (LesionType.CYST, LesionType.INFARCT, LesionType.LYMPHOMA, LesionType.HEMANGIOMA),
    "adrenal_gland": (LesionType.ADENOMA, LesionType.METASTASIS),
    "brain": (LesionType.CANCER, LesionType.METASTASIS, LesionType.HEMATOMA),
}

_BONES = ("vertebrae", "rib", "humerus", "scapula", "clavicula", "femur", "hip", "sacrum")


def base_name(organ: str) -> str:
    """ "adrenal_gland_left" -> "adrenal_gland", "rib_left_4" -> "rib": one entry of a table serves both sides."""
    return organ.split("_left")[0].split("_right")[0]


def family_of(organ: str) -> Family:
    """The family of an organ's exact name."""
    base = base_name(organ)
    match base:
        case "kidney":
            return Family.KIDNEY
        case "pancreas":
            return Family.PANCREAS
        case "gallbladder" | "urinary_bladder":
            return Family.SAC
        case "esophagus":
            return Family.ESOPHAGUS
    known = find_organ(organ)
    if known.airy:
        return Family.LUNG
    if known.hollow:
        return Family.BOWEL
    return Family.BONE if base.startswith(_BONES) else Family.SOLID


def habit_of(family: Family, lesion_type: LesionType) -> Habit:
    """The look of a lesion type in a family of organs; as in solid organs where the family has none of its own."""
    return _OWN[family].get(lesion_type) or _SOLID[lesion_type]


def likely_types(organ: str) -> tuple[LesionType, ...]:
    """Lesion types that are drawn in an organ where the user names none."""
    return _LIKELY_IN.get(base_name(organ)) or _LIKELY[family_of(organ)]
