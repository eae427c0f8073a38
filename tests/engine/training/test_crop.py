"""Crops as rows."""

from __future__ import annotations

import numpy as np
import pytest

from engine.training.crop import LesionCrop, bad_record, problem_of
from known_cases import same_crop


def crop(**other: object) -> LesionCrop:
    rng = np.random.default_rng(0)
    usual = {
        "case_id": "p1",
        "image_hu": rng.normal(0, 100, (3, 4, 5)).astype(np.float32),
        "organs": rng.integers(0, 104, (3, 4, 5)).astype(np.uint8),
        "label": rng.integers(0, 3, (3, 4, 5)).astype(np.uint8),
        "hosts": (13, 14),
        "mask_text": {"shape": "round-like,", "cavity": "wall thickening,"},
        "paint_text": {"CT value": "57.0 HU,", "cavity": "größer"},
        "asked_hu": 57.0,
    }
    return LesionCrop(**(usual | other))


@pytest.mark.parametrize("other", [{}, {"asked_hu": None, "hosts": (), "mask_text": {}}])
def test_there_and_back(other):
    sent = crop(**other)
    record = sent.to_record()
    back = LesionCrop.from_record(record)
    assert same_crop(sent, back)
    assert list(back.mask_text) == list(sent.mask_text)  # the order of texts is that of the tokens
    assert problem_of(record) == ""
    assert {type(value) for value in record.values()} == {str, float, np.ndarray}


def test_a_bad_example_is_a_row_like_the_others():
    good, bad = crop().to_record(), bad_record("p1", "p1: ct.nii.gz: no such file", (3, 4, 5))
    assert list(bad) == list(good)
    for name, value in good.items():
        assert type(bad[name]) is type(value)
        if name in ("image_hu", "organs", "label"):
            assert (bad[name].shape, bad[name].dtype) == (value.shape, value.dtype)
    assert problem_of(bad) == "p1: ct.nii.gz: no such file"
    with pytest.raises(ValueError, match="no such file"):
        LesionCrop.from_record(bad)


def test_a_bad_example_says_what_is_wrong():
    with pytest.raises(ValueError, match="needs its problem"):
        bad_record("p1", "", (3, 4, 5))
