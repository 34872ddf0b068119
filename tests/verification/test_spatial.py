"""FSS compared with plain loops, the ``scores`` package and pysteps."""

import numpy as np
import pytest
from scores.spatial import fss_2d_single_field

from stormcell.errors import ArgumentError
from stormcell.verification.spatial import (
    fss_sums,
    window_counts,
    window_fractions,
    window_pixels,
    window_weights,
)

# Fractions are float32: each has a relative error of at most 2⁻²⁴, its square 2⁻²³, and so has a sum of
# squares. The numerator is a sum of squared differences. Its relative error grows if the fields are similar;
# those compared here are not.
RELATIVE = 1e-6


def loops(forecast, observed, mask, window):
    """Compute the sums pixel by pixel, for every window."""
    half, (height, width) = window // 2, mask.shape
    difference = reference = 0.0
    for y in range(height):
        for x in range(width):
            if not mask[y, x]:
                continue
            known = forecasts = events = 0
            for v in range(max(y - half, 0), min(y + half + 1, height)):
                for u in range(max(x - half, 0), min(x + half + 1, width)):
                    if mask[v, u]:
                        known += 1
                        forecasts += bool(forecast[v, u])
                        events += bool(observed[v, u])
            difference += (forecasts / known - events / known) ** 2
            reference += (forecasts / known) ** 2 + (events / known) ** 2
    return difference, reference


def sums(forecast, observed, mask, window):
    """Return the sums of events under a mask."""
    weights = window_weights(mask, window)
    return fss_sums(*(window_fractions(events, weights, window) for events in (forecast, observed)))


def fields(seed, shape=(23, 17), border=0):
    generator = np.random.default_rng(seed)
    forecast, observed = generator.random((2, *shape)) < 0.3
    if border:
        for field in (forecast, observed):
            field[:border] = field[-border:] = False
            field[:, :border] = field[:, -border:] = False
    return forecast, observed


@pytest.mark.parametrize("window", [1, 3, 9, 33])
@pytest.mark.parametrize("observed_share", [1.0, 0.6])
def test_fss_sums_equal_plain_loops_over_observed_pixels(window, observed_share):
    forecast, observed = fields(1)
    mask = np.random.default_rng(2).random(forecast.shape) < observed_share
    forecast, observed = forecast & mask, observed & mask
    ours = sums(forecast, observed, mask, window)
    assert ours == pytest.approx(loops(forecast, observed, mask, window), rel=RELATIVE)


def test_fss_sums_unobserved_border_changes_nothing():
    forecast, observed = fields(3)
    padded = [np.pad(field, 6) for field in (forecast, observed, np.ones_like(forecast))]
    inside = sums(forecast, observed, np.ones_like(forecast), 9)
    around = sums(*padded, 9)
    # The same terms and zeros, summed in another order in float64.
    assert around == pytest.approx(inside, rel=1e-12)


@pytest.mark.parametrize("window", [1, 3, 9])
def test_fss_equals_that_of_the_scores_package_away_from_the_border(window):
    forecast, observed = fields(4, (50, 44), border=window)
    difference, reference = sums(forecast, observed, np.ones_like(forecast), window)
    theirs = fss_2d_single_field(
        forecast.astype(float), observed.astype(float), event_threshold=0.5, window_size=(window, window)
    )
    assert 1 - difference / reference == pytest.approx(theirs, rel=RELATIVE)


@pytest.mark.parametrize("window", [1, 3, 9])
def test_fss_equals_that_of_pysteps_away_from_the_border(window):
    pytest.importorskip("pysteps", reason="pysteps is not installed")
    from pysteps.verification.spatialscores import fss

    forecast, observed = fields(5, (50, 44), border=window)
    difference, reference = sums(forecast, observed, np.ones_like(forecast), window)
    theirs = fss(forecast.astype(float), observed.astype(float), thr=0.5, scale=window)
    assert 1 - difference / reference == pytest.approx(theirs, rel=RELATIVE)


def test_window_counts_of_large_windows_are_exact():
    everywhere = np.ones((300, 310), bool)
    assert window_counts(everywhere, 201)[150, 150] == 201**2


@pytest.mark.parametrize(
    ("scale", "pixel", "width"), [(2, 1, 3), (2, 2, 1), (16, 2, 9), (32, 0.25, 129), (2, 5, 1), (8, 0.8, 11)]
)
def test_window_pixels_is_the_nearest_odd_number(scale, pixel, width):
    assert window_pixels(scale, pixel) == width
    assert abs(width - scale / pixel) <= 1 or width == 1


def test_window_pixels_of_zero_width_raises():
    with pytest.raises(ArgumentError, match="expected km above 0"):
        window_pixels(2, 0)
