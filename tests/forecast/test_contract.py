from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from stormcell.data import synthetic
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast.baselines import baseline
from stormcell.forecast.contract import Analysis, Needs, forecast_array, make_forecast
from stormcell.forecast.frames import require
from stormcell.motion import optical_flow


def frames(minutes=(0, 5, 10, 15), **coords):
    times = np.datetime64("2024-06-01T12:00", "ns") + np.array(minutes) * np.timedelta64(60, "s")
    values = np.arange(len(times) * 12.0).reshape(len(times), 3, 4)
    return xr.DataArray(values, coords={"time": times, **coords}, dims=("time", "y", "x"))


def test_require_returns_the_last_frames():
    found = require(frames(), 2)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, frames().values[-2:])
    np.testing.assert_array_equal(found["time"], frames()["time"][-2:])


def test_require_earlier_gap_is_ignored():
    with_gap = frames((0, 20, 25, 30))
    assert require(with_gap, 3).sizes["time"] == 3
    with pytest.raises(FramesError, match="a gap between 2024-06-01T12:00 and 2024-06-01T12:20"):
        require(with_gap, 4)


def lazy_frames():
    """A list that records the number of frames of every read, and 100 lazy frames."""
    reads = []

    class Lazy(xr.backends.BackendArray):
        shape, dtype = (100, 3, 4), np.dtype("f4")

        def __getitem__(self, key):
            reads.append(len(range(100)[key.tuple[0]]))
            return np.zeros((100, 3, 4), np.float32)[key.tuple]

    lazy = xr.Variable(("time", "y", "x"), xr.core.indexing.LazilyIndexedArray(Lazy()))
    return reads, xr.DataArray(lazy, coords={"time": frames(range(0, 500, 5))["time"]})


def test_require_reads_only_what_is_needed():
    reads, lazy = lazy_frames()
    require(lazy, 3)
    assert reads == [3]


def test_require_too_few_frames_error_names_the_number():
    with pytest.raises(FramesError, match="at least 5 without a gap up to the issue time, found 4"):
        require(frames(), 5)


def test_require_other_dimensions_raises():
    with pytest.raises(FramesError, match=r"expected dimensions \(time, y, x\), found \(time, x, y\)"):
        require(frames().transpose("time", "x", "y"), 2)


def test_forecast_array_sets_times_and_coordinates():
    crs = xr.Variable((), 0, {"crs_wkt": "a projection", "spatial_ref": "a projection"})
    given = frames(
        y=[30.0, 20.0, 10.0],
        x=[1.0, 2.0, 3.0, 4.0],
        lat=(("y", "x"), np.ones((3, 4))),
        crs=crs,
        quality=("time", [1, 2, 3, 4]),
    )
    forecast = forecast_array(np.ones((2, 3, 4)), given, attrs={"forecaster": "somebody"})
    assert forecast.name == "rainfall_rate"
    assert forecast.dtype == np.float32
    assert forecast.dims == ("time", "y", "x")
    expected = ["2024-06-01T12:20", "2024-06-01T12:25"]
    assert np.datetime_as_string(forecast["time"].values, unit="m").tolist() == expected
    assert (forecast["forecast_period"].values / np.timedelta64(1, "m")).tolist() == [5, 10]
    assert forecast["forecast_reference_time"].values == np.datetime64("2024-06-01T12:15")
    assert set(forecast.coords) == {
        "time", "forecast_period", "forecast_reference_time", "y", "x", "lat", "crs",
    }  # fmt: skip
    assert forecast["crs"].attrs == crs.attrs
    assert forecast.attrs["grid_mapping"] == "crs"
    assert forecast.attrs["units"] == "kg m-2 h-1"
    assert forecast.attrs["forecaster"] == "somebody"


def test_forecast_array_records_source_and_licence_of_data():
    given = frames().assign_attrs(source="a radar", license="CC-BY-4.0", title="frames", zr_a=223.0)
    once = forecast_array(np.ones((2, 3, 4)), given, attrs={"source": "a model"})
    twice = forecast_array(np.ones((2, 3, 4)), once)
    for forecast in (once, twice):
        assert forecast.attrs["data_source"] == "a radar"
        assert forecast.attrs["license"] == "CC-BY-4.0"
    assert once.attrs["source"] == "a model"
    assert not {"source", "title", "zr_a"} & set(twice.attrs)
    assert not {"data_source", "license"} & set(forecast_array(np.ones((2, 3, 4)), frames()).attrs)


def test_forecast_array_from_forecast_issues_at_its_last_time():
    once = forecast_array(np.ones((3, 3, 4)), frames())
    twice = forecast_array(np.ones((2, 3, 4)), once)
    assert twice["forecast_reference_time"].values == once["time"].values[-1]


def test_forecast_array_ensemble_has_realization_first():
    forecast = forecast_array(np.ones((5, 2, 3, 4)), frames())
    assert forecast.dims == ("realization", "time", "y", "x")
    assert forecast["realization"].values.tolist() == [0, 1, 2, 3, 4]
    assert "grid_mapping" not in forecast.attrs


@pytest.mark.parametrize("shape", [(2, 4, 3), (3, 4), (1, 1, 2, 3, 4)])
def test_forecast_array_values_of_other_grid_raises(shape):
    with pytest.raises(ArgumentError, match=r"expected \(steps, 3, 4\), found"):
        forecast_array(np.ones(shape), frames())


def test_analysis_five_forecasters_estimate_one_motion(monkeypatch):
    event = synthetic.generate(seed=2, steps=6, shape=(48, 60)).rainfall_rate
    estimate, calls = optical_flow.estimate, []
    monkeypatch.setattr(
        optical_flow, "estimate", lambda *given, **more: calls.append(1) or estimate(*given, **more)
    )
    moving = replace(baseline("extrapolation"), title="another")
    forecasters = [baseline("persistence"), baseline("extrapolation"), moving, moving, moving]
    analysis = Analysis(event)
    forecasts = [make_forecast(forecaster, analysis, 2) for forecaster in forecasters]
    assert len(calls) == 1
    for forecaster, shared in zip(forecasters, forecasts, strict=True):
        xr.testing.assert_identical(shared, forecaster(event, 2))


def test_analysis_motion_of_other_count_is_another_estimate():
    event = synthetic.generate(seed=2, steps=6, shape=(48, 60)).rainfall_rate
    analysis = Analysis(event)
    assert analysis.motion() is analysis.motion(3)
    np.testing.assert_array_equal(analysis.motion(2), optical_flow.estimate(event.values, count=2))
    assert not np.array_equal(analysis.motion(2), analysis.motion(3))


def test_analysis_latest_reads_only_what_is_needed():
    reads, lazy = lazy_frames()
    analysis = Analysis(lazy)
    for count in (3, 2, 3):
        assert analysis.latest(Needs(count)).sizes["time"] == count
    assert reads == [3]


def test_make_forecast_plain_callable_gets_all_frames():
    given = frames()
    found = make_forecast(lambda rain, steps: rain[-1:] * steps, Analysis(given), 2)
    np.testing.assert_array_equal(found, given[-1:] * 2)


def test_make_forecast_zero_steps_raises():
    with pytest.raises(ArgumentError, match="steps: expected 1 or more, found 0"):
        make_forecast(lambda rain, _: rain, Analysis(frames()), 0)
