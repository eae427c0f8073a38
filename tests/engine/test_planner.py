"""The plan: ordinals and fingerprint follow from the set of cases, waves hold exactly what is missing."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.errors import CaseListError
from engine.core.sample import sample_id_of
from engine.core.wire import LISTED
from engine.io.case_rows import CASE_SCHEMA
from engine.io.cases import CaseList, open_cases
from engine.planner import Plan, make_plan
from engine.settings import Cases

Case = dict[str, Any]


@dataclass
class Rows:
    """A list held in memory, in batches of a few rows."""

    cases: Sequence[Case]
    batch: int = 3
    origin: str = "list"
    base: str = "/data"

    def rows(self) -> Any:
        for start in range(0, len(self.cases), self.batch):
            yield pa.RecordBatch.from_pylist(list(self.cases[start : start + self.batch]), schema=CASE_SCHEMA)


def case(case_id: str, variants: int = 0, **fields: str) -> Case:
    given = {"ct_uri": f"{case_id}.nii", "organs_uri": "", "wanted": "", **fields}
    return {"case_id": case_id, "variants": variants, **given}


def plan_of(cases: Sequence[Case], default_variants: int = 1, **options: Any) -> Plan:
    return make_plan(CaseList(Rows(cases, **options)), default_variants)


def samples(plan: Plan, committed: Sequence[int] = (), wave_samples: int = 1000) -> list[dict[str, Any]]:
    mask = np.zeros(plan.total, bool)
    mask[list(committed)] = True
    tables = list(plan.waves(mask, wave_samples))
    assert all(table.schema == LISTED and 0 < table.num_rows <= wave_samples for table in tables)
    assert all(table.num_rows == wave_samples for table in tables[:-1])
    return [row for table in tables for row in table.to_pylist()]


IDS = st.text(st.sampled_from("abAB09._-"), min_size=1, max_size=5).map(lambda text: "x" + text)
LISTS = st.lists(st.builds(case, IDS, st.integers(0, 4)), min_size=1, max_size=14, unique_by=lambda c: c["case_id"])


@settings(deadline=None)
@given(LISTS, st.integers(1, 3), st.integers(1, 5), st.randoms(use_true_random=False))
def test_order_and_batches_of_the_list_change_nothing(
    cases: list[Case], default: int, batch: int, shuffle: random.Random
) -> None:
    plan = plan_of(cases, default)
    shuffled = list(cases)
    shuffle.shuffle(shuffled)
    other = plan_of(shuffled, default, batch=batch)
    assert (other.total, other.cases, other.fingerprint) == (plan.total, plan.cases, plan.fingerprint)
    ordinals = {row["sample_id"]: row["ordinal"] for row in samples(plan)}
    assert {row["sample_id"]: row["ordinal"] for row in samples(other)} == ordinals


@settings(deadline=None)
@given(LISTS, st.integers(1, 3))
def test_ordinals_number_the_samples_sorted_by_id_and_variant(cases: list[Case], default: int) -> None:
    expected = [
        (sample_id_of(c["case_id"], variant), c["case_id"], variant)
        for c in sorted(cases, key=lambda c: c["case_id"].encode())
        for variant in range(c["variants"] or default)
    ]
    plan = plan_of(cases, default)
    rows = sorted(samples(plan), key=lambda row: row["ordinal"])
    assert [row["ordinal"] for row in rows] == list(range(plan.total))
    assert [(row["sample_id"], row["case_id"], row["variant"]) for row in rows] == expected


@settings(deadline=None)
@given(LISTS, st.integers(1, 20), st.data())
def test_waves_are_what_is_not_committed(cases: list[Case], wave_samples: int, data: st.DataObject) -> None:
    plan = plan_of(cases, 2)
    committed = data.draw(st.sets(st.integers(0, plan.total - 1)))
    rows = samples(plan, sorted(committed), wave_samples)
    assert sorted(row["ordinal"] for row in rows) == sorted(set(range(plan.total)) - committed)
    # In list order, the variants of a case side by side.
    place = {c["case_id"]: n for n, c in enumerate(cases)}
    order = [(place[row["case_id"]], row["variant"]) for row in rows]
    assert order == sorted(order)


@settings(deadline=None)
@given(LISTS, st.data())
def test_the_fingerprint_sees_every_field_of_every_row(cases: list[Case], data: st.DataObject) -> None:
    before = plan_of(cases).fingerprint
    at = data.draw(st.integers(0, len(cases) - 1))
    for field, value in {"ct_uri": "other.nii", "organs_uri": "o.nii", "wanted": "[{}]", "variants": 9}.items():
        changed = [{**c, field: value} if n == at else c for n, c in enumerate(cases)]
        assert plan_of(changed).fingerprint != before
    assert plan_of([*cases, case("zz")]).fingerprint != before
    swapped = [{**c, "ct_uri": c["organs_uri"] + "x", "organs_uri": c["ct_uri"]} for c in cases]
    assert plan_of(swapped).fingerprint != before


def test_the_fingerprint_does_not_take_one_field_for_another() -> None:
    one = plan_of([case("a", ct_uri="x\ny", organs_uri="z")])
    two = plan_of([case("a", ct_uri="x", organs_uri="y\nz")])
    assert one.fingerprint != two.fingerprint


def test_rows_carry_what_the_list_says() -> None:
    given = case("p1", 2, ct_uri="p1/ct.nii.gz", organs_uri="p1/o.nii.gz", wanted='[{"organ":"liver"}]')
    first = samples(plan_of([case("p0"), given]))[1]
    assert first == {
        "sample_id": "p1-v000",
        "case_id": "p1",
        "variant": 0,
        "ordinal": 1,
        "ct_uri": "p1/ct.nii.gz",
        "organs_uri": "p1/o.nii.gz",
        "wanted": '[{"organ":"liver"}]',
        "attempt": 0,
    }


def test_the_first_wave_comes_before_the_list_is_read_to_its_end() -> None:
    source = Rows([case(f"c{n:03d}") for n in range(50)], batch=5)
    plan = make_plan(CaseList(source), 1)
    waves = plan.waves(np.zeros(plan.total, bool), 10)
    assert next(waves).num_rows == 10
    source.cases = source.cases[:20]
    assert next(waves).num_rows == 10
    with pytest.raises(CaseListError, match="has changed"):
        list(waves)


def test_a_list_that_grew_is_noticed() -> None:
    source = Rows([case("a")])
    plan = make_plan(CaseList(source), 1)
    source.cases = [case("a"), case("b")]
    with pytest.raises(CaseListError, match=r"^list: the list has changed"):
        list(plan.waves(np.zeros(1, bool), 10))


def test_many_variants_of_a_case() -> None:
    plan = plan_of([case("a", 1200), case("b", 3)])
    rows = samples(plan, range(1100), wave_samples=64)
    assert [row["sample_id"] for row in rows] == [
        *(sample_id_of("a", variant) for variant in range(1100, 1200)),
        *(sample_id_of("b", variant) for variant in range(3)),
    ]


def test_a_mask_of_another_length_is_a_bug() -> None:
    with pytest.raises(ValueError, match="should be \\(1,\\)"):
        list(plan_of([case("a")]).waves(np.zeros(2, bool), 10))


def test_doubled_ids_name_both_rows() -> None:
    cases = [case("b"), case("a", ct_uri="one.nii"), case("c"), case("a", ct_uri="two.nii"), case("b")]
    with pytest.raises(CaseListError) as caught:
        plan_of(cases)
    assert str(caught.value) == (
        "list: case ids that come twice: 'a' in row 2 (one.nii) and row 4 (two.nii); "
        "'b' in row 1 (b.nii) and row 5 (b.nii)"
    )
    with pytest.raises(CaseListError, match=r"; and 2 more$"):
        plan_of([case(c) for c in "abcde"] * 3)


@settings(deadline=None)
@given(LISTS, st.data())
def test_any_doubled_id_is_found(cases: list[Case], data: st.DataObject) -> None:
    again = data.draw(st.sampled_from(cases))
    at = data.draw(st.integers(0, len(cases)))
    with pytest.raises(CaseListError, match="come twice"):
        plan_of([*cases[:at], again, *cases[at:]])


def test_moving_list_and_data_together_keeps_the_fingerprint(tmp_path: Path) -> None:
    prints = set()
    for folder, order in (("here", 1), ("there", -1)):
        cases = [
            {"case_id": c, "ct": f"{c}/ct.nii.gz", "lesions": {"organ": "liver", "shape": "punctate"}} for c in "abc"
        ]
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "list.jsonl").write_text("\n".join(json.dumps(c) for c in cases[::order]))
        columns = {name: [c[name] for c in cases] for name in cases[0]}
        pq.write_table(pa.table(columns), tmp_path / folder / "list.parquet")
        for name in ("list.jsonl", "list.parquet"):
            prints.add(make_plan(open_cases(Cases(source=str(tmp_path / folder / name))), 1).fingerprint)
    assert len(prints) == 1


def test_limit_counts_only_what_it_keeps() -> None:
    cases = [case(c) for c in "dcbab"]
    plan = make_plan(CaseList(Rows(cases), limit=1), 2)
    assert (plan.cases, plan.total) == (1, 2)
    assert [row["case_id"] for row in samples(plan)] == ["a", "a"]
