"""The liver with its trees of vessels, the gallbladder below, the spleen opposite. Places in body mm, x right."""

from __future__ import annotations

import numpy as np

from engine.core.anatomy import V1_IDS
from engine.phantom.canvas import Region
from engine.phantom.lattice import Lattice, mm
from engine.phantom.solids import Blend, Capsule, Carved, Grown, Solid
from engine.phantom.surgeon import FAT_PLANE_MM, Surgeon
from engine.phantom.tubes import tree
from engine.procedural.waves import Field, Waves

HILUM = np.array([34.0, 10.0, 34.0])
"""The porta: where the portal vein enters the liver."""
_CAVAL = np.array([22.0, -16.0, 88.0])
"""Where the hepatic veins meet the vena cava."""
_PORTAL_TWIGS, _VENOUS_TWIGS = 44, 14
_MOIRE_HU = 26.0
"""The arterial spleen is striped: pulp enhances at two speeds."""


def paint_liver(at: Surgeon) -> None:
    """Parenchyma, then the branches of the portal vein and the three hepatic veins inside it."""
    liver = _liver(at)
    region = at.place("liver", liver, at.tissues.liver, room=at.rooms.belly, gap_mm=FAT_PLANE_MM)
    inside = at.canvas.own(region, V1_IDS["liver"])
    whole = Carved(liver, within=[at.rooms.belly], mm=2)
    ends = at.spots(whole, _PORTAL_TWIGS, depth_mm=7)
    right, left = ends[ends[:, 0] >= 20], ends[ends[:, 0] < 20]
    fork = HILUM + mm(2, 4, 6)
    stems = [Capsule.of(HILUM, fork, (6.5, 6.0))]
    portal = [*stems, *tree(fork, right, 1.25), *tree(fork, left, 1.25)]
    at.vessels(portal, at.tissues.portal_vein, only=region, where=inside)
    at.vessels(_hepatic_veins(at, whole), at.tissues.hepatic_vein, only=region, where=inside)


def _liver(at: Surgeon) -> Solid:
    """Right lobe under its dome, left lobe across the middle; carved from below, where the gut and kidney lie."""
    right = at.lump((70, -2, 38), (78, 90, 94))
    left = Blend([
        at.lump((4, 40, 62), (66, 34, 38), (0, 8, 4)),
        Capsule.of((0, 40, 66), np.array([-58.0, 44, 78]) + at.rng.uniform(-8, 8, 3), (27, 9)),
    ], 14)  # fmt: skip
    caudate = at.lump((18, -4, 56), (19, 22, 34), move_mm=2)
    gut = at.lump((-16, 20, -42), (84, 96, 84), (0, 14, 0))
    kidney = at.lump((56, -52, -24), (40, 36, 62), move_mm=2)
    stomach = at.lump((-62, -12, 50), (54, 46, 70), move_mm=2)
    spine = Capsule.of((-6, -62, 0), (-6, -62, 120), (50, 48))
    body = Carved(Blend([right, left, caudate], 20), without=[gut, kidney, stomach, spine], mm=14)
    room = Grown(at.rooms.belly, -0.3)
    return at.dented(Carved(body, within=[room], mm=3), 1.0)


def _hepatic_veins(at: Surgeon, whole: Solid) -> list[Capsule]:
    """Right, middle and left vein, each draining its sector towards the vena cava."""
    ends = at.spots(whole, 3 * _VENOUS_TWIGS, depth_mm=8)
    angles = np.arctan2(ends[:, 1] - _CAVAL[1], ends[:, 0] - _CAVAL[0])
    sectors = np.array_split(ends[np.argsort(angles, kind="stable")], 3)
    return [twig for sector in sectors for twig in tree(_CAVAL, sector, 1.6)]


def paint_gallbladder(at: Surgeon) -> None:
    """A pear in its bed under the liver; its wall is thinner than a voxel."""
    at_mm, fill = at.rng.uniform(-3, 3, 3), float(at.rng.uniform(0.8, 1.15))
    neck, fundus = np.array([38.0, 26, 12]) + at_mm, np.array([52.0, 58, -16]) + at_mm
    pear = Capsule.of(neck, fundus, (7.0 * fill, 15.0 * fill))
    region = at.place("gallbladder", at.dented(pear, 0.5), at.tissues.wall, gap_mm=FAT_PLANE_MM)
    at.canvas.fill(region.deeper(1.5), at.tissues.bile)


def paint_spleen(at: Surgeon, *, arterial: bool) -> Region:
    """A crescent between the ribs and the stomach."""
    outer = at.lump((-99, -36, 48), (52, 52, 61), (14, 6, -14))
    hollow = at.lump((-46, -14, 56), (40, 40, 62), (10, 0, 0))
    kidney = at.lump((-58, -50, -6), (37, 34, 58), move_mm=2)
    room = Grown(at.rooms.belly, -2.5)
    crescent = Carved(Carved(outer, within=[room], mm=6), without=[hollow, kidney], mm=10)
    region = at.place("spleen", at.dented(crescent, 0.9), at.tissues.spleen, room=at.rooms.belly, gap_mm=FAT_PLANE_MM)
    stripes = Waves.drawn(at.rng, 6, (12.0, 24.0), _MOIRE_HU)
    if arterial:

        def pulp(points: Lattice) -> Field:
            return np.asarray(np.float32(at.tissues.spleen) + points.waves(stripes))

        own = at.canvas.own(region, V1_IDS["spleen"])
        at.canvas.fill(region.deeper(1.0), at.canvas.read(region.box, pulp), where=own)
    return region
