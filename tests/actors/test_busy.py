"""The clock of a resident model."""

from __future__ import annotations

import pytest

from actors.busy import Busy


class Hands:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at, self.told = 0.0, list[float]()
        self.busy = Busy(self.told.append, lambda: self.at)


def test_time_between_calls_is_not_work() -> None:
    hands = Hands()
    for start, stop in ((1, 3), (10, 14)):
        hands.at = start
        with hands.busy:
            hands.at = stop
    assert sum(hands.told) == 2 + 4


def test_calls_that_overlap_count_once_and_are_told_on_the_way() -> None:
    hands = Hands()
    with hands.busy:
        hands.at = 2
        with hands.busy:
            assert hands.told == [2]
            hands.at = 5
        assert sum(hands.told) == 5
        hands.at = 6
    assert sum(hands.told) == 6


def test_a_call_that_fails_was_work() -> None:
    hands = Hands()

    def call() -> None:
        with hands.busy:
            hands.at = 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call()
    assert hands.told == [3]
