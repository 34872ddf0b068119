import numpy as np
import pytest
import xarray as xr

from stormcell.errors import ArgumentError
from stormcell.forecast.anchored_rain import AnchoredRain
from stormcell.forecast.lead_fields import LeadFields, probabilities, quantiles, rates

THRESHOLDS = [0.1, 1.0, 10.0]


def frames() -> xr.DataArray:
    coords = {
        "time": np.datetime64("2024-06-01", "ns") + np.arange(3) * np.timedelta64(300, "s"),
        "y": ("y", -1000.0 * np.arange(4), {"units": "m"}),
        "x": ("x", 1000.0 * np.arange(5), {"units": "m"}),
        "crs": ((), 0, {"grid_mapping_name": "stereographic"}),
    }
    attributes = {"license": "CC0-1.0", "source": "a radar"}
    return xr.DataArray(np.ones((3, 4, 5), np.float32), coords, ("time", "y", "x"), "rain", attributes)


def collected(product: LeadFields) -> xr.DataArray:
    """Two lead times: rain with 0.8, 0.4 and 0.1 in the first, with half as much in the second."""
    for lead in range(2):
        exceedance = np.array([0.8, 0.4, 0.1], np.float32)[:, None, None] / (1 + lead)
        field = np.broadcast_to(exceedance, (3, 4, 5)).copy()
        field[:, 0, 0] = np.nan
        product.put(AnchoredRain(THRESHOLDS, field, [19, 0, 0]), lead, steps=2)
    return product.array(frames())


def test_probability_has_thresholds_lead_times_and_the_grid():
    made = collected(probabilities([0.1, 1.0]))
    assert made.name == "rainfall_rate_probability"
    assert made.dims == ("threshold", "time", "y", "x")
    assert made["threshold"].values.tolist() == [0.1, 1.0]
    assert made["threshold"].attrs["units"] == "kg m-2 h-1"
    np.testing.assert_allclose(made.values[:, :, 2, 3], [[0.8, 0.4], [0.4, 0.2]], rtol=1e-6)
    assert np.isnan(made.values[..., 0, 0]).all()
    assert np.isfinite(made.values[..., 1:, :]).all()
    assert made["forecast_period"].values.tolist() == [300 * 10**9, 600 * 10**9]
    np.testing.assert_array_equal(made["x"].values, frames()["x"].values)
    assert made.attrs["units"] == "1"
    assert made.attrs["standard_name"] == "probability_of_rainfall_rate_above_threshold"
    assert made.attrs["grid_mapping"] == "crs"
    assert made.attrs["license"] == "CC0-1.0"
    assert made.attrs["data_source"] == "a radar"
    assert "realization" not in made.coords


def test_quantile_has_levels_lead_times_and_the_grid():
    made = collected(quantiles([0.1, 0.6, 0.9]))
    assert made.name == "rainfall_rate_quantile"
    assert made.dims == ("quantile", "time", "y", "x")
    assert made["quantile"].values.tolist() == [0.1, 0.6, 0.9]
    # It is dry with 0.2 and 0.6; a rate of 1 mm/h is exceeded with 0.4 and 0.2, one of 10 with 0.1 and 0.05.
    np.testing.assert_allclose(made.values[0, :, 2, 3], [0, 0])
    np.testing.assert_allclose(made.values[1:, 0, 2, 3], [1.0, 10.0], rtol=1e-4)
    assert made.values[1, 1, 2, 3] in (0, np.float32(0.1))  # the border between dry and the first rate
    # From 1 to 10 mm/h, it falls from 0.2 to 0.05; halfway, the odds are the root of 1 / 4 · 1 / 19.
    middle = 1 / (1 + np.sqrt(4 * 19))
    part = 0.5 + 0.5 * np.log(middle / 0.1) / np.log(middle / 0.05)
    np.testing.assert_allclose(made.values[2, 1, 2, 3], 10**part, rtol=1e-4)
    assert made.attrs["units"] == "kg m-2 h-1"
    assert np.isnan(made.values[..., 0, 0]).all()


def test_rates_are_the_single_forecasts():
    made = collected(rates())
    assert made.name == "rainfall_rate"
    assert made.dims == ("time", "y", "x")
    assert made.attrs["units"] == "kg m-2 h-1"
    assert np.isnan(made.values[:, 0, 0]).all()
    # In the newest frame, all pixels had rain below 1 mm/h.
    wet = made.values[:, 1:]
    assert ((wet >= 0.1) & (wet < 1)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: collected(probabilities([0.0])), "thresholds: expected rates > 0"),
        (lambda: collected(quantiles([0.5, 1.0])), "levels: expected probabilities"),
    ],
)
def test_products_of_impossible_numbers_are_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
