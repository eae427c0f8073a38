"""Cases with a lesion of known place and HU, as a training is given them."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from engine.training.crop import LesionCrop
from engine.training.known import KnownLesion
from made_cases import LIVER, SPACING, body, save

AFFINE = np.diag([-SPACING[0], SPACING[1], SPACING[2], 1.0])
LARGE, SMALL = (slice(18, 26), slice(30, 38), slice(26, 32)), (slice(18, 21), slice(30, 33), slice(20, 22))
"""Two lesions in the liver, a gap of four slices between them."""
LESION_HU = -20
REPORT: dict[str, Any] = {
    "organ": "liver",
    "lesion_type": "cyst",
    "enhancement_status": "enhanced CT",
    "shape": ["round-like"],
    "density": "hypodense lesion",
    "density_variations": "homogeneous",
    "surface_characteristics": "well-defined margin",
    "adjacent_organs": "no close relationship with surrounding organs",
    "specific_features": [],
    "cavity": "within the parenchymal organ",
    "size_mm": [18, 16, 16],
    "contrast_hu": -80,
}
TYPE_JSON = {
    "5": [
        "x",
        "",
        {
            "enhancement status": "enhanced CT,",
            "lesion location": "5",
            "shape": "round-like,",
            "size": "[[16 16 18]] pixel,",
            "density": "low density lesion,",
            "density variations": "homogeneous,",
            "CT value": "Mean density of the lesion region is approximately -20 HU,",
            "surface characteristics": "well-defined margin,",
            "relationship with adjacent organs": "close relationship with adjacent organs,",
            "specific features": "",
        },
        [[[9, 9, 9]], [[16, 16, 18]]],
    ]
}


@dataclass(frozen=True)
class KnownCases:
    """Cases in a folder, each with `ct`, `organs`, `label` (.nii.gz) and `type.json` in a folder of its own."""

    folder: Path

    def add(self, case_id: str, *, seed: int = 0, affine: np.ndarray = AFFINE) -> Path:
        folder = self.folder / case_id
        folder.mkdir()
        hu, organs = body(seed)
        label = (organs == LIVER).astype(np.uint8)
        for lesion in (LARGE, SMALL):
            hu[lesion], label[lesion] = LESION_HU, 2
        save(folder / "ct.nii.gz", hu.astype(np.int16), affine)
        save(folder / "organs.nii.gz", organs, affine)
        save(folder / "label.nii.gz", label, affine)
        (folder / "type.json").write_text(json.dumps(TYPE_JSON))
        return folder

    def lesion(self, case_id: str, **other: Any) -> KnownLesion:
        """The case's largest lesion, with our form of a report; `other` fields as given."""
        folder = self.folder / case_id
        usual = {
            "image_uri": str(folder / "ct.nii.gz"),
            "label_uri": str(folder / "label.nii.gz"),
            "organs_uri": str(folder / "organs.nii.gz"),
            "report": json.dumps(REPORT),
        }
        return KnownLesion(case_id, 0, **(usual | other))

    def lists(self, *case_ids: str) -> dict[str, str]:
        """The setting `data.lists` over these cases."""
        names = {"image": "ct.nii.gz", "label": "label.nii.gz", "organs": "organs.nii.gz", "report": "type.json"}
        for kind, name in names.items():
            (self.folder / f"{kind}.txt").write_text("".join(f"{case_id}/{name}\n" for case_id in case_ids))
        return {kind: str(self.folder / f"{kind}.txt") for kind in names}


def same_crop(a: LesionCrop, b: LesionCrop) -> bool:
    """Bit for bit."""
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(LesionCrop))
