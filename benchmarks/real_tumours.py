"""Procedural lesions beside real tumours: two sarcomas of the limb, and ours painted into the same two CT volumes.

python -m benchmarks.real_tumours PICTURE.png [--shared FOLDER]

Ours lie in soft tissue away from the tumour, asked for with the real tumour's mean HU and, where there is room, its
size. Everything is measured on the finished image alone, in the same way for both.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from benchmarks.lesion_measures import Array, read, signed_distance, sphericity
from engine.core.anatomy import V1_IDS
from jobs.generate import generate

CASES = ("STS_002", "STS_033")
HOST = "gluteus_maximus_left"
VARIANTS = 3
MOST_MM = 45.0
"""Longest side of ours: there is no room for a ball of ten centimetres beside the real one."""
SOFT_HU, MARGIN_MM, PIXELS = (-150.0, 150.0), 6.0, 300
WINDOW_HU = (-160.0, 240.0)


@dataclass(frozen=True)
class Looks:
    """One lesion in one finished volume."""

    name: str
    hu: Array
    mask: NDArray[np.bool_]
    spacing: Array

    @property
    def volume_ml(self) -> float:
        return float(self.mask.sum() * self.spacing.prod() / 1000)

    @property
    def sphericity(self) -> float:
        return sphericity(self.mask[_around(self.mask, 4)], self.spacing)

    @property
    def contrast_hu(self) -> float:
        """Mean over the lesion, less the mean of the soft tissue within 5 mm of it."""
        distance = self._distance
        shell = (distance > 0) & (distance <= 5) & (np.abs(self.hu) < SOFT_HU[1])
        return float(self.hu[self.mask].mean() - self.hu[shell].mean())

    @property
    def edge_mm(self) -> float:
        """Height of the mean profile across the surface over its steepest slope, soft tissue alone."""
        distance, soft = self._distance, np.abs(self.hu) < SOFT_HU[1]
        middles = np.arange(-7.5, 7.6, 1.0)
        profile = np.array([self.hu[soft & (np.abs(distance - m) <= 0.75)].mean() for m in middles])
        height = abs(profile[:4].mean() - profile[-4:].mean())
        return float(height / np.abs(np.gradient(profile, 1.0)).max())

    @property
    def spread_hu(self) -> float:
        return float(self.hu[self._core].std())

    def autocorrelation(self, lag_mm: float) -> float:
        """Of HU in the core, in plane, at a lag."""
        core, lag = self._core, max(1, round(lag_mm / float(self.spacing[0])))
        values = np.where(core, self.hu - self.hu[core].mean(), 0)
        pairs = [(values[lag:], values[:-lag], core[lag:] & core[:-lag])]
        pairs.append((values[:, lag:], values[:, :-lag], core[:, lag:] & core[:, :-lag]))
        return float(np.mean([(a[both] * b[both]).mean() for a, b, both in pairs]) / values[core].var())

    @property
    def _distance(self) -> Array:
        return signed_distance(self.mask, self.spacing)

    @property
    def _core(self) -> NDArray[np.bool_]:
        return np.asarray(self._distance < -4)


def real(folder: Path) -> Looks:
    hu, spacing = read(folder / "CT_image.nii.gz")
    return Looks(f"{folder.name}, real", hu, read(folder / "CT_mask.nii.gz")[0] > 0, spacing)


def ours(tumour: Looks, source: Path, folder: Path) -> list[Looks]:
    """Lesions of the tumour's mean HU, even and well-defined as both tumours are, by the whole engine."""
    case = source.name
    _save_host(tumour, source, folder / f"{case}.nii.gz")
    extent = np.array(tumour.mask.nonzero()).T
    longest = (extent.max(axis=0) + 1 - extent.min(axis=0)) * tumour.spacing
    size = [float(mm) for mm in np.minimum(longest, MOST_MM)[::-1]]  # S, A, L
    wanted = {
        "organ": HOST, "lesion_type": "cancer", "shape": "round-like", "density": "mixed-density lesion",
        "density_variations": "homogeneous", "surface_characteristics": "well-defined margin",
        "cavity": "within the parenchymal organ", "size_mm": size, "ct_value_hu": float(tumour.hu[tumour.mask].mean()),
    }  # fmt: skip
    row = {"case_id": case, "ct": str(source / "CT_image.nii.gz"), "organs": f"{case}.nii.gz", "lesions": [wanted]}
    (folder / f"{case}.jsonl").write_text(json.dumps(row) + "\n")
    settings = {
        "output": str(folder / case),
        "seed": 5,
        "cases": {"source": str(folder / f"{case}.jsonl"), "variants_per_case": VARIANTS},
        "write": {"preview": 0},
    }
    (folder / f"{case}.yaml").write_text(yaml.safe_dump(settings))
    generate(str(folder / f"{case}.yaml"))
    found = []
    for number, image in enumerate(sorted((folder / case).glob("nnUNet_raw/*/shard-*/*_0000.nii.gz"))):
        label = image.with_name(image.name.replace("_0000", ""))
        found.append(Looks(f"{case}, ours {number + 1}", read(image)[0], read(label)[0] == 2, tumour.spacing))
    return found


def _save_host(tumour: Looks, source: Path, path: Path) -> None:
    """Soft tissue away from the tumour, bone and air, as the organ to paint in."""
    smooth = ndimage.gaussian_filter(tumour.hu, 1.0)
    host = (smooth > SOFT_HU[0]) & (smooth < SOFT_HU[1])
    host &= signed_distance(tumour.mask, tumour.spacing) > 2 * MARGIN_MM
    host = signed_distance(host, tumour.spacing) < -2.0
    affine = nib.Nifti1Image.from_filename(source / "CT_image.nii.gz").affine
    nib.save(nib.Nifti1Image(host.astype(np.uint8) * np.uint8(V1_IDS[HOST]), affine), path)


def _around(mask: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    (found,) = ndimage.find_objects(mask.astype(np.int8))
    return tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in found)


def picture(shown: Sequence[Looks]) -> Image.Image:
    """The largest axial cross-section of each, plain above, outlined below."""
    sheet = Image.new("RGB", (PIXELS * len(shown), 2 * PIXELS))
    for column, looks in enumerate(shown):
        k = int(looks.mask.sum(axis=(0, 1)).argmax())
        grey = np.clip((looks.hu[..., k] - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]) * 255, 0, 255)
        rgb = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
        inside = looks.mask[..., k]
        outlined = rgb.copy()
        outlined[inside & ~ndimage.binary_erosion(inside)] = (255, 196, 0)
        middle = np.array(ndimage.center_of_mass(inside)).astype(int)
        for row, values in enumerate((rgb, outlined)):
            window = tuple(slice(max(m - 50, 0), m + 50) for m in middle)
            tile = Image.fromarray(values[window].transpose(1, 0, 2)).resize((PIXELS, PIXELS))
            sheet.paste(tile, (column * PIXELS, row * PIXELS))
        ImageDraw.Draw(sheet).text((column * PIXELS + 6, 4), looks.name, fill=(255, 255, 255))
    return sheet


def show(all_looks: Sequence[Looks]) -> None:
    headings = ("", "ml", "sphericity", "edge mm", "contrast HU", "spread HU", "autocorr. 2 mm", "4 mm", "8 mm")
    table = Table(*headings)
    for looks in all_looks:
        cells: list[Any] = [looks.volume_ml, looks.sphericity, looks.edge_mm, looks.contrast_hu, looks.spread_hu]
        cells += [looks.autocorrelation(mm) for mm in (2.0, 4.0, 8.0)]
        table.add_row(looks.name, *(f"{c:.3g}" for c in cells))
    Console(width=130).print(table)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("picture", type=Path)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("LESIONFORGE_SHARED", "../shared")))
    asked = parser.parse_args()
    data = (asked.shared / "data").resolve()
    found: list[Looks] = []
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            tumour = real(data / case)
            found += [tumour, *ours(tumour, data / case, Path(scratch))]
    show(found)
    picture(found).save(asked.picture)


if __name__ == "__main__":
    main()
