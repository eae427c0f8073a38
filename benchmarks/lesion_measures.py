"""What a lesion is like, measured from the files of a run by SimpleITK, scikit-image and scipy, not by the engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import SimpleITK as sitk  # noqa: N813 - as its own documentation has it
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

Array = NDArray[Any]

WALL_SHAPES = {"irregular wall thickening", "luminal narrowing"}
CORE_VOXELS = 20
"""Fewest voxels farther than 1.5 mm from the surface in which evenness is judged."""
WALL_SHARE = 0.4
"""Of the ellipsoid of its extents that a thickened wall is asked to fill."""


@dataclass(frozen=True)
class Measured:
    """One lesion beside its report. `in_organ` is a share of its voxels, `off_wall_mm` counts from the organ's edge."""

    name: str
    report: Mapping[str, Any]
    spacing_mm: tuple[float, float, float]
    voxels: int
    volume_mm3: float
    asked_mm3: float
    shift_hu: float
    in_organ: float
    off_wall_mm: float
    sphericity: float
    edge_mm: float
    unevenness_hu: float

    @property
    def slice_mm(self) -> float:
        return round(max(self.spacing_mm), 1)

    @property
    def volume_ratio(self) -> float:
        return self.volume_mm3 / self.asked_mm3

    @property
    def placed(self) -> bool:
        """Where the report's cavity says."""
        match self.report["cavity"]:
            case "within the parenchymal organ":
                return self.in_organ >= 0.95
            case "protruding from the parenchymal organ":
                return 0.2 <= self.in_organ <= 0.9
            case "within the lumen of a hollow organ":
                return self.in_organ >= 0.95
            case _:
                return self.in_organ >= 0.9 and self.off_wall_mm <= 1.5 * max(self.spacing_mm)


def manifest(run: Path) -> list[dict[str, Any]]:
    """Every row of a complete run."""
    files = sorted((run / "manifest").glob("shard-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def read(path: Path) -> tuple[Array, Array]:
    """Values and spacing (mm) of a NIfTI file."""
    image = nib.Nifti1Image.from_filename(path)
    return image.get_fdata(dtype=np.float32), np.linalg.norm(image.affine[:3, :3], axis=0)


def measured(run: Path, sources: Path, organ_ids: Mapping[str, int]) -> Iterator[Measured]:
    """Every lesion of a run's done samples; `organ_ids` are those of the sources' organ maps."""
    (dataset,) = (run / "nnUNet_raw").iterdir()
    for row in manifest(run):
        if row["status"] != "done":
            continue
        before, spacing = read(sources / row["source_uri"])
        after, _ = read(dataset / row["image_uri"])
        lesions, ids = read(dataset / row["label_uri"])[0] == 2, read(sources / row["organs_uri"])[0]
        for lesion in row["lesions"]:
            report = json.loads(lesion["report"])
            low, high = np.array(lesion["box"][:3]), np.array(lesion["box"][3:])
            reach = np.ceil(12 / spacing).astype(int)
            window = tuple(
                slice(max(a - r, 0), min(b + r, n)) for a, b, r, n in zip(low, high, reach, lesions.shape, strict=True)
            )
            own = np.zeros(lesions.shape, bool)
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            own[box] = lesions[box]
            yield _one(
                f"{row['sample_id']}/{lesion['index']}",
                report,
                spacing,
                own[window],
                before[window],
                after[window],
                ids[window] == organ_ids[report["organ"]],
            )


def _one(
    name: str,
    report: Mapping[str, Any],
    spacing: Array,
    own: Array,
    before: Array,
    after: Array,
    organ: Array,
) -> Measured:
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(_image(own, spacing))
    distance = signed_distance(own, spacing)
    change = after - before
    asked = np.pi / 6 * float(np.prod(report["size_mm"]))
    if report["cavity"] == "wall thickening" and WALL_SHAPES & set(report["shape"]):
        asked *= WALL_SHARE
    return Measured(
        name,
        report,
        tuple(spacing),
        int(own.sum()),
        shape.GetPhysicalSize(1),
        asked,
        float(change[own].mean()),
        float(organ[own].mean()),
        float(-signed_distance(organ, spacing)[own].max()) if organ.any() and not organ.all() else np.inf,
        sphericity(own, spacing),
        edge_width_mm(before, after, own, organ, spacing),
        unevenness_hu(after, distance),
    )


def _image(mask: Array, spacing: Array) -> sitk.Image:
    image = sitk.GetImageFromArray(mask.transpose(2, 1, 0).astype(np.uint8))
    image.SetSpacing([float(s) for s in spacing])
    return image


def signed_distance(mask: Array, spacing: Array) -> Array:
    """Millimetres from the mask's surface, negative inside."""
    image = sitk.SignedMaurerDistanceMap(_image(mask, spacing), squaredDistance=False, useImageSpacing=True)
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)


def sphericity(mask: Array, spacing: Array) -> float:
    """1 for a ball (Wadell 1935), of the lightly smoothed surface, so that voxels do not count as roughness."""
    soft = sitk.SmoothingRecursiveGaussian(
        sitk.Cast(_image(np.pad(mask, 3), spacing), sitk.sitkFloat32), [0.5 * float(s) for s in spacing]
    )
    values = sitk.GetArrayFromImage(soft).transpose(2, 1, 0)
    if values.max() <= 0.5:
        return float("nan")
    corners, faces, _, _ = marching_cubes(values, 0.5, spacing=tuple(spacing))  # type: ignore[no-untyped-call]
    a, b, c = (corners[faces[:, i]] for i in range(3))
    volume = abs(float((a * np.cross(b, c)).sum()) / 6)
    area = mesh_surface_area(corners, faces)  # type: ignore[no-untyped-call]
    return float(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area)


def edge_width_mm(before: Array, after: Array, own: Array, organ: Array, spacing: Array) -> float:
    """Width (mm) of the step at the surface: its height over its steepness there; nan for a lesion without a core.

    The share to which tissue has turned into lesion is fitted in three layers of voxels: the lesion's outermost, the
    one below it, and the one outside it (in the organ). The old tissue is smoothed, so that its noise does not count.
    """
    below = ndimage.binary_erosion(own)
    border, outside = own & ~below, ndimage.binary_dilation(own) & ~own & organ
    below &= ~ndimage.binary_erosion(below, iterations=2)
    if below.sum() < 3 or outside.sum() < 3:
        return float("nan")
    step, change = float(after[below].mean()) - ndimage.gaussian_filter(before, 1.0), after - before
    inner, edge, outer = (
        float((change[at] * step[at]).sum() / (step[at] ** 2).sum()) for at in (below, border, outside)
    )
    faces = [np.count_nonzero(np.diff(np.pad(own, 1).astype(np.int8), axis=axis)) for axis in range(3)]
    apart = float((spacing * faces).sum() / sum(faces))
    return apart * inner / max(edge - outer, 0.05)


def unevenness_hu(after: Array, distance: Array) -> float:
    """Standard deviation of lightly smoothed HU in the lesion's core; not a number where that is too small to tell."""
    core = distance < -1.5
    if core.sum() < CORE_VOXELS:
        return float("nan")
    weight = ndimage.gaussian_filter(core.astype(np.float32), 1.0)
    smooth = ndimage.gaussian_filter(np.where(core, after, 0), 1.0) / np.maximum(weight, 1e-6)
    return float(smooth[core].std())


def auc(low: Sequence[tuple[float, float]], high: Sequence[tuple[float, float]]) -> float:
    """Chance that a value of `high` exceeds one of `low` (Mann-Whitney), over pairs of the same stratum.

    Values come as (stratum, value): an edge is never narrower than voxels are, so like is compared with like.
    """
    pairs = [(a, b) for stratum, a in low for other, b in high if stratum == other]
    return float(np.mean([(a < b) + 0.5 * (a == b) for a, b in pairs]))
