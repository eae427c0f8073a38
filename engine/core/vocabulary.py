"""The words of a lesion report: one enum an attribute.

They are those that the published networks were trained on (LesionDiffusion, `description.json`): the first text of
each tuple is the canonical one, the others are read as synonyms.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Self

from engine.core.errors import ReportError
from engine.core.suggest import did_you_mean


class Vocabulary(Enum):
    """An attribute's values; each member's value is (canonical text, synonym, ...)."""

    @property
    def text(self) -> str:
        return str(self.value[0])

    @classmethod
    def attribute(cls) -> str:
        """The attribute's name as the reference writes it."""
        return re.sub(r"(?<!^)(?=[A-Z])", " ", cls.__name__).lower()

    @classmethod
    def texts(cls) -> dict[str, Self]:
        return {text.lower(): member for member in cls for text in member.value}

    @classmethod
    def parse(cls, text: str) -> Self:
        """One value, loosely written. Raises `ReportError` with the nearest known value."""
        found = cls.parse_all(text)
        if len(found) != 1:
            raise ReportError(f"{cls.attribute()}: '{text}' names {len(found)} values, should be one")
        return found[0]

    @classmethod
    def parse_all(cls, text: str) -> tuple[Self, ...]:
        """Comma-separated values ("round-like,protrusion into the lumen,"), longest match first."""
        known = cls.texts()
        parts = [" ".join(p.lower().split()) for p in str(text).split(",")]
        parts = [p for p in parts if p]
        found: list[Self] = []
        while parts:
            for width in range(len(parts), 0, -1):
                member = known.get(",".join(parts[:width])) or known.get(", ".join(parts[:width]))
                if member is not None:
                    break
            else:
                hint = did_you_mean(parts[0], known) or f"; known are {', '.join(m.text for m in cls)}"
                raise ReportError(f"{cls.attribute()}: unknown value '{parts[0]}'{hint}")
            found.append(member)
            parts = parts[width:]
        return tuple(dict.fromkeys(found))


class EnhancementStatus(Vocabulary):
    ENHANCED = ("enhanced CT",)
    NON_CONTRAST = ("non-contrast CT",)


class Shape(Vocabulary):
    ROUND_LIKE = ("round-like",)
    IRREGULAR = ("irregular",)
    WALL_THICKENING = ("irregular wall thickening", "irregular,wall thickening")
    PUNCTATE = ("punctate", "nodular")
    CYSTIC = ("cystic",)
    LUMINAL_NARROWING = ("luminal narrowing",)
    PROTRUSION = ("protrusion into the lumen",)


class Density(Vocabulary):
    HYPODENSE = (
        "hypodense lesion",
        "low density lesion",
        "hypoattenuating lesion",
        "low attenuation lesion",
        "hypodense",
    )
    ISODENSE = ("isodense lesion", "isoattenuating lesion", "isodense")
    HYPERDENSE = (
        "hyperdense lesion", "high density lesion", "hyperattenuating lesion", "high attenuation lesion", "hyperdense",
    )  # fmt: skip
    MIXED = ("mixed-density lesion", "mixed attenuation lesion")
    FLUID = ("hypoattenuating fluid-like lesion", "hypodense fluid-like lesion")
    SOFT_TISSUE = ("isodense soft tissue mass",)
    SOFT_TISSUE_GROUND_GLASS = ("isodense soft tissue mass with peripheral low-density ground-glass opacity",)
    GROUND_GLASS = ("low-density ground-glass opacity",)
    RING_ENHANCEMENT = ("ring enhancement",)


class DensityVariations(Vocabulary):
    HOMOGENEOUS = ("homogeneous",)
    HETEROGENEOUS = ("heterogeneous",)


class SurfaceCharacteristics(Vocabulary):
    WELL_DEFINED = ("well-defined margin",)
    CLEAR_SEROSA = ("clear serosal surface",)
    CLEAR_RENAL = ("clear boundary with the renal parenchyma",)
    ILL_DEFINED = ("ill-defined margin",)
    IRREGULAR_SEROSA = ("serosal surface irregularity",)
    UNCLEAR_RENAL = ("unclear boundary with the renal parenchyma",)
    UNCLEAR_ESOPHAGEAL = ("poorly defined boundary with normal esophageal tissue",)

    @property
    def sharp(self) -> bool:
        return self in (type(self).WELL_DEFINED, type(self).CLEAR_SEROSA, type(self).CLEAR_RENAL)


class AdjacentOrgans(Vocabulary):
    NO_CLOSE = ("no close relationship with surrounding organs",)
    CLOSE = ("close relationship with adjacent organs",)

    @classmethod
    def attribute(cls) -> str:
        return "relationship with adjacent organs"


class SpecificFeatures(Vocabulary):
    DECREASED_AREAS = ("presence of decreased density areas", "presence of decreased attenuation areas")
    INCREASED_AREAS = ("presence of increased density areas", "presence of increased attenuation areas")
    SPICULATED = ("spiculated margins",)
    PANCREATIC_FLUID = ("retention of pancreatic fluid",)
    STONE = ("stone", "calculus")


class Cavity(Vocabulary):
    LUMEN = ("within the lumen of a hollow organ",)
    WALL = ("wall thickening",)
    PARENCHYMA = ("within the parenchymal organ",)
    PROTRUDING = ("protruding from the parenchymal organ",)


class LesionType(Vocabulary):
    """What the reference takes from a folder name; ours is a field like the others."""

    CANCER = ("cancer", "tumor", "tumour", "carcinoma")
    CYST = ("cyst",)
    STONE = ("stone", "calculus")
    METASTASIS = ("metastasis", "metastases")
    HEMANGIOMA = ("hemangioma", "haemangioma")
    ADENOMA = ("adenoma",)
    NODULE = ("nodule",)
    POLYP = ("polyp",)
    ABSCESS = ("abscess",)
    PNEUMONIA = ("pneumonia",)
    LYMPHOMA = ("lymphoma",)
    LIPOMA = ("lipoma",)
    HEMATOMA = ("hematoma", "haematoma")
    INFARCT = ("infarct", "infarction")
