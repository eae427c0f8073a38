"""{lesions: report} -> + {lesions: box, organ crop, CT crop}, all on the model grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.core.anatomy import OrganMap
from engine.core.geometry import Box, Grid, Shape3
from engine.core.intensity import AIR_HU
from engine.core.placement import NoRoomError, place_lesions
from engine.core.resample import resample
from engine.core.sample import Crop, Lesion, Sample
from engine.core.seeds import rng_for
from engine.io.reader import CaseReader
from engine.io.volumes import Volume, finite_or_raise, of_file
from engine.run import Run

CONTEXT_VOX = 12
"""Tissue kept around the box for a backend that asks for no fixed crop."""

_MOST_SHRINKS = 3
_SMALLEST_MM = 4.0


def place(sample: Sample, run: Run, reader: CaseReader) -> Sample:
    """One sample in, one out. Raises `PlacementError`, and `VolumeError` for NaN or infinity in the region used."""
    volume = reader.volume(sample.ct_uri)
    organs, _ = reader.organs(sample.organs_uri, volume.grid)
    native, model = volume.grid, volume.grid.model_grid()
    lesions, boxes = _boxes(sample, run, organs, volume, model)

    placed: list[Lesion] = []
    for lesion, box in zip(lesions, boxes, strict=True):
        organ_box = crop_box(box, run.settings.mask.crop_shape, model)
        seen = native_region(organ_box, model, native)
        ids = resample(organs[seen.slices], native.crop(seen), model.crop(organ_box), interpolation="nearest")
        ct_box = crop_box(box, run.settings.paint.crop_shape, model)
        with of_file(sample.ct_uri), np.errstate(invalid="ignore"):  # between infinities there is no number
            hu = finite_or_raise(volume.resampled(model.crop(ct_box), fill=AIR_HU))
        ct = np.clip(np.rint(hu), -32768, 32767).astype(np.int16)
        placed.append(replace(lesion, box=box, organs=Crop(organ_box, ids), ct=Crop(ct_box, ct)))
    return sample.with_lesions(placed)


def _boxes(
    sample: Sample, run: Run, organs: OrganMap, volume: Volume, model: Grid
) -> tuple[Sequence[Lesion], list[Box]]:
    """A box for each lesion. Where there is no room, sizes that the user left open are made smaller and tried again."""
    lesions: Sequence[Lesion] = sample.lesions
    gap_mm = run.settings.lesions.gap_mm
    for smaller in range(_MOST_SHRINKS + 1):
        rngs = [
            rng_for(run.settings.seed, sample.sample_id, lesion.index, sample.attempt, f"place {smaller}")
            for lesion in lesions
        ]
        reports = [lesion.report for lesion in lesions]
        try:
            return lesions, place_lesions(organs, volume.hu, volume.grid, model, reports, rngs, gap_mm)
        except NoRoomError as error:
            if smaller == _MOST_SHRINKS or all(lesion.size_fixed for lesion in lesions):
                raise
            lesions = [lesion if lesion.size_fixed else _shrunk(lesion, error.fits) for lesion in lesions]
    raise ValueError("no attempt was made")


def _shrunk(lesion: Lesion, share: float) -> Lesion:
    s, a, left = (max(_SMALLEST_MM, round(mm * share, 1)) for mm in lesion.report.size_mm)
    return replace(lesion, report=replace(lesion.report, size_mm=(s, a, left)))


def crop_box(box: Box, shape: Shape3 | None, model: Grid) -> Box:
    """The crop around a lesion's box: of a fixed shape (padded beyond the volume), or the box and its context."""
    if shape is None:
        return box.grown(CONTEXT_VOX) & Box.whole(model.shape)
    return Box.window(box.centre, shape, within=model.shape)


def native_region(box: Box, model: Grid, native: Grid) -> Box:
    """The native voxels that a box of the model grid reads."""
    return model.cover(box, native, margin=1)
