"""Painted lesions in one process, without Ray: what the gates are tried on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from engine import chain
from engine.core.anatomy import v2_to_v1
from engine.core.requests import Services
from engine.core.sample import Crop, Lesion, Sample, sample_id_of
from engine.io.reader import CaseReader
from engine.io.storage import OutputFolder
from engine.phantom.body import make_phantom
from engine.procedural.mask import ProceduralMasker
from engine.procedural.paint import ProceduralPainter
from engine.run import Run
from engine.settings import parse_settings

ORGANS = (
    "liver", "spleen", "kidney_left", "kidney_right", "pancreas", "gallbladder", "stomach", "colon", "urinary_bladder",
    "esophagus", "lung_lower_lobe_left", "lung_lower_lobe_right", "vertebrae_L1",
)  # fmt: skip
"""Taken in turn, so that each is met on every case."""


@dataclass(frozen=True, eq=False)
class Painted:
    """A sample of one lesion as it comes to `check`, and the organ ids and HU around its site (1 mm crops)."""

    sample: Sample
    run: Run
    reader: CaseReader
    organs: Crop
    ct: Crop

    @property
    def lesion(self) -> Lesion:
        return self.sample.lesions[0]


def save_phantom(
    folder: Path, seed: int, shape: tuple[int, int, int], spacing_mm: Sequence[float]
) -> Mapping[str, Any]:
    """A body's volumes; returns its row of a case list, with paths from the folder's parent."""
    phantom = make_phantom(seed, shape=shape, spacing_mm=spacing_mm)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("ct", phantom.hu), ("organs", phantom.organs)):
        nib.save(nib.Nifti1Image(data, phantom.grid.affine), folder / f"{name}.nii.gz")
    return {"case_id": folder.name, "ct": f"{folder.name}/ct.nii.gz", "organs": f"{folder.name}/organs.nii.gz"}


def save_abdomen(folder: Path, data: Path) -> Mapping[str, Any]:
    """The real abdomen of the shared data, its organ map in version 1 ids."""
    labels = nib.Nifti1Image.from_filename(data / "ts_abdomen" / "labels.nii.gz")
    folder.mkdir(parents=True, exist_ok=True)
    ids = v2_to_v1()[np.asarray(labels.dataobj).astype(np.uint8)]
    nib.save(nib.Nifti1Image(ids, labels.affine), folder / "organs.nii.gz")
    ct = str((data / "ts_abdomen" / "ct.nii.gz").resolve())
    return {"case_id": folder.name, "ct": ct, "organs": f"{folder.name}/organs.nii.gz"}


def run_in(folder: Path, **sections: Any) -> Run:
    """Settings of a run whose cases lie in a folder; nothing is ever written."""
    settings = parse_settings({"output": str(folder / "out"), "seed": 5, "cases": {"source": "unread"}, **sections})
    return Run(settings, str(folder), OutputFolder(str(folder / "out")), code_version="gates")


def paint(case: Mapping[str, Any], run: Run, variants: Sequence[int]) -> Iterator[Painted]:
    """Lesions of one case, one a sample, an organ after the other; those that end before `check` are left out."""
    reader, masker, painter = CaseReader(run), ProceduralMasker(), ProceduralPainter()
    for variant in variants:
        wanted = json.dumps([{"organ": ORGANS[variant % len(ORGANS)]}])
        name = sample_id_of(case["case_id"], variant)
        listed = Sample(name, case["case_id"], variant, variant, case["ct"], case["organs"], wanted)
        placed = chain.prepare(listed, run, reader, Services())
        (painted,) = chain.paint(chain.mask([placed], run, masker), run, painter)
        if painted.pending:
            (site,) = placed.lesions
            assert site.organs is not None
            assert site.ct is not None
            yield Painted(painted, run, reader, site.organs, site.ct)
