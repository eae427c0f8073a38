"""The HU curve and its inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.intensity import KNOTS_HU, KNOTS_UNIT, hu_to_unit, unit_to_hu

HU = st.lists(st.floats(-1000, 1000), min_size=1, max_size=20).map(np.array)


@given(HU)
def test_the_inverse_undoes_the_curve(hu):
    assert np.abs(unit_to_hu(hu_to_unit(hu)) - hu).max() < 1e-3


@given(st.floats(-5000, 5000), st.floats(-5000, 5000))
def test_the_curve_rises_and_is_clamped(a, b):
    low, high = hu_to_unit(np.array(sorted((a, b))))
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_knots_in_any_dtype(dtype):
    assert np.allclose(hu_to_unit(np.array(KNOTS_HU, dtype)), KNOTS_UNIT)
    assert hu_to_unit(np.array([-3024, 3000], dtype)).tolist() == [0.0, 1.0]
    assert hu_to_unit(np.array([0], dtype)).dtype == np.float32


def test_the_reference_maps_alike(golden):
    with np.load(golden / "hu_map" / "io.npz") as io:
        assert np.abs(hu_to_unit(io["hu_in"]) - io["norm_from_f32"]).max() <= 1e-6
        assert np.abs(unit_to_hu(io["norm_in"]) - io["hu_out"]).max() <= 1e-6 * 1000
