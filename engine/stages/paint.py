"""{lesions: mask, CT crop} -> + {lesions: delta} - {lesions: organ crop, CT crop}.

Lesions of one sample are painted in turn, each seeing what was painted before it; batches run across samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.core.geometry import MODEL_SPACING_MM
from engine.core.requests import Painter, PaintRequest, Refusal
from engine.core.sample import Crop, Lesion, Sample, Status, given
from engine.core.seeds import seed_for
from engine.run import Run


def paint_lesions(samples: Sequence[Sample], run: Run, painter: Painter) -> list[Sample]:
    """Samples in, the same samples out, in order; a refused lesion ends its sample as `rejected`."""
    current = {s.sample_id: s for s in samples}
    turns = max((len(s.lesions) for s in samples if s.pending), default=0)
    for turn in range(turns):
        sites = [(s, s.lesions[turn]) for s in current.values() if s.pending and turn < len(s.lesions)]
        answers = painter([_request(s, lesion, run) for s, lesion in sites])
        for (sample, lesion), answer in zip(sites, answers, strict=True):
            answer = _finite(answer)
            if isinstance(answer, Refusal):
                reason = f"lesion {lesion.index}: {answer.reason}"
                current[sample.sample_id] = sample.ended(Status.REJECTED, "paint", reason)
                continue
            backends = {**lesion.backends, "paint": painter.name}
            painted = replace(lesion, delta=_delta(lesion, answer, run), backends=backends)
            lesions = (
                *sample.lesions[:turn],
                painted,
                *(_seen(later, painted) for later in sample.lesions[turn + 1 :]),
            )
            current[sample.sample_id] = sample.with_lesions(lesions)
    return [_without_crops(current[s.sample_id]) for s in samples]


def _finite(answer: Crop | Refusal) -> Crop | Refusal:
    """A network that overflows must not end as whatever NaN is cast to."""
    if isinstance(answer, Refusal) or (finite := np.isfinite(answer.values)).all():
        return answer
    bad = finite.size - int(np.count_nonzero(finite))
    return Refusal(f"painted HU are not finite at {bad} of {finite.size} voxels")


def _request(sample: Sample, lesion: Lesion, run: Run) -> PaintRequest:
    ct, organs = given(lesion.ct), given(lesion.organs)
    organ = Crop(organs.box, organs.values == lesion.organ_id).onto(ct.box)
    seed = seed_for(run.settings.seed, sample.sample_id, lesion.index, sample.attempt, "paint")
    return PaintRequest(ct, organ, lesion.organ_id, given(lesion.mask), lesion.report, seed)


def _delta(lesion: Lesion, painted: Crop, run: Run) -> Crop:
    """What was added, cut to the lesion and its margin: all that pasting needs."""
    ct, mask = given(lesion.ct), given(lesion.mask)
    reach = math.ceil(run.settings.blend.margin_mm / MODEL_SPACING_MM) + 1
    box = mask.box.grown(reach) & ct.box
    change = painted.cut(box).astype(np.float32) - ct.cut(box).astype(np.float32)
    return Crop(box, np.clip(np.rint(change), -32768, 32767).astype(np.int16))


def _seen(later: Lesion, painted: Lesion) -> Lesion:
    """A lesion still to be painted, its CT crop showing the one just painted."""
    ct, delta = given(later.ct), given(painted.delta)
    shared = ct.box & delta.box
    if not shared.voxels:
        return later
    values = ct.values.copy()
    values[shared.relative_to(ct.box).slices] += delta.cut(shared)
    return replace(later, ct=Crop(ct.box, values))


def _without_crops(sample: Sample) -> Sample:
    return sample.with_lesions([replace(lesion, organs=None, ct=None) for lesion in sample.lesions])
