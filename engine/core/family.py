"""Kinds of organs: whose lesions look alike, and how thick a lesion their walls and lobes can hold."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from engine.core.anatomy import find_organ


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

_BONES = ("vertebrae", "rib", "humerus", "scapula", "clavicula", "femur", "hip", "sacrum")


def base_name(organ: str) -> str:
    """ "adrenal_gland_left" -> "adrenal_gland", "lung_lower_lobe_right" -> "lung": one row serves them all."""
    base = organ.split("_left")[0].split("_right")[0]
    return "lung" if find_organ(organ).airy else base


def family_of(organ: str) -> Family:
    """The family of an organ's exact name."""
    base = base_name(organ)
    match base:
        case "kidney":
            return Family.KIDNEY
        case "pancreas":
            return Family.PANCREAS
        case "lung":
            return Family.LUNG
        case "gallbladder" | "urinary_bladder":
            return Family.SAC
        case "esophagus":
            return Family.ESOPHAGUS
    if find_organ(organ).hollow:
        return Family.BOWEL
    return Family.BONE if base.startswith(_BONES) else Family.SOLID
