"""Case ids: what is let through, and how they follow from paths."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.errors import CaseListError
from engine.io.case_id import MAX_LENGTH, PathNaming, check_case_id, check_case_ids

SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,179}")


def ids_of(*uris: str) -> list[str]:
    """Ids of a list, named in two batches."""
    half = len(uris) // 2
    batches = [pa.array(uris[:half], pa.string()), pa.array(uris[half:], pa.string())]
    naming = PathNaming.over(lambda: iter(batches))
    return [case_id for batch in batches for case_id in naming.ids(batch).to_pylist()]


@pytest.mark.parametrize("case_id", ["a", "0", "_x", "sub-01_ct.v2", "a..b", "A" * MAX_LENGTH])
def test_good_ids_pass_unchanged(case_id: str) -> None:
    assert check_case_id(case_id) == case_id


@pytest.mark.parametrize(
    "case_id", ["", ".", "..", "../x", "a/b", "a\\b", "-x", ".x", "a b", "ä", "a\n", "x\0", "A" * (MAX_LENGTH + 1)]
)
def test_bad_ids_are_refused_in_one_line(case_id: str) -> None:
    with pytest.raises(CaseListError, match="case id") as caught:
        check_case_id(case_id)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("aZ0._-/ \n\\é"), max_size=4), min_size=1, max_size=5))
def test_whole_columns_are_checked_as_single_ids_are(ids: list[str]) -> None:
    bad = [n for n, case_id in enumerate(ids) if SAFE.fullmatch(case_id) is None]
    if not bad:
        check_case_ids(pa.array(ids), origin="list", first_row=0)
        return
    with pytest.raises(CaseListError, match=rf"^list, row {bad[0] + 101}: case id"):
        check_case_ids(pa.array(ids), origin="list", first_row=100)


@pytest.mark.parametrize(
    ("uris", "expected"),
    [
        (["x/1.nii.gz", "x/2.nii"], ["1", "2"]),
        (["one.nrrd"], ["one"]),
        (["a/ct.nii.gz"], ["ct"]),
        (["a/ct.nii.gz", "b/ct.nii.gz"], ["a", "b"]),
        (["/data/a/ct.nii.gz", "/data/b/ct.nii.gz"], ["a", "b"]),
        (["s3://bucket/a/ct.mha", "s3://bucket/b/ct.mha"], ["a", "b"]),
        (["p1/scan/ct.nii", "p2/scan/ct.nii"], ["p1", "p2"]),
        (["p/s1/ct.nii", "p/s2/ct.nii", "q/s1/ct.nii"], ["p_s1", "p_s2", "q_s1"]),
        (["a/ct.nii", "b/ct.nii", "b/late.nii"], ["a_ct", "b_ct", "b_late"]),
        (["ct.nii", "a/ct.nii", "b/ct.nii"], ["ct", "a_ct", "b_ct"]),
        (["./a/ct.nii", "../b/ct.nii"], ["a", "b"]),
        (["series/1.2.840", "series/1.2.841/"], ["1.2.840", "1.2.841"]),
        (["Case 1 (late).nii", "-x.nii", ".y.nii"], ["Case_1__late_", "_x", "_y"]),
    ],
)
def test_ids_are_the_shortest_telling_path_parts(uris: list[str], expected: list[str]) -> None:
    assert ids_of(*uris) == expected


def test_the_same_file_twice_keeps_one_id() -> None:
    assert ids_of("a/ct.nii", "b/ct.nii", "a/ct.nii") == ["ct", "ct", "ct"]


PARTS = st.text(st.sampled_from("ab1"), min_size=1, max_size=2)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: "/".join(parts) + ".nii.gz")


@settings(deadline=None)
@given(st.lists(PATHS, min_size=1, max_size=12, unique=True), st.randoms(use_true_random=False))
def test_ids_do_not_depend_on_order_and_may_name_files(paths: list[str], random: object) -> None:
    named = dict(zip(paths, ids_of(*paths), strict=True))
    shuffled = list(paths)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert dict(zip(shuffled, ids_of(*shuffled), strict=True)) == named
    assert all(SAFE.fullmatch(case_id) for case_id in named.values())


@settings(deadline=None)
@given(st.sets(PARTS, min_size=2, max_size=8), st.sampled_from(["ct", "a/ct", "scan_1/ct"]))
def test_a_folder_a_case_gives_the_folders_names(folders: set[str], inside: str) -> None:
    assert set(ids_of(*(f"root/{folder}/{inside}.nii.gz" for folder in folders))) == folders
