"""Coefficients, forecasts and errors compared with pysteps and with a simulated process."""

import numpy as np
import pytest

from stormcell.errors import ArgumentError
from stormcell.motion.autoregression import HIGHEST, Autoregression, lowest_lag2

PAIRS = [(0.99, 0.97), (0.9, 0.78), (0.5, 0.3), (0.2, -0.4), (0.7, -0.2), (0.05, 0.0), (-0.3, 0.1)]


@pytest.mark.parametrize(("lag1", "lag2"), PAIRS)
def test_autoregression_coefficients_equal_those_of_pysteps(lag1, lag2):
    theirs = pytest.importorskip("pysteps.timeseries.autoregression", reason="pysteps is not installed")
    adjusted = theirs.adjust_lag2_corrcoef2(lag1, lag2)
    expected = theirs.estimate_ar_params_yw([lag1, adjusted])
    ours = Autoregression.from_correlations(np.array(lag1), np.array(lag2))
    np.testing.assert_allclose([ours.phi1, ours.phi2, ours.noise], expected, atol=1e-7)


@pytest.mark.parametrize(("lag1", "lag2"), PAIRS)
def test_autoregression_forecast_equals_iterated_pysteps(lag1, lag2):
    theirs = pytest.importorskip("pysteps.timeseries.autoregression", reason="pysteps is not installed")
    process = Autoregression.from_correlations(np.array(lag1), np.array(lag2))
    values = np.array([[0.3], [-1.2]])  # the older, the newest
    for newest, before in process.forecast_weights(5):
        values = theirs.iterate_ar_model(values, [process.phi1, process.phi2, process.noise])
        np.testing.assert_allclose(newest * -1.2 + before * 0.3, values[-1, 0], atol=1e-12)


def test_lowest_lag2_gives_a_double_root():
    lag1 = np.array([-0.9, -0.004, 0.01, 0.2, 0.8, 0.999])
    process = Autoregression.from_correlations(lag1, np.full(6, -1.0))
    # The characteristic polynomial z² − φ₁ z − φ₂ has the discriminant φ₁² + 4 φ₂.
    np.testing.assert_allclose(process.phi1**2 + 4 * process.phi2, 0, atol=1e-8)
    assert (lowest_lag2(lag1) >= 2 * lag1**2 - 1).all()


@pytest.mark.parametrize("lag1", [-1, -0.5, 0, 0.5, 0.999999, 1])
@pytest.mark.parametrize("lag2", [-1, 0, 0.5, 0.999999, 1])
def test_autoregression_any_correlations_give_a_process_that_does_not_grow(lag1, lag2):
    process = Autoregression.from_correlations(np.array(float(lag1)), np.array(float(lag2)))
    roots = np.roots([1, -process.phi1, -process.phi2])
    assert np.abs(roots).max() <= 1 + 1e-9
    lag1 = np.clip(lag1, -HIGHEST, HIGHEST)
    for newest, before in process.forecast_weights(50):
        assert newest**2 + before**2 + 2 * lag1 * newest * before <= 1 + 1e-6  # the forecast's variance


def test_autoregression_unknown_correlations_make_a_first_order_process():
    nan = np.nan
    process = Autoregression.from_correlations(np.array([0.8, nan, nan]), np.array([nan, 0.64, nan]))
    np.testing.assert_allclose(process.phi1, [0.8, 0.8, HIGHEST])
    np.testing.assert_allclose(process.phi2, 0, atol=1e-9)


def test_autoregression_errors_equal_those_of_a_simulated_process():
    process = Autoregression.from_correlations(np.array(0.9), np.array(0.75))
    rng = np.random.default_rng(0)
    cases = 200_000
    before = rng.normal(size=cases)
    newest = 0.9 * before + np.sqrt(1 - 0.81) * rng.normal(size=cases)
    older, new = before, newest
    steps = zip(process.forecast_weights(6), process.errors(6), strict=True)
    for (of_newest, of_before), error in steps:
        noise = process.noise * rng.normal(size=cases)
        older, new = new, process.phi1 * new + process.phi2 * older + noise
        # A standard deviation from n values has a relative standard error of 1/√(2n) = 0.16 %.
        assert np.std(new - of_newest * newest - of_before * before) == pytest.approx(float(error), rel=0.01)
    assert np.var(new) == pytest.approx(1, rel=0.02)  # the process is stationary


def test_autoregression_arrays_are_elementwise():
    lag1, lag2 = np.array(PAIRS).T
    together = Autoregression.from_correlations(lag1, lag2)
    for number, (newest, before) in enumerate(together.forecast_weights(3)):
        for position, pair in enumerate(PAIRS):
            alone = Autoregression.from_correlations(*map(np.array, pair))
            weights = list(alone.forecast_weights(3))[number]
            np.testing.assert_allclose([newest[position], before[position]], weights, rtol=1e-12)


def test_autoregression_shapes_that_differ_raise():
    with pytest.raises(ArgumentError, match=r"expected one shape, found \(2,\) and \(3,\)"):
        Autoregression.from_correlations(np.zeros(2), np.zeros(3))
