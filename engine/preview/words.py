"""A report and what was measured of its lesion, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.core.report import Report

_SIDES = ("left", "right")

_MAKERS = {"procedural": "procedural code", "lmnet": "LMNet", "linet": "LINet"}

Rows = list[tuple[str, str]]
"""(name, value), for a table."""


def organ_words(organ: str) -> str:
    """`kidney_left` -> "left kidney"."""
    parts = organ.split("_")
    if parts[-1] in _SIDES:
        parts = [parts[-1], *parts[:-1]]
    return " ".join(parts)


def title(report: Report) -> str:
    """Such as "Left kidney: cyst"."""
    organ = organ_words(report.organ)
    return f"{organ[0].upper()}{organ[1:]}: {report.lesion_type.text}"


def makers(lesion: Mapping[str, Any]) -> str:
    """What drew and painted it: "procedural code", "LMNet and LINet"."""
    made = [lesion["mask_backend"], lesion["paint_backend"]]
    return " and ".join(dict.fromkeys(_MAKERS.get(name, name) for name in made))


def size_words(report: Report) -> str:
    """Extents along superior, anterior, left."""
    return " x ".join(f"{mm:.0f}" for mm in report.size_mm) + " mm"


def sentence(report: Report) -> str:
    """The report as one sentence of a finding."""
    kind = report.lesion_type.text
    shape = " and ".join(s.text for s in report.shape)
    parts = [
        f"{kind[0].upper()}{kind[1:]} of the {organ_words(report.organ)}, {shape}, {size_words(report)}",
        f"{report.density.text}, {report.density_variations.text}, {report.surface_characteristics.text}",
        f"{report.cavity.text}, {report.adjacent_organs.text}",
    ]
    features = ", ".join(f.text for f in report.specific_features)
    return "; ".join([*parts, *([features] if features else [])]) + f" ({report.enhancement_status.text})."


def report_rows(report: Report) -> Rows:
    """Every attribute that was asked for. The user's free text is the last row, where there is one."""
    rows = [
        ("lesion type", report.lesion_type.text),
        ("organ", organ_words(report.organ)),
        ("shape", ", ".join(s.text for s in report.shape)),
        ("size (S x A x L)", " x ".join(f"{mm:.1f}" for mm in report.size_mm) + " mm"),
        ("density", report.density.text),
        ("density variations", report.density_variations.text),
        ("surface", report.surface_characteristics.text),
        ("cavity", report.cavity.text),
        ("adjacent organs", report.adjacent_organs.text),
        ("specific features", ", ".join(f.text for f in report.specific_features) or "none"),
        ("enhancement", report.enhancement_status.text),
    ]
    return [*rows, *([("free text", report.free_text)] if report.free_text else [])]


def measured_rows(lesion: Mapping[str, Any], report: Report) -> Rows:
    """What a lesion of a manifest row is, beside what was asked for."""
    x, y, z = lesion["centroid_mm"]
    writer = lesion.get("report_writer") or "template"
    return [
        ("volume", f"{millilitres(lesion['volume_mm3'])} ml (asked {millilitres(report.asked_mm3)})"),
        ("contrast", f"{lesion['shift_hu']:+.0f} HU (asked {report.contrast_hu:+.0f})"),
        ("mean, surround", f"{lesion['mean_hu']:.0f} HU, {lesion['surround_hu']:.0f} HU"),
        ("centroid (R, A, S)", f"{x:.1f}, {y:.1f}, {z:.1f} mm"),
        ("backends", f"report {writer}, mask {lesion['mask_backend']}, paint {lesion['paint_backend']}"),
    ]


def millilitres(mm3: float) -> str:
    """Two digits that count, whatever the size."""
    ml = mm3 / 1000
    return f"{ml:.1f}" if ml >= 10 else f"{ml:.2f}" if ml >= 0.1 else f"{ml:.3f}"
