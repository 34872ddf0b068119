import numpy as np
import pytest

from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import open_radar
from stormcell.errors import InputError


def test_read_options_times_of_one_frame_need_no_step():
    assert ReadOptions(start="2020-05-01T12:00").times(1) == [np.datetime64("2020-05-01T12:00")]


@pytest.mark.parametrize(
    ("options", "reason"),
    [(ReadOptions(step="5min"), "give --start"), (ReadOptions(start="2020-05-01T12:00"), "give --step")],
)
def test_read_options_missing_start_or_step_raises(options, reason):
    with pytest.raises(InputError, match=reason):
        options.times(2)


def test_read_options_grid_lies_within_the_bounds():
    grid = ReadOptions(crs="EPSG:4326", bounds=(10.0, 50.0, 12.0, 51.0)).grid(20, 5)
    assert (grid.x[0] - grid.dx / 2, grid.x[-1] + grid.dx / 2) == pytest.approx((10, 12))
    assert (grid.y[0] + grid.dy / 2, grid.y[-1] - grid.dy / 2) == pytest.approx((51, 50))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "give --crs and --bounds"),
        ({"crs": "EPSG:4326"}, "give --bounds"),
        ({"bounds": (0.0, 0.0, 1.0, 1.0)}, "give --crs"),
    ],
)
def test_read_options_grid_without_position_raises(given, reason):
    with pytest.raises(InputError, match=f"{reason}$"):
        ReadOptions(**given).grid(4, 4)


def test_read_options_lowest_quality_of_a_format_without_quality_raises():
    ReadOptions().expect_no_quality("FMI PGM")
    with pytest.raises(InputError, match="min_quality: expected a quality field, found FMI PGM"):
        ReadOptions(min_quality=0.5).expect_no_quality("FMI PGM")


@pytest.mark.parametrize("own", ["bounds", "accum_time_h", "units"])
def test_read_options_period_that_contradicts_cf_raises(cf, tmp_path, own):
    units = "mm/15min" if own == "units" else "mm"
    ds = cf(np.ones((2, 6, 5)), minutes=15, units=units, standard_name="rainfall_amount")
    if own == "bounds":
        ds["time"].attrs["bounds"] = "time_bounds"
        ds["time"].encoding["units"] = "minutes since 2020-01-01"
        ends = ds["time"].values[:, None]
        ds["time_bounds"] = ("time", "nv"), np.hstack([ends - np.timedelta64(15, "m"), ends])
    elif own == "accum_time_h":
        ds["rain"].attrs["accum_time_h"] = 0.25
    ds.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    found = open_radar(tmp_path / "a.nc", ReadOptions())
    with pytest.raises(InputError, match=r"units: expected the file's 15 min, found mm/7min in the options"):
        found.read(ReadOptions(units="mm/7min"), slice(None))
    rate = found.read(ReadOptions(units="mm/15min"), slice(None))["rainfall_rate"]
    assert rate.max() == 4
