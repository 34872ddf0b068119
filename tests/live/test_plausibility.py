import numpy as np
import pytest
import xarray as xr

from stormcell.errors import FramesError
from stormcell.live.plausibility import expect_plausible

OBSERVED = xr.DataArray(np.full((4, 4), 2.0, np.float32), dims=("y", "x"))


def forecast(value, leads=3):
    return xr.DataArray(np.full((leads, 4, 4), value, np.float32), dims=("time", "y", "x"))


@pytest.mark.parametrize("value", [2.0, 0.4, 10.0])
def test_plausibility_rain_like_the_observed_is_accepted(value):
    expect_plausible(forecast(value), OBSERVED)


def test_plausibility_dry_frame_may_become_a_little_wet():
    expect_plausible(forecast(0.05), 0 * OBSERVED)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.nan, "no defined pixel"),
        (-1.0, "found -1"),
        (np.inf, "infinity"),
        (11.0, "found 11 mm/h"),
        (0.1, "found 0.1 mm/h"),
    ],
)
def test_plausibility_impossible_rain_is_refused(value, found):
    with pytest.raises(FramesError, match=found):
        expect_plausible(forecast(value), OBSERVED)


def test_plausibility_ensemble_is_judged_by_its_mean():
    members = xr.concat([forecast(0.0), forecast(4.0)], dim="realization")
    expect_plausible(members, OBSERVED)


def test_plausibility_forecast_elsewhere_than_the_observed_pixels_is_refused():
    observed = OBSERVED.copy()
    observed[:2] = np.nan
    made = forecast(2.0)
    made[:, 2:] = np.nan
    with pytest.raises(FramesError, match="where the newest frame is observed"):
        expect_plausible(made, observed)
