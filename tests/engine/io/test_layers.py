"""Layers over a volume: slab by slab the same as the whole."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.geometry import Box
from engine.io.layers import Layered, Overlay


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, int, int]) -> Box:
    start = [draw(st.integers(0, n - 1)) for n in shape]
    stop = [draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True)]
    return Box(tuple(start), tuple(stop))


@given(data=st.data(), seed=st.integers(0, 99), lookup=st.booleans())
@settings(deadline=None, max_examples=60)
def test_every_cut_equals_the_cut_of_the_whole(data: st.DataObject, seed: int, lookup: bool) -> None:
    rng, shape = np.random.default_rng(seed), (7, 5, 40)
    base = np.asfortranarray(rng.integers(0, 100, shape).astype(np.uint8))
    table = rng.integers(0, 3, 256).astype(np.uint8) if lookup else None
    whole = (base if table is None else table[base]).copy()
    overlays = []
    for box in data.draw(st.lists(boxes(shape), max_size=3)):
        values = rng.integers(100, 200, box.shape).astype(np.uint8)
        where = rng.random(box.shape) < 0.5 if data.draw(st.booleans()) else None
        overlays.append(Overlay(box, values, where))
        part = whole[box.slices]
        part[...] = values if where is None else np.where(where, values, part)
    before = base.copy()
    layered = Layered(base, tuple(overlays), table)
    cut = data.draw(boxes(shape))
    np.testing.assert_array_equal(layered.cut(cut), whole[cut.slices])
    np.testing.assert_array_equal(np.concatenate(list(layered.slabs()), axis=2), whole)
    assert layered.sha256() == hashlib.sha256(whole.tobytes(order="F")).hexdigest()
    np.testing.assert_array_equal(base, before)


def test_untouched_parts_are_views_of_the_base() -> None:
    base = np.zeros((8, 8, 64), np.int16, order="F")
    layered = Layered(base, (Overlay(Box((0, 0, 0), (2, 2, 2)), 7),))
    assert np.shares_memory(layered.cut(Box((0, 0, 10), (8, 8, 20))), base)
    assert not np.shares_memory(layered.cut(Box((0, 0, 0), (8, 8, 20))), base)
