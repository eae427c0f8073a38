"""When a scan is taken after contrast medium is given, and what each tissue then measures."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Phase(StrEnum):
    """Of intravenous contrast medium."""

    UNENHANCED = "unenhanced"
    ARTERIAL = "arterial"  # late arterial, 35 to 40 s
    PORTAL = "portal"  # portal venous, 70 to 80 s
    DELAYED = "delayed"  # 3 to 5 min, the urine is beginning to fill


PLAIN_HU: Mapping[str, tuple[float, float]] = {
    "air": (-1000, 0),
    "skin": (10, 5),
    "fat": (-104, 6),
    "lung": (-862, 20),
    "cartilage": (95, 15),
    "spongy_bone": (165, 40),
    "dense_bone": (640, 70),
    "disc": (82, 8),
    "cord": (34, 5),
    "bile": (8, 5),
    "chyme": (20, 6),
    "stool": (24, 10),
}
"""Tissues that no phase changes: mean HU, and how far one body may be from it."""

HU_BY_PHASE: Mapping[str, tuple[float, float, float, float, float]] = {
    #               plain  arterial  portal  delayed  +-
    "muscle":        (54,     60,      66,     66,     4),
    "wall":          (40,     78,      92,     80,     5),
    "liver":         (57,     72,     112,     92,     8),
    "spleen":        (50,    122,     124,     98,     4),
    "pancreas":      (41,    108,      94,     76,     5),
    "adrenal":       (28,     66,      80,     62,     5),
    "renal_cortex":  (36,    165,     172,    150,     4),
    "renal_medulla": (32,     68,     142,    152,     4),
    "renal_pelvis":   (6,      6,      14,    320,     4),
    "urine":          (5,      5,       6,     55,     4),
    "artery":        (44,    300,     160,    118,     4),
    "vena_cava":     (42,     92,     142,    112,     4),
    "portal_vein":   (42,    112,     178,    120,     4),
    "hepatic_vein":  (42,     60,     166,    118,     4),
    "myocardium":    (48,    104,     112,     94,     4),
    "left_heart":    (43,    290,     158,    116,     4),
    "right_heart":   (42,    235,     154,    114,     4),
    "lung_vessel":   (42,    240,     156,    114,     4),
}  # fmt: skip
"""Tissues with blood in them: mean HU by phase, and how far one body may be from it before enhancement.

The middle of what textbooks of abdominal CT and dose-adapted protocols report at 120 kV; a body's own share of the
enhancement is drawn apart.
"""
