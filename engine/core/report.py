"""The typed lesion report and its two JSON forms. Free text is kept apart from the attributes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from engine.core.anatomy import find_organ
from engine.core.errors import PlacementError, ReportError
from engine.core.suggest import did_you_mean
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

Size3 = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user fixed of one lesion; None is open, and filled in by a report writer.

    `size_mm` is along (S, A, L). `centre_mm` is a point in world RAS where the lesion must lie.
    `contrast_hu` is the asked difference between the lesion's mean and the tissue it replaces;
    `ct_value_hu` the asked mean itself.
    """

    organ: str | None = None
    lesion_type: LesionType | None = None
    enhancement_status: EnhancementStatus | None = None
    shape: tuple[Shape, ...] | None = None
    density: Density | None = None
    density_variations: DensityVariations | None = None
    surface_characteristics: SurfaceCharacteristics | None = None
    adjacent_organs: AdjacentOrgans | None = None
    specific_features: tuple[SpecificFeatures, ...] | None = None
    cavity: Cavity | None = None
    size_mm: Size3 | None = None
    contrast_hu: float | None = None
    ct_value_hu: float | None = None
    centre_mm: Size3 | None = None
    free_text: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """From our form, or from the reference's attribute dict ({"organ type": "liver", ...}).

        Raises `ReportError`: unknown attribute, unknown value (with the nearest known one), or a malformed number.
        """
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in data.items():
            name = _field_name(key)
            if name not in known:
                hint = did_you_mean(name, known) or f"; known are {', '.join(f.name for f in fields(cls))}"
                raise ReportError(f"unknown attribute '{key}'{hint}")
            if value is not None and value != "":
                values[name] = _parse_field(name, value)
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Our form: canonical texts, only what is set."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None or value == "":
                continue
            out[f.name] = _plain(value)
        return out

    def over(self, base: Self) -> Self:
        """These values where set, `base`'s elsewhere."""
        set_here = {f.name: v for f in fields(self) if (v := getattr(self, f.name)) not in (None, "")}
        return replace(base, **set_here)


_WALL_SHARE = 0.4
"""Of the ellipsoid of a thickened wall's extents: the rest is lumen, or lies beyond the organ."""


@dataclass(frozen=True, kw_only=True)
class Report(Wanted):
    """A complete report: every attribute set (`ct_value_hu` and `centre_mm` stay optional)."""

    organ: str
    lesion_type: LesionType
    enhancement_status: EnhancementStatus
    shape: tuple[Shape, ...]
    density: Density
    density_variations: DensityVariations
    surface_characteristics: SurfaceCharacteristics
    adjacent_organs: AdjacentOrgans
    specific_features: tuple[SpecificFeatures, ...]
    cavity: Cavity
    size_mm: Size3
    contrast_hu: float

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """As `Wanted.from_json`, and nothing may be missing. Raises `ReportError`."""
        wanted = Wanted.from_json(data)
        values = {f.name: getattr(wanted, f.name) for f in fields(Wanted)}
        if values["specific_features"] is None:
            values["specific_features"] = ()
        missing = [n for n in sorted(values) if values[n] is None and n not in ("ct_value_hu", "centre_mm")]
        if missing:
            raise ReportError(f"report lacks {', '.join(missing)}")
        return cls(**values)

    def dumps(self) -> str:
        """Canonical JSON text: sorted keys, no spaces. Equal reports give equal bytes."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> Self:
        return cls.from_json(json.loads(text))

    @property
    def longest_mm(self) -> float:
        return max(self.size_mm)

    @property
    def follows_wall(self) -> bool:
        """A part of a hollow organ's wall made thicker, rather than a body of its own."""
        return self.cavity is Cavity.WALL and bool({Shape.WALL_THICKENING, Shape.LUMINAL_NARROWING} & set(self.shape))

    @property
    def asked_mm3(self) -> float:
        """The volume asked for: the ellipsoid of the three extents, or what a thickened wall fills of it."""
        return math.pi / 6 * math.prod(self.size_mm) * (_WALL_SHARE if self.follows_wall else 1)

    @property
    def contrast_sign(self) -> int:
        """-1, 0 or +1: where the lesion's mean must go against the tissue it replaces; 0 leaves it open."""
        return 0 if abs(self.contrast_hu) < 1 else int(math.copysign(1, self.contrast_hu))


_REFERENCE_KEYS: Mapping[str, str] = {
    "organ_type": "organ",
    "lesion_location": "organ",
    "relationship_with_adjacent_organs": "adjacent_organs",
    "ct_value": "ct_value_hu",
    "size": "size_mm",
    "features": "specific_features",
    "margin": "surface_characteristics",
}

_VOCABULARIES: Mapping[str, tuple[type[Vocabulary], bool]] = {
    "lesion_type": (LesionType, False),
    "enhancement_status": (EnhancementStatus, False),
    "shape": (Shape, True),
    "density": (Density, False),
    "density_variations": (DensityVariations, False),
    "surface_characteristics": (SurfaceCharacteristics, False),
    "adjacent_organs": (AdjacentOrgans, False),
    "specific_features": (SpecificFeatures, True),
    "cavity": (Cavity, False),
}


def _field_name(key: str) -> str:
    name = "_".join(key.lower().replace("_", " ").split())
    return _REFERENCE_KEYS.get(name, name)


def _parse_field(name: str, value: Any) -> Any:
    if name in _VOCABULARIES:
        vocabulary, many = _VOCABULARIES[name]
        text = ",".join(str(v) for v in value) if isinstance(value, list | tuple) else str(value)
        return vocabulary.parse_all(text) if many else vocabulary.parse(text)
    match name:
        case "organ":
            try:
                return find_organ(str(value)).name
            except PlacementError as error:
                raise ReportError(str(error)) from None
        case "free_text":
            return str(value)
        case "size_mm":
            return _size(value)
        case "centre_mm":
            if isinstance(value, list | tuple) and len(value) == 3:
                x, y, z = (_number(name, v) for v in value)
                return x, y, z
            raise ReportError(f"centre_mm: '{value}' should be three numbers [x, y, z], world RAS millimetres")
        case _:
            return _number(name, value)


def _number(name: str, value: Any) -> float:
    """A number, or the first number in a text such as "approximately 57 HU,"."""
    found = re.search(r"-?\d+(?:\.\d+)?", str(value))
    if isinstance(value, bool) or found is None:
        raise ReportError(f"{name}: '{value}' holds no number")
    number = value if isinstance(value, float) else float(found.group())
    if not math.isfinite(number):
        raise ReportError(f"{name}: the number is out of range")
    return number


def _size(value: Any) -> Size3:
    """One diameter, or three extents along (S, A, L). The reference's "[[28 29 26]] pixel" is (L, A, S) at 1 mm."""
    if isinstance(value, str):
        numbers = [float(n) for n in re.findall(r"\d+(?:\.\d+)?", value)]
        if "[" in value:
            numbers.reverse()
    else:
        numbers = [_number("size_mm", v) for v in (value if isinstance(value, list | tuple) else [value])]
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or min(numbers) <= 0 or not all(map(math.isfinite, numbers)):
        raise ReportError(f"size_mm: '{value}' should be one diameter or three extents (S, A, L), in mm above 0")
    s, a, l = numbers  # noqa: E741 - the axis is called L
    return s, a, l


def _plain(value: Any) -> Any:
    if isinstance(value, Vocabulary):
        return value.text
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


_REFERENCE_ORDER: tuple[tuple[str, str], ...] = (
    ("density", "density"),
    ("density variations", "density_variations"),
    ("CT value", "ct_value_hu"),
    ("surface characteristics", "surface_characteristics"),
    ("relationship with adjacent organs", "adjacent_organs"),
    ("specific features", "specific_features"),
    ("cavity", "cavity"),
)


def to_reference(report: Report, *, centre_vox: Iterable[int] | None = None) -> dict[str, Any]:
    """The reference's `type.json` of one lesion: {v1 id: [shape, type, attributes, [[centre], [size]]]}.

    Sizes and centres there are voxels of a 1 mm grid in (x, y, z) order. The second entry is empty in the reference's
    files; it carries the lesion type here, so that reading the file back loses nothing but free text and contrast.
    """
    organ = find_organ(report.organ)
    key = str(organ.ids[0])
    size = [round(v) for v in reversed(report.size_mm)]
    shape = _joined(report.shape)
    attributes: dict[str, str] = {
        "enhancement status": report.enhancement_status.text + ",",
        "lesion location": key,
        "shape": shape,
        "size": f"[[{size[0]} {size[1]} {size[2]}]] pixel,",
    }
    for their_key, our_name in _REFERENCE_ORDER:
        value = getattr(report, our_name)
        if our_name == "ct_value_hu":
            if value is not None:
                attributes[their_key] = f"Mean density of the lesion region is approximately {value:g} HU,"
            continue
        attributes[their_key] = _joined(value if isinstance(value, tuple) else (value,))
    centre = [[int(c) for c in centre_vox]] if centre_vox is not None else []
    return {key: [shape, report.lesion_type.text, attributes, [centre, [size]]]}


def from_reference(data: Mapping[str, Any], *, lesion_type: LesionType | None = None) -> list[Wanted]:
    """Every lesion of a reference `type.json`, as far as it says. Raises `ReportError`."""
    out = []
    for key, entry in data.items():
        if not isinstance(entry, list) or len(entry) < 3 or not isinstance(entry[2], Mapping):
            raise ReportError(f"entry '{key}' should be [shape, text, attributes, boxes]")
        attributes = {**entry[2], "lesion location": key}
        wanted = Wanted.from_json(attributes)
        named = LesionType.texts().get(str(entry[1]).lower()) if entry[1] else None
        out.append(replace(wanted, lesion_type=lesion_type or named or wanted.lesion_type))
    return out


def _joined(values: Iterable[Vocabulary]) -> str:
    return "".join(v.text + "," for v in values)
