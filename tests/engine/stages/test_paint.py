"""Painting in turn: lesions of one sample see each other; a sample never sees its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.core.geometry import Box
from engine.core.report import Report
from engine.core.requests import PaintRequest, Refusal
from engine.core.sample import Crop, Lesion, Sample, Status
from engine.io.storage import OutputFolder
from engine.run import Run
from engine.settings import parse_settings
from engine.stages.paint import paint_lesions

REPORT = Report.from_json(
    {
        "organ": "liver", "lesion_type": "cancer", "enhancement_status": "enhanced CT", "shape": "irregular",
        "density": "hyperdense lesion", "density_variations": "homogeneous",
        "surface_characteristics": "ill-defined margin",
        "adjacent_organs": "no close relationship with surrounding organs", "cavity": "within the parenchymal organ",
        "size_mm": 10, "contrast_hu": 40,
    }
)  # fmt: skip


class Doubling:
    """Paints twice what it sees, so that what it saw can be read from the result."""

    name = "doubling"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, requests: Sequence[PaintRequest]) -> list[Crop | Refusal]:
        self.batches.append(len(requests))
        return [
            Refusal("too dark") if (r.ct.values < 0).any() else Crop(r.ct.box, r.ct.values.astype(np.float32) * 2)
            for r in requests
        ]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    settings = parse_settings(
        {"output": str(tmp_path), "cases": {"source": "x"}, "lesions": {"mix": [{"organ": "liver"}]}}
    )
    return Run(settings, "", OutputFolder(str(tmp_path)), code_version="test")


def lesion(index: int, start: int, value: int) -> Lesion:
    crop = Box((start, 0, 0), (start + 20, 20, 20))
    inner = Box((start + 8, 8, 8), (start + 12, 12, 12))
    return Lesion(
        index=index,
        report=REPORT,
        organ_id=5,
        box=inner,
        organs=Crop(crop, np.full(crop.shape, 5, np.uint8)),
        ct=Crop(crop, np.full(crop.shape, value, np.int16)),
        mask=Crop(inner, np.ones(inner.shape, np.float32)),
    )


def sample(name: str, *lesions: Lesion) -> Sample:
    return Sample(f"{name}-v000", name, 0, 0, "ct", lesions=lesions)


def test_a_later_lesion_sees_the_earlier_one(run: Run) -> None:
    painter = Doubling()
    (done,) = paint_lesions([sample("a", lesion(0, 0, 100), lesion(1, 6, 100))], run, painter)
    first, second = (item.delta for item in done.lesions)
    assert painter.batches == [1, 1]
    assert set(np.unique(first.values)) == {100}
    overlap = first.box & second.box
    seen = second.cut(overlap)
    assert set(np.unique(seen)) == {200}, "where the first has painted, the second found 200 HU and added as much"
    assert set(np.unique(second.values)) == {100, 200}
    assert all(item.ct is None and item.organs is None for item in done.lesions)


def test_batches_run_across_samples_and_change_nothing(run: Run) -> None:
    samples = [sample("a", lesion(0, 0, 50), lesion(1, 40, 60)), sample("b", lesion(0, 0, 70))]
    painter = Doubling()
    together = paint_lesions(samples, run, painter)
    assert painter.batches == [2, 1]
    alone = [paint_lesions([s], run, Doubling())[0] for s in samples]
    for a, b in zip(together, alone, strict=True):
        for x, y in zip(a.lesions, b.lesions, strict=True):
            np.testing.assert_array_equal(x.delta.values, y.delta.values)


def test_a_refusal_ends_its_own_sample(run: Run) -> None:
    dark, light = paint_lesions([sample("dark", lesion(0, 0, -5)), sample("light", lesion(0, 0, 5))], run, Doubling())
    assert (dark.status, dark.stage, dark.reason) == (Status.REJECTED, "paint", "lesion 0: too dark")
    assert light.pending


class Overflowing(Doubling):
    """A network whose numbers ran over somewhere."""

    def __call__(self, requests: Sequence[PaintRequest]) -> list[Crop | Refusal]:
        answers = super().__call__(requests)
        for answer in answers:
            if isinstance(answer, Crop):
                answer.values[3, 4, 5:7] = np.nan, np.inf
        return answers


def test_paint_that_is_not_finite_is_refused(run: Run) -> None:
    (done,) = paint_lesions([sample("a", lesion(0, 0, 50))], run, Overflowing())
    assert (done.status, done.stage) == (Status.REJECTED, "paint")
    assert done.reason == "lesion 0: painted HU are not finite at 2 of 8000 voxels"
