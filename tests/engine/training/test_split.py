"""What a training is validated on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.training.known import KnownLesion
from engine.training.lesions import split


def lesions(*case_ids: str) -> list[KnownLesion]:
    return [KnownLesion(case_id, n, f"{n}", "", "") for n, case_id in enumerate(case_ids)]


@given(st.lists(st.sampled_from("abcdefghijkl"), min_size=1), st.floats(0, 1), st.integers(0, 99))
def test_all_lesions_of_a_case_on_one_side(case_ids, share, seed):
    known = lesions(*case_ids)
    train, validation = split(known, share, seed)
    assert sorted([*train, *validation], key=lambda lesion: lesion.index) == known
    assert list(train) == sorted(train, key=lambda lesion: lesion.index)
    assert not {x.case_id for x in train} & {x.case_id for x in validation}
    assert train
    assert bool(validation) == (share > 0 and len(set(case_ids)) > 1)


def test_share_is_of_the_cases():
    known = lesions(*(f"p{n:02d}" for n in range(40) for _ in range(1 + n % 3)))
    assert len({lesion.case_id for lesion in split(known, 0.25, 0)[1]}) == 10


def test_seed_decides_and_the_order_of_the_list_does_not():
    known = lesions(*(f"p{n}" for n in range(30)))
    held_out = {lesion.case_id for lesion in split(known, 0.2, 1)[1]}
    assert held_out == {lesion.case_id for lesion in split(known[::-1], 0.2, 1)[1]}
    assert held_out != {lesion.case_id for lesion in split(known, 0.2, 2)[1]}
