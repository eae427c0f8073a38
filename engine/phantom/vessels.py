"""Aorta, vena cava and their branches through chest and belly. Centre lines (x, y, z, radius) in body mm, x right."""

from __future__ import annotations

import numpy as np

from engine.phantom.kidneys import PLACES_MM
from engine.phantom.lattice import mm
from engine.phantom.liver import HILUM
from engine.phantom.skeleton import SIDES
from engine.phantom.solids import Bundle, Capsule
from engine.phantom.surgeon import FAT_PLANE_MM, Surgeon
from engine.phantom.tubes import tree, tube

_DESCENDING = (
    (-22, -36, 196, 12.5), (-24, -42, 170, 12), (-20, -42, 110, 11.5), (-12, -36, 50, 11), (-8, -28, 0, 10),
    (-6, -22, -60, 9.5), (-5, -24, -92, 9),
)  # fmt: skip
_VENA_CAVA = (
    (17, -26, -96, 10), (18, -24, -50, 11), (21, -24, 0, 11.5), (24, -20, 50, 12), (25, -12, 90, 13),
    (29, 6, 118, 12.5), (31, 14, 136, 12),
)  # fmt: skip
_ILIAC_ARTERY = ((-3, -25, -88, 6.5), (26, -32, -128, 6), (46, 0, -180, 5.5), (62, 46, -240, 5.5))
_ILIAC_VEIN = ((15, -30, -94, 8), (34, -42, -134, 7), (44, -14, -180, 7), (50, 38, -240, 7))
_SPLENIC_VEIN = ((14, 6, 2, 5.5), (-14, 6, 12, 4.8), (-46, -10, 28, 4.5), (-72, -26, 42, 4.2))
_PORTAL_VEIN = ((14, 6, 0, 6.5), (22, 8, 16, 7), (HILUM[0], HILUM[1], HILUM[2], 6.8))
_MESENTERIC_VEIN = ((15, 6, 2, 6), (14, 14, -30, 5), (10, 20, -70, 4), (4, 26, -110, 3))
_MESENTERIC_ARTERY = ((-7, -16, 2, 3.8), (-5, 2, -12, 3.6), (-1, 8, -40, 3.2), (0, 16, -90, 2.6))
_CELIAC = ((-9, -20, 14, 3.5), (-8, -4, 20, 3.3))


def paint_portal_vein(at: Surgeon) -> None:
    """Splenic and mesenteric vein meet behind the pancreas."""
    tissues = at.tissues
    for knots in (_MESENTERIC_VEIN, _SPLENIC_VEIN, _PORTAL_VEIN):
        vein = at.pipe(knots, move_mm=1.0, step_mm=6)
        at.place("portal_vein_and_splenic_vein", vein, tissues.portal_vein)


def paint_vessels(at: Surgeon) -> None:
    """Over all organs: these hold their places and the others give way."""
    tissues = at.tissues
    at.canvas.fill(at.canvas.region(_crura(at)), tissues.muscle, 0)
    artery, vein = tissues.artery, tissues.vena_cava
    at.vessels([*_pipe(_MESENTERIC_ARTERY), *_pipe(_CELIAC), *_celiac_branches(at)], artery)
    for name, side in SIDES.items():
        hilum = np.asarray(PLACES_MM[name]) + mm(-side * 30, 12, 2)
        at.vessels([Capsule.of((side * 12 + 18 * (side > 0), -20, hilum[2] + 8), hilum, (5.5, 4.5))], vein)
        at.vessels([Capsule.of((-7, -27, hilum[2] + 6), hilum + mm(0, -5, 4), (3.0, 2.6))], artery)
        # The left vein joins the right: the aorta lies left of the middle, the cava right of it.
        for organ, knots, hu in (("iliac_vena", _ILIAC_VEIN, vein), ("iliac_artery", _ILIAC_ARTERY, artery)):
            line = [(side * x + (4 if side > 0 and organ == "iliac_artery" else 0), y, z, r) for x, y, z, r in knots]
            at.place(f"{organ}_{name}", at.pipe(line, move_mm=1.5), hu, gap_mm=0.8)
    at.place("inferior_vena_cava", at.pipe(_VENA_CAVA, move_mm=1.5), vein)
    at.place("aorta", at.pipe(_DESCENDING, move_mm=1.5), artery, gap_mm=FAT_PLANE_MM)


def _crura(at: Surgeon) -> Bundle:
    """The legs of the diaphragm, beside the aorta."""
    right = ((20, -42, -40, 3), (16, -40, 10, 5.5), (10, -28, 46, 6), (2, -18, 76, 4))
    left = ((-20, -44, -10, 3), (-19, -42, 20, 5), (-19, -32, 50, 5), (-10, -20, 76, 4))
    return Bundle([*at.pipe(right, move_mm=1).parts, *at.pipe(left, move_mm=1).parts])


def _pipe(knots: tuple[tuple[float, float, float, float], ...]) -> list[Capsule]:
    return tube([knot[:3] for knot in knots], [knot[3] for knot in knots], step_mm=6)


def _celiac_branches(at: Surgeon) -> list[Capsule]:
    """To liver, stomach and spleen."""
    fork = np.array([-8.0, -4.0, 20.0])
    ends = np.array([HILUM + mm(-6, 2, -2), (-70, -18, 44), (-66, -30, 52), (-40, 20, 24), (-52, 0, 40)])
    return tree(fork, ends + at.rng.uniform(-2, 2, ends.shape), 1.4)
