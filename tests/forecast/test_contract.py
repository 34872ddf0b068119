import numpy as np
import pytest
import xarray as xr

from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast.contract import even_step, forecast_array, require


def frames(minutes=(0, 5, 10, 15), **coords):
    times = np.datetime64("2024-06-01T12:00", "ns") + np.array(minutes) * np.timedelta64(60, "s")
    values = np.arange(len(times) * 12.0).reshape(len(times), 3, 4)
    return xr.DataArray(values, coords={"time": times, **coords}, dims=("time", "y", "x"))


def test_the_time_step():
    assert even_step(frames()) == np.timedelta64(5, "m")
    assert even_step(frames((0, 0.5, 1))) == np.timedelta64(30, "s")


def test_a_hole_is_named():
    with pytest.raises(
        FramesError, match="every 5 min, found a hole between 2024-06-01T12:05 and 2024-06-01T12:20"
    ):
        even_step(frames((0, 5, 20)))


def test_times_that_do_not_rise_are_named():
    with pytest.raises(FramesError, match="increasing order, found 2024-06-01T12:05 after 2024-06-01T12:10"):
        even_step(frames((0, 10, 5)))


def test_one_frame_has_no_time_step():
    with pytest.raises(FramesError, match="at least 2 to tell the time step, found 1"):
        even_step(frames((0,)))


def test_the_last_frames_are_given():
    found = require(frames(), 2)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, frames().values[-2:])
    np.testing.assert_array_equal(found["time"], frames()["time"][-2:])


def test_only_what_is_needed_must_be_whole():
    torn = frames((0, 20, 25, 30))
    assert require(torn, 3).sizes["time"] == 3
    with pytest.raises(FramesError, match="a hole between 2024-06-01T12:00 and 2024-06-01T12:20"):
        require(torn, 4)


def test_only_what_is_needed_is_read():
    read = []

    class Lazy(xr.backends.BackendArray):
        shape, dtype = (100, 3, 4), np.dtype("f4")

        def __getitem__(self, key):
            read.append(key.tuple[0])
            return np.zeros((100, 3, 4), np.float32)[key.tuple]

    lazy = xr.Variable(("time", "y", "x"), xr.core.indexing.LazilyIndexedArray(Lazy()))
    times = frames(range(0, 500, 5))["time"]
    require(xr.DataArray(lazy, coords={"time": times}), 3)
    assert [len(range(100)[part]) for part in read] == [3]


def test_too_few_frames_are_counted():
    with pytest.raises(FramesError, match="at least 5 without a hole up to the issue time, found 4"):
        require(frames(), 5)


def test_another_time_step_is_refused():
    assert require(frames(), 2, step=np.timedelta64(300, "s")).sizes["time"] == 2
    with pytest.raises(FramesError, match="one every 10 min, found one every 5 min"):
        require(frames(), 2, step=np.timedelta64(10, "m"))


def test_other_dimensions_are_refused():
    with pytest.raises(FramesError, match=r"expected dimensions \(time, y, x\), found \(time, x, y\)"):
        require(frames().transpose("time", "x", "y"), 2)


def test_a_forecast_knows_its_times_and_its_place():
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


def test_a_forecast_says_whose_data_it_was_made_from():
    given = frames().assign_attrs(source="a radar", license="CC-BY-4.0", title="frames", zr_a=223.0)
    once = forecast_array(np.ones((2, 3, 4)), given, attrs={"source": "a model"})
    twice = forecast_array(np.ones((2, 3, 4)), once)
    for forecast in (once, twice):
        assert forecast.attrs["data_source"] == "a radar"
        assert forecast.attrs["license"] == "CC-BY-4.0"
    assert once.attrs["source"] == "a model"
    assert not {"source", "title", "zr_a"} & set(twice.attrs)
    assert not {"data_source", "license"} & set(forecast_array(np.ones((2, 3, 4)), frames()).attrs)


def test_a_forecast_from_a_forecast():
    once = forecast_array(np.ones((3, 3, 4)), frames())
    twice = forecast_array(np.ones((2, 3, 4)), once)
    assert twice["forecast_reference_time"].values == once["time"].values[-1]


def test_members_come_first():
    forecast = forecast_array(np.ones((5, 2, 3, 4)), frames())
    assert forecast.dims == ("realization", "time", "y", "x")
    assert forecast["realization"].values.tolist() == [0, 1, 2, 3, 4]
    assert "grid_mapping" not in forecast.attrs


@pytest.mark.parametrize("shape", [(2, 4, 3), (3, 4), (1, 1, 2, 3, 4)])
def test_values_of_another_grid_are_refused(shape):
    with pytest.raises(ArgumentError, match=r"expected \(steps, 3, 4\), found"):
        forecast_array(np.ones(shape), frames())
