import numpy as np
import pytest

from stormcell.errors import ArgumentError
from stormcell.motion.band_filters import band_weights, central_wavelengths

SHAPES = [(64, 64), (96, 80), (81, 50), (50, 81)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("levels", [3, 6, 8])
def test_band_weights_equal_those_of_pysteps(shape, levels):
    filters = pytest.importorskip("pysteps.cascade.bandpass_filters", reason="pysteps is not installed")
    theirs = filters.filter_gaussian(shape, levels)
    # A logarithm in float32 errs by 6e-8 of up to 6, and the exponent's slope is at most 4 times the width.
    np.testing.assert_allclose(band_weights(shape, levels), theirs["weights_2d"], atol=5e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_band_weights_of_a_wave_have_the_sum_1(shape):
    np.testing.assert_allclose(band_weights(shape).sum(axis=0), 1, rtol=1e-6)


def test_band_weights_mean_is_in_the_first_band_only():
    assert band_weights((32, 48))[:, 0, 0].tolist() == [1, 0, 0, 0, 0, 0]


def test_central_wavelengths_are_where_each_band_is_strongest():
    shape = (4096, 4)
    weights = band_weights(shape)[:, 1:2048, 0]
    wavelengths = shape[0] / np.arange(1, 2048)
    # The first and the last band have no neighbour that weakens them on one side.
    for level in (1, 2, 3, 4):
        strongest = wavelengths[weights[level].argmax()]
        assert strongest == pytest.approx(central_wavelengths(shape)[level], rel=0.1)


@pytest.mark.parametrize(("shape", "levels"), [((0, 4), 6), ((4, 4), 0)])
def test_band_weights_impossible_numbers_raise(shape, levels):
    with pytest.raises(ArgumentError, match="expected 1 or more rows, columns and bands"):
        band_weights(shape, levels)
    with pytest.raises(ArgumentError, match="expected 1 or more rows, columns and bands"):
        central_wavelengths(shape, levels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (3, 2)])
def test_band_weights_tiny_grid_is_finite(shape):
    weights = band_weights(shape)
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)
