"""Samples keep every bit on their way between processes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.core import wire
from engine.core.geometry import Box, Grid
from engine.core.report import Report
from engine.core.sample import Crop, Lesion, Sample, Source, Status

REPORT = Report.from_json(
    {
        "organ": "liver",
        "lesion_type": "cyst",
        "enhancement_status": "enhanced CT",
        "shape": "round-like",
        "density": "hypodense lesion",
        "density_variations": "homogeneous",
        "surface_characteristics": "well-defined margin",
        "adjacent_organs": "no close relationship with surrounding organs",
        "cavity": "within the parenchymal organ",
        "size_mm": 12,
        "contrast_hu": -30,
        "free_text": "seen once",
    }
)


def sample() -> Sample:
    rng = np.random.default_rng(0)
    box = Box((3, -2, 5), (10, 6, 9))
    inner = Box((4, 0, 6), (8, 4, 8))
    lesion = Lesion(
        index=1,
        report=REPORT,
        seed=2**62 + 1,
        organ_id=5,
        box=inner,
        organs=Crop(box, rng.integers(0, 105, box.shape).astype(np.uint8)),
        ct=Crop(box, rng.integers(-1024, 3071, box.shape).astype(np.int16)),
        mask=Crop(inner, wire.quantised(rng.random(inner.shape))),
        delta=Crop(inner, rng.integers(-500, 500, inner.shape).astype(np.int16)),
        backends={"mask": "procedural"},
    )
    grid = Grid((20, 21, 22), np.array([[-0.7, 0.1, 0, 5], [0.1, 0.7, 0, -3.3], [0, 0, 2.5, 1e-3], [0, 0, 0, 1]]))
    return Sample(
        "a-v001", "a", 1, 7, "a/ct.nii.gz", "a/organs.nii.gz",
        wanted='[{"organ":"liver"}]', attempt=2, source=Source(grid, "ab", "cd"), lesions=(lesion,),
        seconds={"place": 0.25},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "crops"),
    [(wire.PLACED, {"organs", "ct"}), (wire.MASKED, {"organs", "ct", "mask"}), (wire.PAINTED, {"mask", "delta"})],
)
def test_round_trip_keeps_what_the_boundary_names(schema: object, crops: set[str]) -> None:
    before = sample()
    (after,) = wire.from_table(wire.to_table([before], schema))
    assert replace(after, lesions=()) == replace(before, lesions=())
    for name in ("organs", "ct", "mask", "delta"):
        sent, got = getattr(before.lesions[0], name), getattr(after.lesions[0], name)
        if name not in crops:
            assert got is None
            continue
        assert got.box == sent.box
        assert got.values.dtype == sent.values.dtype
        np.testing.assert_array_equal(got.values, sent.values)
    plain = {"organs": None, "ct": None, "mask": None, "delta": None}
    assert replace(after.lesions[0], **plain) == replace(before.lesions[0], **plain)


def test_listed_rows_become_pending_samples() -> None:
    row = {
        "sample_id": "a-v000",
        "case_id": "a",
        "variant": 0,
        "ordinal": 0,
        "ct_uri": "x",
        "organs_uri": "",
        "wanted": "",
    }
    table = wire.pa.Table.from_pylist([{**row, "attempt": 0}], schema=wire.LISTED)
    (made,) = wire.from_table(table)
    assert made == Sample("a-v000", "a", 0, 0, "x")
    assert made.pending


def test_an_ended_sample_leaves_its_arrays_behind() -> None:
    ended = sample().ended(Status.FAILED, "place", "no room")
    (after,) = wire.from_table(wire.to_table([ended], wire.PAINTED))
    assert after.lesions == ()
    assert (after.status, after.stage, after.reason) == (Status.FAILED, "place", "no room")


def test_quantising_keeps_the_boundary_and_is_idempotent() -> None:
    soft = np.linspace(0, 1, 1001)
    once = wire.quantised(soft)
    np.testing.assert_array_equal(wire.quantised(once), once)
    assert wire.quantised(np.array([0.5])) == 0.5
    assert np.abs(once - soft).max() <= 0.5 / wire.MASK_STEPS + 1e-7
