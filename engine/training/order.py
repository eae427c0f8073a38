"""Which lesion is shown when: a pure function of an example's ordinal.

The ordinal counts the examples of a whole training, over all workers. So any number of workers, and any restart, sees
the same lesion under the same ordinal.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engine.core.seeds import SAMPLE_LEVEL, rng_for

_PASSES_KEPT = 2


def lesion_number(ordinal: int, count: int, *, seed: int, random_sample: bool, iter_num: int | None) -> int:
    """Which of `count` lesions is example number `ordinal`, both counted from 0.

    `random_sample`: each example is drawn from all lesions, with replacement. Otherwise an epoch shows each once, in an
    order of its own. An epoch has `iter_num` examples, as many as there are lesions where it is None: with fewer it
    shows some of them, with more it goes through them again, in another order. Raises ValueError for no lesions.
    """
    if count < 1 or ordinal < 0:
        raise ValueError(f"no example {ordinal} of {count} lesions")
    if random_sample:
        return int(rng_for(seed, "", SAMPLE_LEVEL, 0, f"example {ordinal}").integers(count))
    epoch, place = divmod(ordinal, iter_num or count)
    turn, at = divmod(place, count)
    return int(_shuffled(count, seed, epoch, turn)[at])


@lru_cache(maxsize=_PASSES_KEPT)
def _shuffled(count: int, seed: int, epoch: int, turn: int) -> NDArray[np.int64]:
    """(count,) every lesion once: the order of one turn of an epoch. Kept, as its neighbours are asked for next."""
    order = rng_for(seed, "", SAMPLE_LEVEL, 0, f"order {epoch} {turn}").permutation(count)
    order.setflags(write=False)
    return order
