"""{lesions: mask, delta} -> + {native lesions, measures}: paste into the native grid, and hold it to its gates.

Pasting happens here, on boxes cut from the source, because the gates judge what will really be written: rounded native
values. Nothing is written yet, so a miss costs no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.core.gates import GateMiss, check_lesion
from engine.core.geometry import Box
from engine.core.paste import NativeLesion, surround_of, to_native
from engine.core.sample import Lesion, Sample, given
from engine.io.reader import CaseReader
from engine.io.volumes import Volume
from engine.run import Run


@dataclass(frozen=True)
class Pasted:
    """One lesion on the native grid: where, which voxels, what they become, and what was measured of it.

    `raw` holds on-disk values for `native.box`, earlier lesions of the sample included.
    """

    lesion: Lesion
    native: NativeLesion
    raw: NDArray[np.generic]
    centroid_mm: tuple[float, float, float]
    volume_mm3: float
    mean_hu: float
    surround_hu: float
    shift_hu: float


def paste_and_check(sample: Sample, run: Run, reader: CaseReader) -> tuple[Pasted, ...]:
    """Every lesion of a sample, pasted in turn. Raises `GateMiss` with the measured value that failed."""
    volume = reader.volume(sample.ct_uri)
    organs, _ = reader.organs(sample.organs_uri, volume.grid)
    model = volume.grid.model_grid()
    done: list[Pasted] = []
    for lesion in sample.lesions:
        native = to_native(given(lesion.mask), given(lesion.delta), model, volume.grid, run.settings.blend.margin_mm)
        before = current_raw(volume, native.box, done)
        pasted = _paste(lesion, native, before, volume, done)
        source = volume.raw[native.box.slices]
        reason = check_lesion(
            native,
            lesion.report,
            volume.grid,
            shift_hu=pasted.shift_hu,
            changed_voxels=int(np.count_nonzero((pasted.raw != source)[native.label])),
            organ=organs[native.box.slices] == lesion.organ_id,
            others=[p.native for p in done],
            min_voxels=run.settings.check.min_voxels,
        )
        if reason:
            raise GateMiss(f"lesion {lesion.index}: {reason}")
        done.append(pasted)
    return tuple(done)


def current_raw(volume: Volume, box: Box, done: Sequence[Pasted]) -> NDArray[np.generic]:
    """On-disk values of a box with the lesions pasted so far (a copy)."""
    raw = volume.raw[box.slices].copy()
    for earlier in done:
        shared = box & earlier.native.box
        if shared.voxels:
            raw[shared.relative_to(box).slices] = earlier.raw[shared.relative_to(earlier.native.box).slices]
    return raw


def _paste(
    lesion: Lesion, native: NativeLesion, before: NDArray[np.generic], volume: Volume, done: Sequence[Pasted]
) -> Pasted:
    change = native.change_hu
    before_hu = volume.to_hu(before)
    touched = change != 0
    raw = before.copy()
    raw[touched] = volume.to_raw(before_hu[touched] + change[touched])
    after_hu = volume.to_hu(raw)
    inside = native.label
    index = np.argwhere(inside) + native.box.start
    x, y, z = volume.grid.to_world(index.mean(axis=0)) if len(index) else (np.nan,) * 3
    source_hu = volume.hu(native.box)
    return Pasted(
        lesion=lesion,
        native=native,
        raw=raw,
        centroid_mm=(float(x), float(y), float(z)),
        volume_mm3=float(inside.sum() * volume.grid.voxel_mm3),
        mean_hu=_mean(after_hu[inside]),
        surround_hu=surround_of(native, volume.hu, volume.grid, [p.native for p in done]),
        shift_hu=_mean(after_hu[inside]) - _mean(source_hu[inside]),
    )


def _mean(values: NDArray[np.floating]) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
