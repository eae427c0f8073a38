"""Which lesion is shown when."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.training.order import lesion_number

shuffled = partial(lesion_number, random_sample=False, iter_num=None)
drawn = partial(lesion_number, random_sample=True, iter_num=None)


@given(st.integers(1, 40), st.integers(0, 5), st.integers(0, 2**40))
def test_an_epoch_shows_each_lesion_once(count, epoch, seed):
    shown = [shuffled(epoch * count + n, count, seed=seed) for n in range(count)]
    assert sorted(shown) == list(range(count))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(shuffled(start + n, 30, seed=seed) for n in range(30)) for start in (0, 30) for seed in (0, 1)}
    assert len(orders) == 4


def test_it_follows_from_the_ordinal_alone():
    """Asked in any order, as workers and restarts do."""
    forwards = [shuffled(n, 7, seed=1) for n in range(50)]
    assert [shuffled(n, 7, seed=1) for n in reversed(range(50))] == forwards[::-1]


def test_an_epoch_of_fewer_examples_than_lesions():
    epochs = [[lesion_number(e * 4 + n, 10, seed=0, random_sample=False, iter_num=4) for n in range(4)] for e in (0, 1)]
    assert all(len(set(epoch)) == 4 for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_an_epoch_of_more_examples_than_lesions_goes_through_them_again():
    shown = [lesion_number(n, 4, seed=0, random_sample=False, iter_num=10) for n in range(10)]
    assert sorted(shown[:4]) == sorted(shown[4:8]) == [0, 1, 2, 3]
    assert shown[:4] != shown[4:8]
    assert len(set(shown[8:])) == 2


def test_drawn_from_all_with_replacement():
    shown = Counter(drawn(n, 5, seed=2) for n in range(2000))
    assert set(shown) == set(range(5))
    assert all(300 < times < 500 for times in shown.values())
    assert any(len({drawn(e * 5 + n, 5, seed=2) for n in range(5)}) < 5 for e in range(5))


def test_there_must_be_a_lesion():
    with pytest.raises(ValueError, match="of 0 lesions"):
        shuffled(0, 0, seed=0)
