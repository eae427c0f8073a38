"""{lesions: mask, delta} -> + {native lesions, measures}: paste into the native grid, and hold it to its gates.

Pasting happens here, on boxes cut from the source, because the gates judge what will really be written: rounded native
values. Nothing is written yet, so a miss costs no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.core.anatomy import OrganMap
from engine.core.contrast_gates import finite
from engine.core.finished import Finished
from engine.core.gates import GateMiss, check_lesion
from engine.core.geometry import Box
from engine.core.paste import NativeLesion, surround_of, to_native
from engine.core.sample import Lesion, Sample, given
from engine.io.reader import CaseReader
from engine.io.volumes import Volume
from engine.run import Run

_AROUND_MM = 4.0
"""Of tissue seen by the gates beyond all that may change."""


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
    model, limits = volume.grid.model_grid(), run.settings.check.limits
    done: list[Pasted] = []
    for lesion in sample.lesions:
        with np.errstate(invalid="ignore"):  # NaN and infinity are the first gate's
            native = to_native(
                given(lesion.mask), given(lesion.delta), model, volume.grid, run.settings.blend.margin_mm
            )
        _hold(lesion, finite(native))
        pasted = _paste(lesion, native, current_raw(volume, native.box, done), volume, done)
        finished = _finished(pasted, volume, organs, run, done)
        _hold(lesion, check_lesion(finished, limits, [p.native for p in done]))
        done.append(pasted)
    return tuple(done)


def _hold(lesion: Lesion, reason: str | None) -> None:
    if reason:
        raise GateMiss(f"lesion {lesion.index}: {reason}")


def current_raw(volume: Volume, box: Box, done: Sequence[Pasted]) -> NDArray[np.generic]:
    """On-disk values of a box with the lesions pasted so far (a copy)."""
    raw = volume.raw[box.slices].copy()
    for earlier in done:
        shared = box & earlier.native.box
        if shared.voxels:
            raw[shared.relative_to(box).slices] = earlier.raw[shared.relative_to(earlier.native.box).slices]
    return raw


def _finished(pasted: Pasted, volume: Volume, organs: OrganMap, run: Run, done: Sequence[Pasted]) -> Finished:
    """What the gates are told: the lesion, and the tissue a few millimetres around it."""
    grid, native = volume.grid, pasted.native
    frame = native.box.grown([int(n) for n in np.ceil(_AROUND_MM / grid.spacing_mm)]) & Box.whole(grid.shape)
    before = volume.to_hu(current_raw(volume, frame, done))
    after = before.copy()
    after[native.box.relative_to(frame).slices] = volume.to_hu(pasted.raw)
    return Finished(
        lesion=native,
        report=pasted.lesion.report,
        native=grid,
        margin_mm=run.settings.blend.margin_mm,
        frame=frame,
        before_hu=before,
        after_hu=after,
        organs=organs[frame.slices],
        organ_id=pasted.lesion.organ_id,
        placed=grid.model_grid().cover(given(pasted.lesion.box), grid),
    )


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
