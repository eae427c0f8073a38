"""Requests in batches of one shape.

The last bits of what a network computes depend on the shape of its batch, and on nothing else in it. So a batch always
has the same number of requests, a short one filled up: what comes out for a request then depends on itself alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch

Request = TypeVar("Request")
Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)
_NO_ROOM = ("DefaultCPUAllocator", "out of memory", "not enough memory")


class OutOfMemoryError(RuntimeError):
    """Not even a single request fits into memory."""


class Batches:
    """`size` requests at a time; halved, for good, where they do not fit into memory.

    `setting` names what a user would lower to begin with the size that fits.
    """

    def __init__(self, size: int = 1, *, setting: str = "the batch") -> None:
        if size < 1:
            raise ValueError(f"a batch of {size} is none; it should be 1 or more")
        self.size, self.setting = size, setting

    def run(
        self,
        requests: Sequence[Request],
        alike: Callable[[Request], Hashable],
        network: Callable[[list[Request]], list[Result]],
    ) -> list[Result]:
        """Results in the order of the requests; only those are put together of which `alike` says the same.

        Raises OutOfMemoryError where a batch of one does not fit.
        """
        groups: dict[Hashable, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(alike(request), []).append(number)
        results: dict[int, Result] = {}
        for shape, numbers in groups.items():
            while numbers:
                batch = numbers[: self.size]
                filled = batch + [batch[-1]] * (self.size - len(batch))
                made = self._or_less(network, [requests[number] for number in filled], shape)
                if made is not None:
                    results.update(zip(batch, made, strict=False))
                    numbers = numbers[len(batch) :]
        return [results[number] for number in range(len(requests))]

    def _or_less(
        self, network: Callable[[list[Request]], list[Result]], batch: list[Request], shape: Hashable
    ) -> list[Result] | None:
        """What the network makes of a batch; None where there was no room for it, and `size` is less now."""
        try:
            return network(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if self.size == 1:
                raise OutOfMemoryError(
                    f"out of memory with one crop of {_described(shape)}; it takes a smaller crop, bfloat16, or a "
                    "device with more memory"
                ) from None
        # the error is gone by now, and with it what its frames held
        self.size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _LOG.warning(
            "out of memory with %d crops of %s; going on with %d at a time. Results of another batch differ in their "
            "last bits: lower %s to %d for the same everywhere.",
            len(batch), _described(shape), self.size, self.setting, self.size,
        )  # fmt: skip
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, on any device, or Python found no room. Torch has a type for it on GPUs alone."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _NO_ROOM)


def _described(shape: Hashable) -> str:
    """(((128, 128, 128), 9)) -> 128x128x128."""
    sides = shape[0] if isinstance(shape, tuple) and isinstance(shape[0], tuple) else shape
    return "x".join(map(str, sides)) if isinstance(sides, tuple) else str(sides)
