"""Preparing and writing one case, beside the conventional way of doing it.

The conventional way is that of the usual pipelines: the whole volume as float64, zoomed to 1 mm, label alike, saved
with nibabel. Both run on the same 512x512x300 int16 .nii.gz, interleaved; medians of ratios are printed.

    python -m benchmarks.preparation [folder]
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813 - as its own documentation has it
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from benchmarks.measure import Cost, cost_of
from engine import chain
from engine.core.geometry import Box
from engine.core.requests import Services
from engine.core.sample import Sample
from engine.io.nifti import encode_label, encode_nifti
from engine.io.reader import CaseReader
from engine.io.storage import open_output
from engine.io.volumes import read_volume
from engine.phantom.body import make_phantom
from engine.procedural.mask import ProceduralMasker
from engine.procedural.paint import ProceduralPainter
from engine.run import Run
from engine.settings import parse_settings

SHAPE, SPACING_MM = (512, 512, 300), (0.78, 0.78, 1.5)
CROP = (128, 128, 128)
REPEATS = 3


def make_case(folder: Path) -> None:
    """A phantom body of a clinical scan's size, padded outside the scanned circle as scanners do; nibabel writes it."""
    phantom = make_phantom(1, shape=SHAPE, spacing_mm=SPACING_MM, orientation="LPS")
    x, y = np.ogrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    hu = np.where((x**2 + y**2 <= 1)[..., None], phantom.hu, np.int16(-1024))
    for name, data in (("ct", hu), ("organs", phantom.organs)):
        image = nib.Nifti1Image(data, phantom.grid.affine)
        image.set_sform(phantom.grid.affine, 1)
        image.set_qform(phantom.grid.affine, 1)
        nib.save(image, folder / f"{name}.nii.gz")


def conventional_sample(folder: Path) -> None:
    """Load as float64, zoom image and label to 1 mm, save both. No lesion is even made."""
    for name, order in (("ct", 1), ("organs", 0)):
        image = nib.load(folder / f"{name}.nii.gz")
        data = ndimage.zoom(image.get_fdata(), SPACING_MM, order=order)
        dtype = np.int16 if name == "ct" else np.uint8
        nib.save(nib.Nifti1Image(data.astype(dtype), np.eye(4)), folder / f"conventional_{name}.nii.gz")


def our_sample(folder: Path) -> None:
    """Read, place, mask, paint, paste back and write image and label on the native grid."""
    run = _run(folder)
    sample = Sample("case-v000", "case", 0, 0, "ct.nii.gz", "organs.nii.gz")
    (row,) = chain.whole([sample], run, CaseReader(run), Services(), ProceduralMasker(), ProceduralPainter())
    if row["status"] != "done":
        raise RuntimeError(row["reason"])


def _run(folder: Path) -> Run:
    settings = parse_settings(
        {
            "output": str(folder / "out"),
            "cases": {"source": str(folder / "ct.nii.gz")},
            "lesions": {"mix": [{"organ": "liver", "lesion_type": "cancer", "size_mm": 25}]},
        }
    )
    return Run(settings, str(folder), open_output(settings.output).fence("benchmark"), code_version="benchmark")


def ratio(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Median CPU seconds of both, and the median of their ratios, taken in turns."""
    return _medians([(_seconds(theirs), _seconds(ours)) for _ in range(repeats)])


def _seconds(function: Callable[[], object]) -> float:
    gc.collect()
    started = time.process_time()
    function()
    return time.process_time() - started


def main(folder: Path) -> None:
    if not (folder / "ct.nii.gz").exists():
        make_case(folder)
    table = Table(title=f"one case of {'x'.join(map(str, SHAPE))} int16 at {SPACING_MM} mm")
    for heading in ("", "conventional", "ours", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("128^3 crop at 1 mm / whole volume zoomed, CPU s", *_cells(*crop_against_zoom(folder)))
    sources = {"the phantom": folder / "ct.nii.gz"}
    if real := real_slices(folder):
        sources["real slices"] = real
    for name, source in sources.items():
        table.add_row(f"writing image and label of {name}, CPU s", *_cells(*writing(folder, source)))
        theirs, ours = ((folder / name).stat().st_size / 1e6 for name in ("nibabel.nii.gz", "ours.nii.gz"))
        table.add_row("size of the image, MB", *_cells(theirs, ours, theirs / ours))
    pairs = [(cost_of(conventional_sample, folder), cost_of(our_sample, folder)) for _ in range(REPEATS)]
    for label, of in (("one sample end to end, CPU s", _cpu), ("one sample end to end, peak MB", _peak)):
        table.add_row(label, *_cells(*_medians([(of(t), of(o)) for t, o in pairs])))
    Console().print(table)


def crop_against_zoom(folder: Path) -> tuple[float, float, float]:
    volume = read_volume(str(folder / "ct.nii.gz"))
    model = volume.grid.model_grid()
    crop = model.crop(Box.around(np.asarray(model.shape) / 2, CROP, within=model.shape))
    hu = np.asarray(nib.load(folder / "ct.nii.gz").dataobj)
    return ratio(lambda: volume.resampled(crop), lambda: ndimage.zoom(hu, SPACING_MM, order=1), REPEATS)


def real_slices(folder: Path) -> Path | None:
    """Three real 512x512 slices as a volume of 300, where there are any: a scanner's noise, and its padding."""
    series = Path(os.environ.get("LESIONFORGE_SHARED", "../shared"), "data/dcmqi_ct3slice/dicom")
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series)) if series.is_dir() else ()
    if not names:
        return None
    slices = sitk.GetArrayFromImage(sitk.ReadImage(names)).T.astype(np.int16)
    nib.save(nib.Nifti1Image(np.tile(slices, (1, 1, SHAPE[2] // 3)), np.eye(4)), folder / "real.nii.gz")
    return folder / "real.nii.gz"


def writing(folder: Path, source: Path) -> tuple[float, float, float]:
    """An image, and a label of it that names bone."""
    volume = read_volume(str(source))
    image = nib.load(source)
    voxels = np.asarray(image.dataobj)
    mask = np.asfortranarray(voxels > 200, np.uint8)
    same, label = nib.Nifti1Image(voxels, image.affine, image.header), nib.Nifti1Image(mask, image.affine)

    def ours() -> None:
        (folder / "ours.nii.gz").write_bytes(encode_nifti(volume.header, volume.raw))
        (folder / "ours_label.nii.gz").write_bytes(encode_label(volume.header, mask))

    def theirs() -> None:
        nib.save(same, folder / "nibabel.nii.gz")
        nib.save(label, folder / "nibabel_label.nii.gz")

    return ratio(ours, theirs, REPEATS)


def _medians(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Of (theirs, ours): both medians, and the median of the ratios."""
    return (
        statistics.median(t for t, _ in pairs),
        statistics.median(o for _, o in pairs),
        statistics.median(t / o for t, o in pairs),
    )


def _cpu(cost: Cost) -> float:
    return cost.cpu_s


def _peak(cost: Cost) -> float:
    return cost.peak_bytes / 1e6


def _cells(theirs: float, ours: float, ratio: float) -> tuple[str, str, str]:
    return f"{theirs:.3g}", f"{ours:.3g}", f"{ratio:.1f}x"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
