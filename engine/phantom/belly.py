"""The organs of the belly in the order in which they displace each other. Places in body mm, x right."""

from __future__ import annotations

from engine.core.anatomy import V1_IDS
from engine.phantom.bowel import (
    fill_colon,
    fill_stomach,
    paint_duodenum,
    paint_small_bowel,
    place_colon,
    place_stomach,
)
from engine.phantom.kidneys import paint_kidneys
from engine.phantom.liver import paint_gallbladder, paint_liver, paint_spleen
from engine.phantom.surgeon import FAT_PLANE_MM, Surgeon
from engine.phantom.vessels import paint_portal_vein

_PANCREAS = (
    (42, 8, -22, 18), (24, 17, -10, 16.5), (4, 20, 4, 12.5), (-22, 12, 14, 12.5), (-50, -4, 26, 12.5),
    (-74, -16, 36, 11),
)  # fmt: skip


def paint_belly(at: Surgeon, *, arterial: bool) -> None:
    """A later organ displaces an earlier one, with a plane of fat between."""
    paint_small_bowel(at)
    paint_duodenum(at)
    colon, sacs = place_colon(at)
    stomach = place_stomach(at)
    paint_liver(at)
    paint_spleen(at, arterial=arterial)
    # Lobules: the pancreas has the roughest outline.
    pancreas = at.dented(at.pipe(_PANCREAS), 1.5, (11.0, 40.0))
    at.place("pancreas", pancreas, at.tissues.pancreas, gap_mm=FAT_PLANE_MM)
    paint_portal_vein(at)
    paint_kidneys(at)
    paint_gallbladder(at)
    fill_stomach(at, stomach)
    fill_colon(at, colon, sacs)
    _bladder(at)


def _bladder(at: Surgeon) -> None:
    """More or less full, resting on the floor of the pelvis, its roof flattened by the bowel."""
    full = float(at.rng.uniform(0.78, 1.18))
    lump = at.lump((0, 32, -226 + 33 * full), (44 * full, 32 * full, 31 * full))
    region = at.place(
        "urinary_bladder", at.dented(lump, 1.0), at.tissues.wall, room=at.rooms.belly, gap_mm=FAT_PLANE_MM
    )
    at.canvas.fill(region.deeper(3.0), at.tissues.urine, where=at.canvas.own(region, V1_IDS["urinary_bladder"]))
