"""What becomes of cases that cannot be used."""

from __future__ import annotations

import pytest

from engine.core.errors import CaseError
from engine.training.bad_cases import BadCases


def test_stop():
    with pytest.raises(CaseError, match=r"^p1: label.nii.gz: no lesion$"):
        BadCases("stop").met("p1", "p1: label.nii.gz: no lesion")


def test_skip_counts_each_and_names_each_once():
    bad = BadCases("skip")
    said = [bad.met(case_id, f"{case_id}: broken {n}") for n, case_id in enumerate(["p2", "p1", "p2", "p2"])]
    assert said == ["p2: broken 0", "p1: broken 1", None, None]
    assert bad.examples == 4
    assert bad.cases == {"p2": "p2: broken 0", "p1": "p1: broken 1"}
    assert bad.to_json() == [
        {"case_id": "p1", "examples": 1, "reason": "p1: broken 1"},
        {"case_id": "p2", "examples": 3, "reason": "p2: broken 0"},
    ]
