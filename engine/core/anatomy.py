"""Organs: TotalSegmentator's class ids, loose names, groups.

Inside the engine an organ map holds v1 ids (104 classes), because the networks read `id / 104`. Version 2 maps
(117 classes) and maps with their own names are translated on entry. Ids: Wasserthal et al., "TotalSegmentator",
Radiology: AI 2023, class tables of the released package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from engine.core.errors import OrganMapError, PlacementError
from engine.core.suggest import did_you_mean

OrganMap = NDArray[np.uint8]

_SPINE = " ".join(
    [f"vertebrae_L{i}" for i in range(5, 0, -1)]
    + [f"vertebrae_T{i}" for i in range(12, 0, -1)]
    + [f"vertebrae_C{i}" for i in range(7, 0, -1)]
)
_RIBS = " ".join(f"rib_{side}_{i}" for side in ("left", "right") for i in range(1, 13))
_LUNGS = "lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right"
_LIMBS_V1 = (
    "humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right femur_left femur_right "
    "hip_left hip_right"
)
_MUSCLES = (
    "gluteus_maximus_left gluteus_maximus_right gluteus_medius_left gluteus_medius_right gluteus_minimus_left "
    "gluteus_minimus_right autochthon_left autochthon_right iliopsoas_left iliopsoas_right"
)

V1_NAMES: tuple[str, ...] = tuple(
    f"spleen kidney_right kidney_left gallbladder liver stomach aorta inferior_vena_cava portal_vein_and_splenic_vein "
    f"pancreas adrenal_gland_right adrenal_gland_left {_LUNGS} {_SPINE} esophagus trachea heart_myocardium "
    f"heart_atrium_left heart_ventricle_left heart_atrium_right heart_ventricle_right pulmonary_artery brain "
    f"iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right small_bowel duodenum colon {_RIBS} "
    f"{_LIMBS_V1} sacrum face {_MUSCLES} urinary_bladder".split()
)
"""Version 1 class names; the id of a name is its position plus one."""

V2_NAMES: tuple[str, ...] = tuple(
    f"spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left "
    f"{_LUNGS} esophagus trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate kidney_cyst_left "
    f"kidney_cyst_right sacrum vertebrae_S1 {_SPINE} heart aorta pulmonary_vein brachiocephalic_trunk "
    f"subclavian_artery_right subclavian_artery_left common_carotid_artery_right common_carotid_artery_left "
    f"brachiocephalic_vein_left brachiocephalic_vein_right atrial_appendage_left superior_vena_cava inferior_vena_cava "
    f"portal_vein_and_splenic_vein iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right {_LIMBS_V1} "
    f"spinal_cord {_MUSCLES} brain skull {_RIBS} sternum costal_cartilages".split()
)
"""Version 2 class names; the id of a name is its position plus one."""

V1_IDS: Mapping[str, int] = {name: i + 1 for i, name in enumerate(V1_NAMES)}

_V2_TO_V1_NAME = {
    "heart": "heart_myocardium",
    "kidney_cyst_left": "kidney_left",
    "kidney_cyst_right": "kidney_right",
    "vertebrae_S1": "sacrum",
}
"""Version 2 classes that version 1 knows under another name. Classes with no counterpart become background."""

_GROUPS: Mapping[str, tuple[str, ...]] = {
    "kidney": ("kidney_right", "kidney_left"),
    "lung": tuple(_LUNGS.split()),
    "lung_left": tuple(n for n in _LUNGS.split() if n.endswith("left")),
    "lung_right": tuple(n for n in _LUNGS.split() if n.endswith("right")),
    "adrenal_gland": ("adrenal_gland_right", "adrenal_gland_left"),
    "heart": (
        "heart_myocardium",
        "heart_atrium_left",
        "heart_ventricle_left",
        "heart_atrium_right",
        "heart_ventricle_right",
    ),
    "vertebrae": tuple(_SPINE.split()),
}

_SYNONYMS = {
    "bladder": "urinary_bladder",
    "gall_bladder": "gallbladder",
    "oesophagus": "esophagus",
    "bowel": "small_bowel",
    "large_bowel": "colon",
    "kidneys": "kidney",
    "lungs": "lung",
    "adrenal": "adrenal_gland",
    "vena_cava": "inferior_vena_cava",
    "left_lung": "lung_left",
    "right_lung": "lung_right",
    "spine": "vertebrae",
}

_HOLLOW = frozenset(
    {"colon", "urinary_bladder", "esophagus", "gallbladder", "stomach", "small_bowel", "duodenum", "trachea"}
)


@dataclass(frozen=True)
class Organ:
    """An organ or a group of organs that a lesion can be asked into."""

    name: str
    ids: tuple[int, ...]

    @property
    def hollow(self) -> bool:
        """A lesion sits in its wall or lumen, not in a parenchyma."""
        return self.name in _HOLLOW

    @property
    def airy(self) -> bool:
        """Lung: its own tissue is far below water."""
        return self.name.startswith("lung")

    @property
    def table(self) -> NDArray[np.bool_]:
        """For each id from 0 to 255: does it belong to this organ?"""
        table = np.zeros(256, bool)
        table[list(self.ids)] = True
        return table

    def mask(self, organs: OrganMap) -> NDArray[np.bool_]:
        """Where an organ map (any shape) holds this organ."""
        low, high = min(self.ids), max(self.ids)
        if high - low + 1 != len(self.ids):
            return np.asarray(self.table[organs])
        if low == high:
            return np.asarray(organs == low)
        # Neighbouring ids: below `low` the uint8 difference wraps to large values, so one comparison is enough and
        # a whole volume costs a third of a table lookup.
        return np.asarray(np.subtract(organs, low, dtype=np.uint8) <= high - low)


def find_organ(name: str) -> Organ:
    """Loose lookup: "Bladder", "urinary bladder", "left kidney", "kidney" (both), "5".

    Raises `PlacementError` with the nearest known name.
    """
    key = "_".join(str(name).lower().replace("-", " ").replace("_", " ").split())
    key = _SYNONYMS.get(key, key)
    by_lower = {n.lower(): n for n in V1_NAMES}
    for candidate in (key, *_side_last(key)):
        if candidate in by_lower:
            exact = by_lower[candidate]
            return Organ(exact, (V1_IDS[exact],))
        if candidate in _GROUPS:
            return Organ(candidate, tuple(V1_IDS[n] for n in _GROUPS[candidate]))
    if key.isdigit() and 1 <= int(key) <= len(V1_NAMES):
        return organ_of_id(int(key))
    known = [*by_lower, *_GROUPS, *_SYNONYMS]
    hint = did_you_mean(key, known) or "; TotalSegmentator's names are known, such as liver, kidney or lung_left"
    raise PlacementError(f"unknown organ '{name}'{hint}")


def _side_last(key: str) -> list[str]:
    """ "left_kidney" -> ["kidney_left"]: the tables put the side last."""
    for side in ("left", "right"):
        if key.startswith(side + "_"):
            return [f"{key.removeprefix(side + '_')}_{side}"]
    return []


def organ_of_id(organ_id: int) -> Organ:
    """The single organ of a v1 id."""
    return Organ(V1_NAMES[organ_id - 1], (organ_id,))


@cache
def v2_to_v1() -> NDArray[np.uint8]:
    """Lookup table: v2 id (0..255) -> v1 id, 0 where there is no counterpart."""
    table = np.zeros(256, np.uint8)
    for i, name in enumerate(V2_NAMES):
        table[i + 1] = V1_IDS.get(_V2_TO_V1_NAME.get(name, name), 0)
    return table


def table_for(scheme: str, names: Mapping[str, str] | None = None) -> NDArray[np.uint8]:
    """Lookup table to v1 ids for an organ map's own ids.

    `scheme`: "total_v1", "total_v2", or "names" with `names` = {id: organ name}. Raises `OrganMapError`.
    """
    match scheme:
        case "total_v1":
            table = np.arange(256).astype(np.uint8)
            table[len(V1_NAMES) + 1 :] = 0
            return table
        case "total_v2":
            return v2_to_v1()
        case "names":
            table = np.zeros(256, np.uint8)
            for key, name in (names or {}).items():
                if not str(key).isdigit() or not 0 < int(key) < 256:
                    raise OrganMapError(f"organ map id '{key}' is not a number from 1 to 255")
                organ = find_organ(name)
                table[int(key)] = organ.ids[0]
            return table
        case _:
            known = ("total_v1", "total_v2", "names")
            raise OrganMapError(f"unknown organ map scheme '{scheme}'{did_you_mean(scheme, known)}")


def to_v1(labels: NDArray[np.generic], table: NDArray[np.uint8]) -> OrganMap:
    """Translate an organ map of any integer (or whole-number float) dtype. Raises `OrganMapError` on other values."""
    if labels.dtype.kind == "f":
        whole = labels.astype(np.int64)
        if not np.array_equal(whole, labels):
            odd = labels[whole != labels].flat[0]
            raise OrganMapError(f"holds values that are not whole numbers, such as {odd:g}; it should hold class ids")
        labels = whole
    if labels.size and (labels.min() < 0 or labels.max() > 255):
        raise OrganMapError(f"holds ids from {labels.min()} to {labels.max()}; they should lie in 0 to 255")
    return np.asarray(table[labels.astype(np.uint8, copy=False)])
