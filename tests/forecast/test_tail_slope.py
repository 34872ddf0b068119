"""The slope beyond the last threshold: that of rates that were drawn from a known distribution."""

import numpy as np
import pytest

from stormcell.forecast.tail_slope import tail_slope

USUAL = 3.5


def frame(slope, count=40_000):
    """Return a frame with Pareto-distributed rates from 30 mm/h on, among lighter ones."""
    heavy = 30 * (1 + np.random.default_rng(5).pareto(slope, count))
    light = np.linspace(0, 29.9, count)
    return np.concatenate([heavy, light]).reshape(200, -1).astype(np.float32)


@pytest.mark.parametrize("slope", [2.5, 4.0, 8.0])
def test_slope_of_many_pixels_is_that_of_their_distribution(slope):
    # The standard deviation is 1 / √40000 = 0.5 %. What is usual counts as 100 pixels, which changes 0.3 % or
    # less, and rates beyond 200 mm/h as 200, which changes (30 / 200)^2.5 = 0.9 % or less.
    assert tail_slope(frame(slope), 30.0, 200.0, 1.0) == pytest.approx(slope, rel=0.03)


def test_slope_without_heavy_rain_is_the_usual_one():
    assert tail_slope(np.full((9, 9), 29.9, np.float32), 30.0, 200.0, 1.0) == pytest.approx(USUAL)
    assert tail_slope(np.full((9, 9), np.nan, np.float32), 30.0, 200.0, 1.0) == pytest.approx(USUAL)


def test_slope_counts_rain_by_its_area():
    few = frame(2.0, 400)
    slopes = [tail_slope(few, 30.0, 200.0, kilometres) for kilometres in (0.5, 1.0, 2.0)]
    assert USUAL > slopes[0] > slopes[1] > slopes[2] > 2.0


def test_slope_of_unobserved_pixels_and_rates_that_cannot_be_is_known():
    rates = frame(3.0)
    gaps = np.where(np.indices(rates.shape)[0] % 2, np.nan, rates)
    assert tail_slope(gaps, 30.0, 200.0, 1.0) == pytest.approx(3.0, rel=0.05)
    assert tail_slope(np.full((900, 900), np.float32(1e9)), 30.0, 200.0, 1.0) == pytest.approx(
        0.527, rel=0.01
    )
