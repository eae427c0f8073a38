"""A report in the words the networks are told: attribute -> text, one text a context token.

The published networks were trained on the texts of `type.json` files, edited differently for each; they get their own
wording, whatever ours is. Networks of our own training get everything a report says.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.core.anatomy import V1_NAMES, find_organ
from engine.core.report import Report, Wanted
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

_THEIR_WORDING = {Density.HYPODENSE: "low density lesion", Density.HYPERDENSE: "high density lesion"}
"""Where their reports say a thing otherwise than `Vocabulary.text` (the first word of their list)."""


def lmnet_text(report: Wanted, *, organ_id: int | None = None) -> dict[str, str]:
    """For LMNet, which draws the shape: nothing of size, density or HU; specific features only where there are any.

    `organ_id` is the v1 id of the organ the lesion lies in; needed where the report names a group, such as both
    kidneys, whose first organ is taken otherwise. Attributes that are not set are left out.
    """
    return _set_only(
        {
            **_site(report, organ_id),
            **_surface(report),
            "specific features": _theirs(report.specific_features) or None,
            "cavity": _theirs(report.cavity),
        }
    )


def linet_text(report: Wanted, *, organ_id: int | None = None, measured_hu: float | None = None) -> dict[str, str]:
    """For LINet, which paints: everything but the size, and the mean in HU ("57.0 HU,").

    `measured_hu` stands in, to the whole HU as in their reports, for a report that asks for a contrast and not for a
    mean: the surrounding tissue's mean plus that contrast. Specific features are named even where there are none.
    """
    hu = report.ct_value_hu
    if hu is None and measured_hu is not None:
        hu = round(measured_hu)
    return _set_only(
        {
            **_site(report, organ_id),
            "density": _theirs(report.density),
            "density variations": _theirs(report.density_variations),
            "CT value": None if hu is None else f"{float(hu)} HU,",
            **_surface(report),
            "specific features": _theirs(report.specific_features or ()),
            "cavity": _theirs(report.cavity),
        }
    )


def full_text(report: Report, *, organ_id: int | None = None, measured_hu: float | None = None) -> dict[str, str]:
    """For networks of our own: `linet_text`, lesion type, extents (S, A, L), volume and contrast.

    Every report has the same attributes; a CT value that nobody gave or measured is the empty text. The values are
    those of `full_vocabulary`.
    """
    told = linet_text(report, organ_id=organ_id, measured_hu=measured_hu)
    told.setdefault("CT value", "")
    return told | {
        "lesion type": _theirs(report.lesion_type) or "",
        "size": " x ".join(f"{extent:.1f}" for extent in report.size_mm) + " mm,",
        "volume": f"{report.asked_mm3:.0f} mm3,",
        "contrast": f"{report.contrast_hu:.1f} HU,",
    }


def full_vocabulary() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Every attribute of `full_text` with the values it takes; none where it is a number."""
    vocabularies: tuple[type[Vocabulary], ...] = (
        EnhancementStatus, Shape, Density, DensityVariations, SurfaceCharacteristics, AdjacentOrgans, SpecificFeatures,
        Cavity, LesionType,
    )  # fmt: skip
    texts = {vocabulary.attribute(): tuple(map(_wording, vocabulary)) for vocabulary in vocabularies}
    organs = {"lesion location": tuple(map(_spaced, V1_NAMES))}
    numbers: dict[str, tuple[str, ...]] = dict.fromkeys(("CT value", "size", "volume", "contrast"), ())
    return tuple({**texts, **organs, **numbers}.items())


def _site(report: Wanted, organ_id: int | None) -> dict[str, str | None]:
    if organ_id is None and report.organ is not None:
        organ_id = find_organ(report.organ).ids[0]
    return {
        "enhancement status": _theirs(report.enhancement_status),
        "lesion location": None if organ_id is None else _spaced(V1_NAMES[organ_id - 1]),
        "shape": _theirs(report.shape),
    }


def _surface(report: Wanted) -> dict[str, str | None]:
    return {
        "surface characteristics": _theirs(report.surface_characteristics),
        "relationship with adjacent organs": _theirs(report.adjacent_organs),
    }


def _theirs(values: Vocabulary | Iterable[Vocabulary] | None) -> str | None:
    """Every value with a comma behind it; None where nothing is set."""
    if values is None:
        return None
    return "".join(_wording(value) + "," for value in ([values] if isinstance(values, Vocabulary) else values))


def _wording(value: Vocabulary) -> str:
    return _THEIR_WORDING.get(value, value.text) if isinstance(value, Density) else value.text


def _spaced(organ_name: str) -> str:
    return organ_name.replace("_", " ")


def _set_only(texts: dict[str, str | None]) -> dict[str, str]:
    return {attribute: text for attribute, text in texts.items() if text is not None}
