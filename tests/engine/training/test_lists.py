"""Aligned list files."""

from __future__ import annotations

from pathlib import Path

import fsspec
import numpy as np
import pytest

from engine.core.errors import CaseListError
from engine.training.decoding import Decoder
from engine.training.lesions import known_lesions
from engine.training.settings import TrainingData


def known_in(lists: dict[str, str], **data: object):
    return known_lesions(TrainingData(lists=lists, **data))


def test_a_line_a_lesion(known):
    for case_id in ("p1", "p2"):
        known.add(case_id)
    first, second = known_in(known.lists("p1", "p2"), labels="total")
    assert (first.case_id, second.case_id) == ("p1", "p2")
    assert first.image_uri == str(known.folder / "p1/ct.nii.gz")
    assert first.report_uri == str(known.folder / "p1/type.json")
    assert first.scheme == "total_v2"
    assert first.healthy_organs_uri is None
    assert first.centroid_mm is None


def test_healthy_maps_where_there_are_some(known):
    lists = known.lists("p1", "p2", "p3")
    healthy = known.folder / "healthy.txt"
    healthy.write_text("\nhealthy/p2.nii.gz\n")
    found = known_in({**lists, "healthy_organs": str(healthy)})
    assert [lesion.healthy_organs_uri for lesion in found] == [None, str(known.folder / "healthy/p2.nii.gz"), None]


def test_lists_start_at_their_own_folders(known, tmp_path):
    lists = known.lists("p1")
    (tmp_path / "labels.txt").write_text("known/p1/label.nii.gz\n../elsewhere.nii.gz\n")
    (known.folder / "image.txt").write_text("p1/ct.nii.gz\ns3://bucket/p2/ct.nii.gz\n")
    for kind in ("organs", "report"):
        Path(lists[kind]).write_text("a\nb\n")
    first, second = known_in({**lists, "label": str(tmp_path / "labels.txt")})
    assert first.label_uri == str(known.folder / "p1/label.nii.gz")
    assert second.label_uri == str(tmp_path.parent / "elsewhere.nii.gz")
    assert second.image_uri == "s3://bucket/p2/ct.nii.gz"


def test_an_image_that_comes_twice_is_one_case(known):
    found = known_in(known.lists("a", "b", "a"))
    assert [(lesion.case_id, lesion.index) for lesion in found] == [("a", 0), ("b", 0), ("a", 1)]


@pytest.mark.parametrize("kind", ["label", "organs", "report", "image"])
def test_unequal_length_is_named(known, kind):
    lists = known.lists("p1", "p2")
    Path(lists[kind]).write_text("p1/only.nii.gz\n")
    with pytest.raises(CaseListError, match=r"unequal length: \S+image.txt has \d lines, \S+ has \d$") as caught:
        known_in(lists)
    assert Path(lists[kind]).name in str(caught.value)


@pytest.mark.parametrize("kind", ["label", "organs", "report"])
def test_a_blank_line_is_named(known, kind):
    lists = known.lists("p1", "p2", "p3")
    Path(lists[kind]).write_text("a\n\nc\n")
    with pytest.raises(CaseListError, match=rf"{kind}.txt:2: blank line"):
        known_in(lists)


def test_unreadable(known):
    lists = known.lists("p1")
    with pytest.raises(CaseListError, match=r"gone.txt: no such file"):
        known_in({**lists, "organs": str(known.folder / "gone.txt")})
    with pytest.raises(CaseListError, match="labels: unknown scheme 'total_v3'; did you mean"):
        known_in(lists, labels="total_v3")
    with pytest.raises(CaseListError, match=r"image.txt: holds no lesion"):
        known_in(known.lists())


def test_on_an_object_store(known, training):
    """Lists, volumes and cache alike; here the store is in memory."""
    known.add("p1")
    here = known_in(known.lists("p1"))
    store = fsspec.filesystem("memory")
    store.put(str(known.folder), "/known-cases", recursive=True)
    there = known_in({kind: f"memory://known-cases/{kind}.txt" for kind in known.lists("p1")})
    assert there[0].image_uri == "memory://known-cases/p1/ct.nii.gz"
    settings = training(data={"cache": "memory://known-cache"})
    first, again = (Decoder(settings, there)(0) for _ in range(2))
    plain = Decoder(training(), here)(0)
    assert np.array_equal(first.image_hu, plain.image_hu)
    assert np.array_equal(again.image_hu, plain.image_hu)
    assert again.mask_text == plain.mask_text
    assert len(store.find("/known-cache")) == 1
