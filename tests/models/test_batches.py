"""Batches of one shape, and what happens where they do not fit."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.batches import Batches, OutOfMemoryError

Request = tuple[int, int]


def sides(request: Request) -> tuple[tuple[int, ...], int]:
    return (request[1],) * 3, 9


class Network:
    """Doubles numbers, up to `room` of them at once."""

    def __init__(self, room: int = 1 << 20) -> None:
        self.room = room
        self.seen: list[list[Request]] = []

    def __call__(self, batch: list[Request]) -> list[int]:
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.seen.append(batch)
        return [2 * number for number, _ in batch]


@given(requests=st.lists(st.tuples(st.integers(), st.sampled_from([8, 16]))), size=st.integers(1, 5))
def test_every_request_has_its_own_result_and_every_batch_one_shape(requests: list[Request], size: int) -> None:
    network = Network()
    assert Batches(size).run(requests, sides, network) == [2 * number for number, _ in requests]
    assert all(len(batch) == size and len(set(map(sides, batch))) == 1 for batch in network.seen)


def test_half_the_batch_where_it_does_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    network, batches = Network(room=2), Batches(8, setting="paint.batch")
    requests = [(number, 128) for number in range(7)]
    with caplog.at_level(logging.WARNING):
        assert batches.run(requests, sides, network) == [2 * number for number, _ in requests]
    assert batches.size == 2
    assert [len(batch) for batch in network.seen] == [2, 2, 2, 2]
    assert caplog.messages[0].startswith("out of memory with 8 crops of 128x128x128; going on with 4 at a time")
    assert "lower paint.batch to 2" in caplog.messages[1]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        MemoryError(),
    ],
)
def test_a_single_crop_that_does_not_fit_is_one_line(error: BaseException) -> None:
    def full(_: list[Request]) -> list[int]:
        raise error

    with pytest.raises(OutOfMemoryError, match=r"^out of memory with one crop of 128x128x128; it takes a smaller crop"):
        Batches(4).run([(1, 128)], sides, full)


def test_torch_runs_out_of_memory_as_is_known_here() -> None:
    def greedy(_: list[Request]) -> list[int]:
        return [int(torch.empty(1 << 60, dtype=torch.uint8)[0])]

    with pytest.raises(OutOfMemoryError):
        Batches().run([(1, 8)], sides, greedy)


def test_any_other_error_is_left_alone() -> None:
    def broken(_: list[Request]) -> list[int]:
        raise RuntimeError("shapes disagree")

    with pytest.raises(RuntimeError, match=r"^shapes disagree$"):
        Batches(4).run([(1, 8)], sides, broken)
    with pytest.raises(ValueError, match="a batch of 0 is none"):
        Batches(0)
