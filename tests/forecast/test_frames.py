"""Frames and numbers that are no frames and numbers of a forecast."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import stormcell
from stormcell.data.synthetic import generate
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast.baselines import baseline

GIVEN = generate(seed=1, shape=(40, 48), steps=5).rainfall_rate


@pytest.fixture(scope="module", params=["extrapolation", "nowcaster-1"])
def forecaster(request):
    return stormcell.load(request.param) if request.param == "nowcaster-1" else baseline(request.param)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (GIVEN.values, r"frames: expected a DataArray \(time, y, x\) of xarray, found ndarray"),
        (torch.zeros(4, 8, 8), "frames: expected a DataArray .* found Tensor"),
        (GIVEN[-1], r"frames: expected dimensions \(time, y, x\), found \(y, x\)"),
        (GIVEN.drop_vars("time"), "frames: expected a coordinate time, found none"),
        (GIVEN.assign_coords(time=np.arange(5)), "frames: expected times of datetime64.* found int64"),
        (
            GIVEN.assign_coords(time=pd.DatetimeIndex(GIVEN.time.values).tz_localize("UTC")),
            "frames: expected times .* without a time zone, found",
        ),
        (GIVEN.assign_attrs(scale_factor=0.01), "frames: expected rain rates, found packed .* scale_factor"),
        (GIVEN.assign_attrs(units="dBZ"), "frames: expected rain rates in mm/h, found units 'dBZ'"),
        (GIVEN.assign_attrs(units="kg m-2 s-1"), "found units 'kg m-2 s-1'"),
        (GIVEN.where(GIVEN > 1, -9999.0), "frames: expected rates of 0 or more, .* found -9999"),
        (GIVEN.where(GIVEN < 1, np.inf), "frames: expected rates of 0 or more, .* found inf"),
    ],
)
def test_other_frames_are_refused_by_name(forecaster, frames, message):
    with pytest.raises(FramesError, match=message):
        forecaster(frames, 2)


@pytest.mark.parametrize("units", ["mm/h", "mm h-1", "mm/hr", "kg m-2 h-1", "kg/m2/h", "MM/H", None])
def test_spellings_of_millimetres_an_hour_are_accepted(units):
    attrs = {} if units is None else {"units": units}
    frames = xr.DataArray(GIVEN.values, GIVEN.coords, attrs=attrs)
    np.testing.assert_array_equal(baseline("persistence")(frames, 1)[0], GIVEN[-1])


@pytest.mark.parametrize("steps", [1.5, 2.0, "3", None, True])
def test_steps_are_a_whole_number(forecaster, steps):
    with pytest.raises(ArgumentError, match=f"steps: expected a whole number, found {steps!r}"):
        forecaster(GIVEN, steps)
    assert forecaster(GIVEN, np.int64(2)).sizes["time"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 0}, "members: expected 1 or more, found 0"),
        ({"members": 1.5}, "members: expected a whole number, found 1.5"),
        ({"seed": -1}, "seed: expected 0 or more, found -1"),
        ({"seed": None}, "seed: expected a whole number, found None"),
    ],
)
def test_impossible_ensembles_are_refused_by_name(options, message):
    with pytest.raises(ArgumentError, match=message):
        stormcell.load("nowcaster-1").ensemble(GIVEN, 1, **options)


@pytest.mark.parametrize("wrong", [1.0, None, "0.1,1", ["a"], [0.0], [np.nan], [np.inf]])
def test_thresholds_and_levels_are_checked_before_the_forecast(monkeypatch, wrong):
    model = stormcell.load("nowcaster-1")
    monkeypatch.setattr(type(model), "distributions_from", None)  # it would fail if it were called
    with pytest.raises(ArgumentError, match="thresholds: expected rates > 0, found"):
        model.probability(GIVEN, 1, thresholds=wrong)
    with pytest.raises(ArgumentError, match="levels: expected probabilities above 0 and below 1, found"):
        model.quantile(GIVEN, 1, levels=wrong)
