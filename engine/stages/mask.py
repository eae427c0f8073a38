"""{lesions: box, organ crop} -> + {lesions: mask}, batched over the lesions of many samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.core.requests import Masker, MaskRequest, Refusal
from engine.core.sample import Crop, Lesion, Sample, Status, given
from engine.core.seeds import seed_for
from engine.core.wire import quantised
from engine.run import Run


def draw_masks(samples: Sequence[Sample], run: Run, masker: Masker) -> list[Sample]:
    """Samples in, the same samples out, in order; a refused lesion ends its sample as `rejected`."""
    sites = [(s, lesion) for s in samples if s.pending for lesion in s.lesions]
    answers = masker([_request(s, lesion, run) for s, lesion in sites])
    drawn: dict[str, list[Lesion]] = {}
    refused: dict[str, str] = {}
    for (sample, lesion), answer in zip(sites, answers, strict=True):
        if isinstance(answer, Refusal):
            refused.setdefault(sample.sample_id, f"lesion {lesion.index}: {answer.reason}")
            continue
        mask = Crop(answer.box, quantised(answer.values))
        backends = {**lesion.backends, "mask": masker.name}
        drawn.setdefault(sample.sample_id, []).append(replace(lesion, mask=mask, backends=backends))
    return [
        s
        if not s.pending
        else s.ended(Status.REJECTED, "mask", refused[s.sample_id])
        if s.sample_id in refused
        else s.with_lesions(drawn[s.sample_id])
        for s in samples
    ]


def _request(sample: Sample, lesion: Lesion, run: Run) -> MaskRequest:
    seed = seed_for(run.settings.seed, sample.sample_id, lesion.index, sample.attempt, "mask")
    return MaskRequest(given(lesion.organs), (lesion.organ_id,), given(lesion.box), lesion.report, seed)
