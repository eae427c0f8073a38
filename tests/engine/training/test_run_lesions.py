"""Lesions of a run that the engine itself has made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.core.errors import CaseError, CaseListError
from engine.core.network_text import full_text
from engine.core.report import Report
from engine.training.decoding import Decoder
from engine.training.lesions import known_lesions
from engine.training.settings import TrainingData


def done(run) -> list[tuple[dict, dict]]:
    """(sample, lesion), in order."""
    return [(row, lesion) for row in run.rows if row["status"] == "done" for lesion in row["lesions"]]


@pytest.mark.parametrize("form", ["volume", "crop"])
def test_every_lesion_of_every_sample(made_run, training, form):
    run = made_run(form)
    lesions = known_lesions(TrainingData(run=run.uri, cases=run.cases))
    assert [(x.case_id, x.index) for x in lesions] == [(row["case_id"], lesion["index"]) for row, lesion in done(run)]
    assert len(lesions) >= 4
    decoder = Decoder(training("linet", data={"crop": (64, 64, 64)}), lesions)
    for number, (_, lesion) in enumerate(done(run)):
        crop = decoder(number)
        inside = crop.label == 2
        assert 0.9 < inside.sum() / lesion["volume_mm3"] < 1.1
        # Between coarse voxels, 1 mm ones are mixed with what lies around.
        assert abs(crop.image_hu[inside].mean() - lesion["mean_hu"]) < 3 + 0.35 * abs(lesion["shift_hu"])
        assert crop.hosts == (lesion["organ_id"],)
        assert (crop.label == 1).any()
        assert set(np.unique(crop.organs[crop.label == 1])) == {lesion["organ_id"]}


def test_only_this_lesion_of_the_sample(made_run, training):
    """Two lesions of a sample have crops of their own, and in neither is a voxel of the other."""
    run = made_run("volume")
    lesions = known_lesions(TrainingData(run=run.uri, cases=run.cases))
    first, second = [n for n, lesion in enumerate(lesions) if lesion.image_uri == lesions[0].image_uri]
    decoder = Decoder(training(data={"crop": (150, 150, 150)}), lesions)
    one, other = (decoder(n) for n in (first, second))
    sizes = [int((crop.label == 2).sum()) for crop in (one, other)]
    for size, (_, lesion) in zip(sizes, done(run), strict=False):
        assert 0.9 < size / lesion["volume_mm3"] < 1.1


def test_all_is_told_of_its_report(made_run, training):
    run = made_run("volume")
    lesions = known_lesions(TrainingData(run=run.uri, cases=run.cases))
    crop = Decoder(training("linet", text={"words": "full"}), lesions)(0)
    _, lesion = done(run)[0]
    report = Report.loads(lesion["report"])
    told = full_text(report, organ_id=lesion["organ_id"])
    assert crop.mask_text == told
    assert {k: v for k, v in crop.paint_text.items() if k != "CT value"} == {
        k: v for k, v in told.items() if k != "CT value"
    }
    assert crop.paint_text["CT value"] == f"{round(crop.image_hu[crop.label == 2].mean())}.0 HU,"


def test_where_its_cases_lay_has_to_be_said(made_run, training):
    run = made_run("volume")
    lesions = known_lesions(TrainingData(run=run.uri))
    with pytest.raises(CaseError, match="relative ones start from the folder of the run's case list"):
        Decoder(training(), lesions)(0)
    assert (Decoder(training("vq"), lesions)(0).label == 2).any()


def test_patches_are_materialised_first(made_run):
    run = made_run("patch")
    with pytest.raises(CaseListError, match=r"run of patches; `lesionforge materialise \S+ OUTPUT`"):
        known_lesions(TrainingData(run=run.uri))


def test_what_is_no_finished_run(made_run, tmp_path):
    with pytest.raises(CaseListError, match=r"nowhere holds no run: there is no run.json in it"):
        known_lesions(TrainingData(run=str(tmp_path / "nowhere")))
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(CaseListError, match="not a run of this program"):
        known_lesions(TrainingData(run=str(tmp_path)))
    begun = {**json.loads((Path(made_run("volume").uri) / "run.json").read_text()), "complete": False}
    (tmp_path / "run.json").write_text(json.dumps(begun))
    with pytest.raises(CaseListError, match="a run that has not finished"):
        known_lesions(TrainingData(run=str(tmp_path)))
