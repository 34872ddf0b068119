import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stormcell.errors import ArgumentError
from stormcell.maps.levels import LAST, MISSING, PROBABILITY, RATE

SCALES = [RATE, PROBABILITY]


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: scale.name)
def test_encode_value_of_each_level_is_that_level(scale):
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(scale.encode(scale.decode(levels)), levels)


@given(arrays.arrays(np.float32, 50, elements=st.floats(0.125, 150, width=32)))
def test_rate_decode_of_encoded_is_within_half_a_step(rates):
    half = np.sqrt((150 / 0.1) ** (1 / 253))
    ratio = RATE.decode(RATE.encode(rates)) / rates
    # Logarithms in float32 are off by some 1e-6 of 7.3, the logarithm of 150 / 0.1.
    assert (ratio < half * 1.00002).all()
    assert (ratio > 1 / half / 1.00002).all()


@given(arrays.arrays(np.float32, 50, elements=st.floats(0.015625, 1, width=32)))
def test_probability_decode_of_encoded_is_within_half_a_step(values):
    half = 0.99 / 253 / 2
    assert np.abs(PROBABILITY.decode(PROBABILITY.encode(values)) - values).max() < half + 1e-6


@given(st.floats(0, 2000, width=32), st.floats(0, 2000, width=32))
def test_encode_higher_rate_has_no_lower_level(one, other):
    low, high = RATE.encode(sorted([one, other]))
    assert low <= high


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: scale.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_encode_rain_begins_at_the_minimum_exactly(scale, dtype):
    least = dtype(scale.minimum)
    below = np.nextafter(np.float32(scale.minimum), np.float32(0))
    assert scale.encode([0, below, least]).tolist() == [0, 0, 1]


def test_encode_has_the_values_of_the_stated_formula():
    # n = 1 + 253 log(rate / 0.1) / log(1500)
    assert RATE.encode([0.1, 1.0, 10.0, 150.0]).tolist() == [1, 81, 160, 254]
    assert PROBABILITY.encode([0.01, 0.5, 1.0]).tolist() == [1, 126, 254]
    assert RATE.values[2] / RATE.values[1] == pytest.approx(1500 ** (1 / 253))


def test_encode_rate_above_the_maximum_takes_the_last_level():
    assert RATE.encode([151, 3e38]).tolist() == [LAST, LAST]


@pytest.mark.parametrize("value", [-0.1, -np.inf, np.inf, 1e300])
def test_encode_impossible_rate_raises(value):
    with pytest.raises(ArgumentError, match="rain rate: expected values of 0 or more, not infinite, found"):
        RATE.encode([1, np.nan, value])


@pytest.mark.parametrize("value", [-0.1, 1.01, 50, np.inf])
def test_encode_impossible_probability_raises(value):
    with pytest.raises(ArgumentError, match="probability: expected values from 0 to 1, found"):
        PROBABILITY.encode([0.5, value])


def test_encode_probability_that_rounding_made_too_large_is_certain():
    assert PROBABILITY.encode(np.float32(1) + np.float32(1e-6)) == LAST


def test_encode_nothing_observed_is_missing_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (RATE.encode(np.full((3, 4), np.nan)) == MISSING).all()
    assert RATE.encode(np.empty((0, 4))).shape == (0, 4)


def test_encode_keeps_shape_and_the_argument():
    rates = np.array([[[0.05, np.nan]], [[2.0, 200.0]]], np.float32)
    before = rates.copy()
    levels = RATE.encode(rates)
    assert (levels.shape, levels.dtype) == (rates.shape, np.uint8)
    np.testing.assert_array_equal(rates, before)


def test_decode_missing_is_nan_in_float32():
    values = RATE.decode([[0, MISSING]])
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [[0, np.nan]])
