"""Named randomness. Each draw is named by what it is for, never by when it happens.

Worker count, block size, order and restarts cannot change a seed, so the same run seed gives the same dataset.
"""

from __future__ import annotations

import hashlib

import numpy as np

SAMPLE_LEVEL = -1
"""Lesion index of draws that belong to the whole sample (how many lesions, which organs)."""


def seed_for(run_seed: int, sample_id: str, lesion: int, attempt: int, purpose: str) -> int:
    """A 63-bit seed from the five things a draw may depend on.

    BLAKE2b over a length-free, unambiguous text: `sample_id` and `purpose` hold no newline by construction.
    """
    text = f"{run_seed}\n{sample_id}\n{lesion}\n{attempt}\n{purpose}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def rng_for(run_seed: int, sample_id: str, lesion: int, attempt: int, purpose: str) -> np.random.Generator:
    """The generator of one named draw (PCG64, whose streams numpy keeps stable)."""
    return np.random.Generator(np.random.PCG64(seed_for(run_seed, sample_id, lesion, attempt, purpose)))
