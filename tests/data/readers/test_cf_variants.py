"""What real CF files do. Each test makes a file of one kind, and knows the right values from its numbers."""

import bz2

import h5netcdf
import h5py
import numpy as np
import pyproj
import pytest
import xarray as xr

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import open_radar
from stormcell.errors import InputError

ALL = slice(None)
STEP = np.timedelta64(5, "m")
START = np.datetime64("2016-09-28T14:45", "s")


def read(path, options=None, frames=ALL):
    options = options or ReadOptions()
    file = open_radar(path, options)
    ds = file.read(options, frames)
    schema.check(ds)
    np.testing.assert_array_equal(ds["time"].values, np.sort(file.times[frames]))
    return ds


def rates(ds):
    return ds["rainfall_rate"].values


def times(ds):
    return ds["time"].values.astype("datetime64[s]")


@pytest.fixture
def write(tmp_path):
    """Write a NetCDF4 file: variables as ``name: (dimensions, values, attributes)``."""

    def to_file(variables, attributes=None, name="rain.nc"):
        path = tmp_path / name
        with h5netcdf.File(path, "w") as file:
            for dims, values, _ in variables.values():
                for dim, size in zip(dims, np.shape(values), strict=True):
                    if dim not in file.dimensions:
                        file.dimensions[dim] = size
            for key, (dims, values, stated) in variables.items():
                fill = stated.get("_FillValue")
                item = file.create_variable(key, dims, np.asarray(values).dtype, fillvalue=fill)
                item[...] = values
                for attribute, value in stated.items():
                    if attribute != "_FillValue":
                        item.attrs[attribute] = value
            for attribute, value in (attributes or {}).items():
                file.attrs[attribute] = value
        return path

    return to_file


def degrees(values, frames=1, **attributes):
    """Return variables of rain on a grid in degrees."""
    values = np.asarray(values)
    values = np.broadcast_to(values, (frames, *values.shape)) if values.ndim == 2 else values
    _, rows, columns = values.shape
    return {
        "rain": (("time", "lat", "lon"), values, {"units": "mm/h", **attributes}),
        "time": (("time",), np.arange(len(values)) * 300, {"units": f"seconds since {START}"}),
        "lat": (("lat",), 50 - 0.01 * np.arange(rows), {"units": "degrees_north"}),
        "lon": (("lon",), 10 + 0.01 * np.arange(columns), {"units": "degrees_east"}),
    }


FRAMES = np.arange(24 * 6.0).reshape(24, 2, 3)


# Times


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize(
    ("unit", "seconds"), [("hours", 3600), ("days", 86400), ("minutes", 60), ("seconds", 1)]
)
@pytest.mark.parametrize("year", [1900, 1970, 2016])
def test_cf_times_with_a_fraction_are_rounded_to_the_right_minute(write, dtype, unit, seconds, year):
    variables = degrees(FRAMES)
    expected = START + STEP * np.arange(24)
    since = (expected - np.datetime64(f"{year}-01-01T00:00:00")).astype(int) / seconds
    numbers = since.astype(dtype)
    variables["time"] = (("time",), numbers, {"units": f"{unit} since {year}-01-01"})
    resolution = float(np.spacing(numbers.max())) * seconds
    if resolution > 300:
        with pytest.raises(InputError, match=r"time: expected numbers that resolve a second, found \d+ s"):
            read(write(variables))
    else:
        np.testing.assert_array_equal(times(read(write(variables))), expected)


@pytest.mark.parametrize("frames", [1, 3])
def test_cf_times_of_coarse_numbers_and_few_frames_are_refused(write, frames):
    # Single precision has 12:03:45 and 12:07:30 and nothing between: three frames fit many steps.
    variables = degrees(FRAMES[:frames])
    since = (START - np.datetime64("1900-01-01T00:00:00")).astype(int) / 3600 + np.arange(frames) / 12
    variables["time"] = (("time",), since.astype("f4"), {"units": "hours since 1900-01-01"})
    with pytest.raises(InputError, match="expected numbers that resolve a second, found 225 s"):
        read(write(variables))


def test_cf_times_in_double_precision_that_were_computed_in_single_are_found(write):
    variables = degrees(FRAMES)
    since = (START - np.datetime64("1900-01-01T00:00:00")).astype(int) / 3600 + np.arange(24) / 12
    variables["time"] = (("time",), since.astype("f4").astype("f8"), {"units": "hours since 1900-01-01"})
    np.testing.assert_array_equal(times(read(write(variables))), START + STEP * np.arange(24))


@pytest.mark.parametrize(
    ("units", "number", "expected"),
    [
        ("days since 1970-1-1", 1, "1970-01-02"),
        ("seconds since 2020-05-01T12:00:00Z", 30, "2020-05-01T12:00:30"),
        ("Minutes since 2020-05-01 12:00:00 UTC", 5, "2020-05-01T12:05"),
        ("hours since 2020-05-01 12:00:0.0", 1, "2020-05-01T13:00"),
        ("hours since 2020-05-01 12:00 +02:00", 1, "2020-05-01T11:00"),
        ("hours since 2020-05-01 12:00:00 -6:00", 1, "2020-05-01T19:00"),
        ("milliseconds since 2020-05-01", 60_000, "2020-05-01T00:01"),
        ("seconds since 20200501T120000Z", 60, "2020-05-01T12:01"),
        ("h since 2020-05-01", 2, "2020-05-01T02:00"),
        # The standard calendar of CF is Julian before 1582: its 0001-01-01 is two days earlier than that of
        # datetime.date, which has the ordinal 737181 + 1 for 2019-05-03.
        ("days since 0001-01-01", 737_181, "2019-05-01T00:00"),
        ("hours since 1-1-1 00:00:0.0", 737_181 * 24, "2019-05-01T00:00"),
    ],
)
def test_cf_times_units_in_any_form_are_decoded(write, units, number, expected):
    variables = degrees(FRAMES[:1])
    variables["time"] = (("time",), np.array([number]), {"units": units})
    assert times(read(write(variables)))[0] == np.datetime64(expected)


def test_cf_times_since_year_one_in_the_proleptic_calendar_are_decoded(write):
    import datetime

    variables = degrees(FRAMES[:1])
    days = datetime.date(2019, 5, 2).toordinal() - 1
    variables["time"] = (
        ("time",),
        np.array([days]),
        {"units": "days since 0001-01-01", "calendar": "proleptic_gregorian"},
    )
    assert times(read(write(variables)))[0] == np.datetime64("2019-05-02")


@pytest.mark.parametrize(
    ("units", "calendar", "reason"),
    [
        (
            "months since 2020-01-01",
            "standard",
            "expected seconds, minutes, hours or days since a date, found",
        ),
        (
            "years since 2020-01-01",
            "standard",
            "expected seconds, minutes, hours or days since a date, found",
        ),
        ("days since 2020-01-01", "noleap", "expected the standard calendar, found 'noleap'"),
        ("days since 2020-01-01", "360_day", "expected the standard calendar, found '360_day'"),
        ("days since 2020-01-01", "julian", "expected the standard calendar, found 'julian'"),
        ("days since 0000-01-01", "standard", "expected a date that exists"),
        ("days since 2020-02-30", "standard", "expected a date that exists"),
        ("days since launch", "standard", "expected a date such as 1970-01-01"),
        ("fortnights since 2020-01-01", "standard", "expected seconds, minutes, hours or days since a date"),
    ],
)
def test_cf_times_of_another_calendar_or_unit_are_refused_in_one_line(write, units, calendar, reason):
    variables = degrees(FRAMES[:2])
    variables["time"] = (("time",), np.array([1, 2]), {"units": units, "calendar": calendar})
    with pytest.raises(InputError, match=rf"^time: [^\n]*{reason}[^\n]*$"):
        read(write(variables))


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e30, -1e30, 9.969209968386869e36])
def test_cf_times_that_are_missing_or_absurd_are_refused(write, number):
    variables = degrees(FRAMES[:2])
    variables["time"] = (("time",), np.array([1.0, number]), {"units": "hours since 2020-01-01"})
    with pytest.raises(InputError, match=r"^time: expected (a time for every frame|years 1 to 9999)"):
        read(write(variables))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("units", ["mm/h", "mm"])
def test_cf_times_bounds_in_either_order_end_at_the_later(write, order, units):
    variables = degrees(FRAMES[:3], units=units)
    ends = np.arange(1, 4) * 300
    bounds = np.stack([ends - 300, ends], axis=1)[:, order]
    variables["time"] = (("time",), ends - 150, {"units": f"seconds since {START}", "bounds": "limits"})
    variables["limits"] = (("time", "two"), bounds, {})
    found = read(write(variables))
    np.testing.assert_array_equal(times(found), START + STEP * np.arange(1, 4))
    np.testing.assert_allclose(rates(found), FRAMES[:3] * (12 if units == "mm" else 1), rtol=1e-6)


def test_cf_times_outside_their_bounds_are_refused(write):
    variables = degrees(FRAMES[:1])
    variables["time"] = (("time",), np.array([9000]), {"units": f"seconds since {START}", "bounds": "limits"})
    variables["limits"] = (("time", "two"), np.zeros((1, 2)), {})
    with pytest.raises(InputError, match="limits: expected bounds around time"):
        read(write(variables))


@pytest.mark.parametrize("name", ["time_bnds", "time_bounds"])
def test_cf_times_bounds_that_are_not_linked_are_found_by_their_name(write, name):
    variables = degrees(FRAMES[:2], units="mm")  # the times are the starts
    variables[name] = (("time", "nv"), np.array([[0, 300], [300, 600]]), {})
    found = read(write(variables))
    np.testing.assert_array_equal(times(found), START + STEP * np.arange(1, 3))
    np.testing.assert_allclose(rates(found), FRAMES[:2] * 12, rtol=1e-6)


@pytest.mark.parametrize("made", [0, [0, 0, 0]])
def test_cf_times_after_a_forecast_was_made_are_those_of_a_forecast(write, made):
    variables = degrees(FRAMES[:3])
    stated = {"units": f"seconds since {START}", "standard_name": "forecast_reference_time"}
    variables["issued"] = ((), np.int64(0), stated)
    if made != 0:
        variables["issued"] = (("time",), np.array(made), stated)
    with pytest.raises(
        InputError, match="issued: expected observations, found a forecast up to 10 min ahead"
    ):
        read(write(variables))


def test_cf_times_at_which_an_analysis_was_made_are_those_of_its_frames(write):
    variables = degrees(FRAMES[:3])
    stated = {"units": f"seconds since {START}", "standard_name": "forecast_reference_time"}
    variables["issued"] = (("time",), np.array([0, 300, 600]), stated)
    np.testing.assert_array_equal(times(read(write(variables))), START + STEP * np.arange(3))


def test_cf_times_accumulations_over_different_periods_are_refused(write):
    variables = degrees(FRAMES[:2], units="mm")
    variables["time"] = (("time",), np.array([300, 900]), {"units": f"seconds since {START}", "bounds": "b"})
    variables["b"] = (("time", "two"), np.array([[0, 300], [300, 900]]), {})
    with pytest.raises(
        InputError, match="expected one accumulation period for all frames, found 5 to 10 min"
    ):
        read(write(variables))


@pytest.mark.parametrize("name", ["valid_time", "t", "Time", "epoch"])
@pytest.mark.parametrize("attributes", [{"standard_name": "time"}, {"axis": "T"}, {}])
def test_cf_times_under_another_name_are_found(write, name, attributes):
    variables = degrees(FRAMES[:3])
    _, numbers, stated = variables.pop("time")
    variables["rain"] = ((name, "lat", "lon"), *variables["rain"][1:])
    variables[name] = ((name,), numbers, {**stated, **attributes})
    variables["forecast_reference_time"] = ((), np.int64(0), {"units": "hours since 1970-01-01"})
    assert times(read(write(variables)))[2] == START + 2 * STEP


@pytest.mark.parametrize("standard_name", ["time", "start_time"])
def test_cf_times_start_of_an_accumulation_is_not_its_time(write, standard_name):
    variables = degrees(FRAMES[:1], units="mm")
    _, _, stated = variables.pop("time")
    variables["rain"] = (("lat", "lon"), FRAMES[0], {"units": "mm"})
    variables["valid_time"] = ((), np.int64(600), {**stated, "standard_name": "time"})
    variables["start_time"] = ((), np.int64(0), {**stated, "standard_name": standard_name})
    found = read(write(variables))
    assert times(found)[0] == START + 2 * STEP
    np.testing.assert_allclose(rates(found)[0], FRAMES[0] * 6, rtol=1e-6)


def test_cf_times_along_a_dimension_without_coordinate_are_found(write):
    variables = degrees(FRAMES[:3])
    _, numbers, stated = variables.pop("time")
    variables["rain"] = (("record", "lat", "lon"), *variables["rain"][1:])
    variables["valid_time"] = (("record",), numbers, stated)
    variables["start_time"] = (("record",), numbers - 300, stated)
    assert times(read(write(variables)))[2] == START + 2 * STEP


@pytest.mark.parametrize("shape", [(), ("one",)])
def test_cf_times_scalar_time_counts_for_a_single_frame(write, shape):
    variables = degrees(FRAMES[:1])
    variables["rain"] = (("lat", "lon"), FRAMES[0], {"units": "mm/h"})
    numbers = np.int64(600) if shape == () else np.array([600])
    variables["time"] = (shape, numbers, {"units": f"seconds since {START}", "standard_name": "time"})
    found = read(write(variables))
    assert times(found)[0] == START + 2 * STEP
    np.testing.assert_array_equal(rates(found)[0], FRAMES[0])


def test_cf_times_as_text_are_read(write):
    variables = degrees(FRAMES[:2])
    stated = np.array([b"2016-09-28T14:45:00Z", b"2016-09-28T14:50:00Z"])
    variables["time"] = (("time",), stated, {"standard_name": "time"})
    np.testing.assert_array_equal(times(read(write(variables))), START + STEP * np.arange(2))


def test_cf_times_as_characters_are_read(tmp_path):
    """The form of WRF: an array of characters (time, length) without units."""
    ds = xr.Dataset(
        {"rain": (("time", "lat", "lon"), FRAMES[:2], {"units": "mm/h"})},
        coords={
            "time": ("time", np.array([b"2016-09-28_14:45:00", b"2016-09-28_14:50:00"])),
            "lat": ("lat", [50, 49.99], {"units": "degrees_north"}),
            "lon": ("lon", [10, 10.01, 10.02], {"units": "degrees_east"}),
        },
    )
    ds.to_netcdf(tmp_path / "r.nc", engine="scipy", format="NETCDF3_CLASSIC")
    np.testing.assert_array_equal(times(read(tmp_path / "r.nc")), START + STEP * np.arange(2))


def test_cf_times_without_a_date_need_the_first_from_the_user(write):
    variables = degrees(FRAMES[:2])
    variables["time"] = (("time",), np.array([0, 300]), {"units": "seconds"})
    with pytest.raises(InputError, match="time: expected dates of the standard calendar in CF units"):
        read(write(variables))
    found = read(write(variables), ReadOptions(start="2016-09-28T14:45", step="5min"))
    np.testing.assert_array_equal(times(found), START + STEP * np.arange(2))


def test_cf_times_of_a_single_frame_without_one_is_that_of_the_name(write):
    variables = degrees(FRAMES[:1])
    del variables["time"]
    variables["rain"] = (("lat", "lon"), FRAMES[0], {"units": "mm/h"})
    assert times(read(write(variables, name="rain_201609281455.nc"))) == [START + 2 * STEP]
    stated = ReadOptions(start="2016-09-28T14:45")
    assert times(read(write(variables, name="rain_201609281455.nc"), stated)) == [START]
    with pytest.raises(InputError, match="time: expected this coordinate of CF, found no times"):
        read(write(variables, name="rain_1.nc"))
    variables["rain"] = (("n", "lat", "lon"), FRAMES[:2], {"units": "mm/h"})
    with pytest.raises(InputError, match="time: expected this coordinate of CF, found no times"):
        read(write(variables, name="rain_201609281455.nc"))


def test_cf_times_of_the_file_must_not_be_contradicted(write):
    with pytest.raises(InputError, match="start: expected the file's 2016-09-28T14:45:00, found 2020"):
        read(write(degrees(FRAMES[:2])), ReadOptions(start="2020-01-01T00:00", step="5min"))


def test_cf_times_stated_by_the_user_count_for_files_without_times(write):
    variables = degrees(FRAMES[:3])
    del variables["time"]
    with pytest.raises(InputError, match="found no times; give the first with --start"):
        read(write(variables))
    found = read(write(variables), ReadOptions(start="2016-09-28 16:45+02:00", step="5min"))
    np.testing.assert_array_equal(times(found), START + STEP * np.arange(3))


# Values

CODES = np.array([[0, 10, 250], [251, 254, 255]])
EXPECTED = np.array([[0, 5, 125], [np.nan, np.nan, np.nan]])


@pytest.mark.parametrize(
    "limits",
    [
        {"valid_range": np.array([0, 250], "u1")},
        {"valid_range": np.array([0, 250])},
        {"valid_max": np.uint8(250)},
        {"valid_min": np.uint8(0), "valid_max": 250},
        {"valid_max": np.float32(250)},
    ],
)
def test_cf_packed_values_outside_the_valid_range_are_missing(write, limits):
    variables = degrees(CODES.astype("u1"), scale_factor=0.5, _FillValue=np.uint8(255), **limits)
    np.testing.assert_array_equal(rates(read(write(variables)))[0], EXPECTED)


def test_cf_packed_valid_range_in_the_type_of_the_scale_is_refused_where_it_is_ambiguous(write):
    # CF: packed values, so code 250 is missing. The user guide of NetCDF: unpacked, so 125 is valid.
    variables = degrees(CODES.astype("u1"), scale_factor=0.5, valid_range=np.array([0.0, 127.0]))
    with pytest.raises(InputError, match="expected a valid range in the type of the packed values, uint8"):
        read(write(variables))
    variables = degrees(CODES.astype("u1"), scale_factor=0.5, valid_min=np.float64(0))
    np.testing.assert_array_equal(rates(read(write(variables)))[0], CODES / 2)


@pytest.mark.parametrize(
    "limits",
    [
        {"valid_range": np.array([0.0, 250.0])},  # no unpacked byte exceeds 127.5
        {"valid_max": np.float64(125.25)},  # not a packed number
    ],
)
def test_cf_packed_valid_range_in_the_type_of_the_scale_is_read_where_it_is_clear(write, limits):
    variables = degrees(CODES.astype("u1"), scale_factor=0.5, **limits)
    np.testing.assert_array_equal(rates(read(write(variables)))[0], EXPECTED)


def test_cf_packed_valid_range_of_floats_is_respected(write):
    values = np.array([[0, 1.5, 300], [-5, 301, np.nan]], "f4")
    variables = degrees(values, valid_range=np.array([0, 300], "f8"))
    np.testing.assert_array_equal(rates(read(write(variables)))[0], [[0, 1.5, 300], [np.nan] * 3])


def test_cf_packed_unsigned_bytes_in_a_signed_type_are_unsigned(write):
    variables = degrees(
        CODES.astype("u1").view("i1"),
        scale_factor=0.5,
        _FillValue=np.int8(-1),
        _Unsigned="true",
        valid_range=np.array([0, -6], "i1"),
    )
    np.testing.assert_array_equal(rates(read(write(variables)))[0], EXPECTED)


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [("i2", -32767), ("u2", 65535), ("i4", -2147483647), ("f4", 9.96921e36), ("f8", 9.969209968386869e36)],
)
def test_cf_packed_default_fill_value_of_netcdf_is_missing(write, dtype, fill):
    values = np.array([[0, 1, 2], [3, 4, fill]]).astype(dtype)
    if dtype == "f4":
        values[1, 2] = np.float32(9.969209968386869e36)
    np.testing.assert_array_equal(rates(read(write(degrees(values))))[0], [[0, 1, 2], [3, 4, np.nan]])


@pytest.mark.parametrize(
    ("dtype", "fill", "unsigned"),
    [("i2", -32767, {}), ("i2", -32767, {"_Unsigned": "true"}), ("f4", 9.969209968386869e36, {})],
)
def test_cf_packed_default_fill_value_is_missing_beside_a_missing_value(write, dtype, fill, unsigned):
    values = np.array([[0, 1, 2], [3, -1, fill]]).astype(dtype)
    stated = {"missing_value": np.array(-1, dtype), **unsigned}
    found = read(write(degrees(values, **stated)))
    np.testing.assert_array_equal(rates(found)[0], [[0, 1, 2], [3, np.nan, np.nan]])


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [("gain", 0.1, "scale_factor"), ("Scale_Factor", 0.1, "scale_factor"), ("offset", -32.0, "add_offset")],
)
def test_cf_packed_scale_of_another_name_is_refused_for_whole_numbers(write, name, value, meant):
    values = np.array([[0, 1, 2], [3, 4, 5]])
    path = write(degrees(values.astype("i2"), **{name: value}))
    with pytest.raises(InputError, match=f"found {name} {value}; rename it, .* -a {name},{meant}"):
        read(path)
    neutral = {name: 1 if meant == "scale_factor" else 0}
    for kind, stated in (("i2", neutral), ("i2", {name: value, "scale_factor": 1.0}), ("f4", {name: value})):
        found = read(write(degrees(values.astype(kind), **stated)))
        np.testing.assert_array_equal(rates(found)[0], values)


def test_cf_packed_flags_in_rain_are_refused_until_their_meaning_is_stated(write):
    values = np.array([[0, 1, 2], [3, 254, 255]], "u1")
    flags = {"flag_values": np.array([254, 255], "u1"), "flag_meanings": "clutter outside"}
    path = write(degrees(values, standard_name="rainfall_rate", _FillValue=np.uint8(255), **flags))
    with pytest.raises(InputError, match=r"found flag_values \(clutter outside\); .* with --nodata 254$"):
        read(path)
    found = read(path, ReadOptions(nodata=(254.0,)))
    np.testing.assert_array_equal(rates(found)[0], [[0, 1, 2], [3, np.nan, np.nan]])


@pytest.mark.parametrize(
    "stated",
    [
        {"missing_value": np.array([-1, -2], "i2")},
        {"missing_value": np.array([-1.0, -2.0])},
        {"missing_value": np.int16(-2), "_FillValue": np.int16(-1)},
    ],
)
def test_cf_packed_missing_values_are_packed_and_may_be_several(write, stated):
    codes = np.array([[0, 10, 20], [30, -1, -2]], "i2")
    found = read(write(degrees(codes, scale_factor=0.1, add_offset=1.0, **stated)))
    np.testing.assert_allclose(rates(found)[0], [[1, 2, 3], [4, np.nan, np.nan]], rtol=1e-6)


def test_cf_packed_fill_value_in_single_precision_is_that_of_the_values(write):
    values = np.array([[0, 1, 2], [3, 4, -999.9]], "f4")
    for missing in (np.float64(-999.9), np.float32(-999.9)):
        found = read(write(degrees(values, missing_value=missing)))
        np.testing.assert_array_equal(rates(found)[0], [[0, 1, 2], [3, 4, np.nan]])
    found = read(write(degrees(values.astype("f8"), missing_value=np.float32(-999.9))))
    assert np.isnan(rates(found)[0, 1, 2])


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("scale_factor", "0.1", "rain: expected a number in scale_factor, found '0.1'"),
        ("add_offset", "none", "rain: expected a number in add_offset, found 'none'"),
        ("scale_factor", np.nan, "rain: expected one finite number in scale_factor"),
        ("scale_factor", 0.0, "rain: expected one finite number in scale_factor"),
        ("scale_factor", np.array([1.0, 2.0]), "rain: expected one finite number in scale_factor"),
        ("missing_value", "-999", "rain: expected a number in missing_value, found '-999'"),
        ("valid_range", "0, 300", "rain: expected a number in valid_range"),
        ("valid_range", 300.0, "rain: expected 2 numbers in valid_range"),
        ("valid_range", np.array([300.0, 0.0]), "rain: expected a valid range, found 300 to 0"),
    ],
)
def test_cf_packed_attribute_that_is_no_number_is_refused_in_one_line(write, attribute, value, reason):
    variables = degrees(FRAMES[:1].astype("f4"), **{attribute: value})
    with pytest.raises(InputError, match=f"^{reason}"):
        read(write(variables))


# Variables


@pytest.mark.parametrize("name", ["rainfall", "field"])
def test_cf_rain_latitudes_longitudes_and_quality_are_not_rain(cf, tmp_path, name):
    values = np.random.default_rng(0).gamma(1, 2, (2, 4, 5)) + 0.01
    ds = cf(values).rename(rain=name)
    for other, number in (("lat", 60.0), ("lon", 25.0), ("quality", 0.7)):
        ds[other] = (("y", "x"), np.full((4, 5), number))
    ds.to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=f"{name}: expected units, found none"):
        read(tmp_path / "r.nc")
    found = read(tmp_path / "r.nc", ReadOptions("rate", "mm/h"))
    np.testing.assert_allclose(rates(found), values, rtol=1e-6)


@pytest.fixture
def several(write):
    """A file of rate, reflectivity, amount and two flags, all with the same dimensions."""
    variables = degrees(FRAMES[:2])
    dims, values, _ = variables.pop("rain")
    variables |= {
        "precipitation": (dims, values, {"units": "mm/hr", "ancillary_variables": "reliability"}),
        "Z": (dims, values + 20, {"units": "dBZe"}),
        "depth": (dims, values / 12, {"units": "kg m-2"}),
        "reliability": (dims, np.broadcast_to([0.2, 0.5, 0.9], values.shape), {"units": "mm/h"}),
        "state": (dims, np.ones(values.shape, "i1"), {"flag_values": np.array([0, 1], "i1")}),
        "error": (dims, values, {"units": "mm/h", "standard_name": "rainfall_rate standard_error"}),
    }
    return write(variables)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ReadOptions(), FRAMES[:2]),
        (ReadOptions("rate"), FRAMES[:2]),
        (ReadOptions(units="kg m-2/5min"), FRAMES[:2]),
        (ReadOptions("amount", "mm/10min"), FRAMES[:2] / 2),
        (ReadOptions("dbz", zr=(200.0, 1.6)), (10 ** (FRAMES[:2] / 10 + 2) / 200) ** (1 / 1.6)),
        (ReadOptions(variable="depth", units="mm/5min"), FRAMES[:2]),
        (ReadOptions(variable="error"), FRAMES[:2]),
    ],
)
def test_cf_rain_options_choose_among_several_variables(several, options, expected):
    np.testing.assert_allclose(rates(read(several, options)), expected, rtol=1e-6)


def test_cf_rain_variable_that_does_not_exist_is_refused(several):
    with pytest.raises(InputError, match=r"variable: expected one of precipitation, Z, depth.*, found 'rr'"):
        read(several, ReadOptions(variable="rr"))


def test_cf_rain_rate_and_amount_in_one_file_are_chosen_by_quantity(write):
    variables = degrees(FRAMES[:2])
    variables["precip_rate"] = variables.pop("rain")
    variables["precip_accum"] = (("time", "lat", "lon"), FRAMES[:2] / 6, {"units": "mm"})
    with pytest.raises(InputError, match="found precip_rate, precip_accum; choose with --quantity"):
        read(write(variables))
    np.testing.assert_array_equal(rates(read(write(variables), ReadOptions("rate"))), FRAMES[:2])
    found = read(write(variables), ReadOptions("amount", "mm/10min"))
    np.testing.assert_allclose(rates(found), FRAMES[:2], rtol=1e-6)


def test_cf_rain_total_without_a_time_beside_the_frames_is_left(write):
    variables = degrees(FRAMES[:3])
    variables["rain_total"] = (("lat", "lon"), FRAMES[:3].sum(axis=0), {"units": "mm/h"})
    np.testing.assert_array_equal(rates(read(write(variables))), FRAMES[:3])


def test_cf_rain_heights_are_not_rain(write):
    variables = degrees(FRAMES[:1])
    variables["rr_5min"] = variables.pop("rain")
    height = np.full((2, 3), 300.0)
    variables["terrain"] = (("lat", "lon"), height, {"units": "m", "standard_name": "surface_altitude"})
    variables["beam"] = (("lat", "lon"), height, {"units": "m"})
    np.testing.assert_array_equal(rates(read(write(variables))), FRAMES[:1])


def test_cf_rain_two_variables_alike_are_refused_until_one_is_chosen(write):
    variables = degrees(FRAMES[:1], units="mm/h")
    variables["rain2"] = variables["rain"]
    with pytest.raises(InputError, match="found rain, rain2; choose with --quantity or --variable"):
        read(write(variables))
    read(write(variables), ReadOptions(variable="rain2"))


@pytest.mark.parametrize("name", ["quality", "rain_quality_index", "QIND", "qi", "total_qi"])
def test_cf_rain_pixels_below_the_least_quality_are_not_observed(write, name):
    variables = degrees(FRAMES[:2])
    quality = np.array([[0, 49, 50], [100, 255, 60]], "u1")
    variables[name] = (
        ("lat", "lon"),
        quality,
        {"scale_factor": 0.01, "_FillValue": np.uint8(255)},
    )
    found = rates(read(write(variables), ReadOptions(min_quality=0.5)))
    np.testing.assert_array_equal(np.isnan(found[0]), [[True, True, False], [False, True, False]])
    np.testing.assert_array_equal(found[:, 0, 2], FRAMES[:2, 0, 2])


def test_cf_rain_quality_of_flags_has_no_order_and_is_refused(write):
    variables = degrees(FRAMES[:1])
    flags = {
        "flag_values": np.array([0, 1], "i1"),
        "flag_meanings": "good bad",
        "standard_name": "quality_flag",
    }
    variables["quality"] = (("lat", "lon"), np.zeros((2, 3), "i1"), flags)
    with pytest.raises(InputError, match=r"min_quality: expected one variable .* found no such variable"):
        read(write(variables), ReadOptions(min_quality=0.5))


def test_cf_rain_singleton_dimensions_are_dropped_and_others_refused(write):
    variables = degrees(FRAMES[:2])
    dims, values, stated = variables["rain"]
    variables["rain"] = (("realization", *dims[:1], "height", *dims[1:]), values[None, :, None], stated)
    variables["height"] = (("height",), np.array([1000.0]), {"units": "m"})
    np.testing.assert_array_equal(rates(read(write(variables))), FRAMES[:2])
    variables["rain"] = (("realization", *dims), np.stack([values, values]), stated)
    with pytest.raises(InputError, match="rain: expected one entry along realization, found 2"):
        read(write(variables, name="two.nc"))


# Places


def projected(rows=6, columns=5):
    """Return x, y, latitude and longitude of a grid in EPSG:3067."""
    x, y = 300_000 + 1000.0 * np.arange(columns), 7_000_000 - 1000.0 * np.arange(rows)
    to_degrees = pyproj.Transformer.from_crs(3067, pyproj.CRS(3067).geodetic_crs, always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(x, y))
    return x, y, lat, lon


RAIN = np.arange(30.0).reshape(1, 6, 5)


def on_projection(**places):
    return {
        "rain": (("time", "y", "x"), RAIN, {"units": "mm/h", "grid_mapping": "crs"}),
        "time": (("time",), np.array([0]), {"units": f"seconds since {START}"}),
        "crs": ((), np.int32(0), pyproj.CRS(3067).to_cf()),
        **places,
    }


@pytest.mark.parametrize(
    ("x_unit", "x_size", "y_unit", "y_size"),
    [
        ("km", 1000, "m", 1),
        ("m", 1, "kilometers", 1000),
        ("kilometre", 1000, "KM", 1000),
        ("100 m", 100, "m", 1),
    ],
)
def test_cf_grid_each_axis_is_converted_by_its_own_unit(write, x_unit, x_size, y_unit, y_size):
    x, y, lat, _ = projected()
    found = read(
        write(
            on_projection(
                x=(("x",), x / x_size, {"units": x_unit}), y=(("y",), y / y_size, {"units": y_unit})
            )
        )
    )
    np.testing.assert_allclose(found["x"], x, rtol=1e-12)
    np.testing.assert_allclose(found["y"], y, rtol=1e-12)
    np.testing.assert_allclose(found["lat"], lat, atol=4e-6)


@pytest.mark.parametrize(
    ("x_unit", "x_size", "y_unit", "y_size"),
    [("km", 1000, "km", 1000), ("m", 1, "km", 1000), ("m", 1, "m", 1)],
)
@pytest.mark.parametrize("in_metres", [False, True])
def test_cf_grid_false_easting_has_the_unit_of_the_axis(write, x_unit, x_size, y_unit, y_size, in_metres):
    """By CF's appendix F; some files have metres there and kilometres in the axes."""
    laea = pyproj.CRS("+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80")
    x, y = 4_321_000 + 1000.0 * np.arange(5), 3_210_000 - 1000.0 * np.arange(6)
    stated = laea.to_cf()
    stated.pop("crs_wkt")
    if not in_metres:
        stated |= {"false_easting": 4_321_000 / x_size, "false_northing": 3_210_000 / y_size}
    variables = on_projection(
        x=(("x",), x / x_size, {"units": x_unit}),
        y=(("y",), y / y_size, {"units": y_unit}),
        crs=((), np.int32(0), stated),
    )
    found = read(write(variables))
    assert found["lat"].values[0, 0] == pytest.approx(52, abs=4e-6)
    assert found["lon"].values[0, 0] == pytest.approx(10, abs=4e-6)
    np.testing.assert_allclose(found["x"], x, rtol=1e-12)


@pytest.mark.parametrize("mapping", ["crs: x y", "crs: x y wgs: lat lon", "wgs: lat lon crs: x y"])
def test_cf_grid_extended_grid_mapping_is_that_of_the_axes(write, mapping):
    x, y, lat, _ = projected()
    variables = on_projection(x=(("x",), x, {"units": "m"}), y=(("y",), y, {"units": "m"}))
    variables["rain"][2]["grid_mapping"] = mapping
    variables["wgs"] = ((), np.int32(0), pyproj.CRS(4326).to_cf())
    np.testing.assert_allclose(read(write(variables))["lat"], lat, atol=4e-6)


PROJ = "+proj=utm +zone=35 +ellps=GRS80 +units=m"


@pytest.mark.parametrize("place", ["mapping", "rain", "dataset"])
@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("EPSG_code", "EPSG:3067"),
        ("epsg", np.int32(3067)),
        ("EPSG", "3067"),
        ("srid", "urn:ogc:def:crs:EPSG::3067"),
        ("PROJ4", PROJ),
        ("proj", PROJ),
        ("projdef", PROJ),
        ("Projection", PROJ),
        ("crs", "+init=epsg:3067"),
        ("esri_pe_string", pyproj.CRS(3067).to_wkt("WKT1_ESRI")),
    ],
)
def test_cf_grid_projection_is_found_under_any_name(write, place, name, stated):
    x, y, lat, _ = projected()
    variables = on_projection(x=(("x",), x, {"units": "m"}), y=(("y",), y, {"units": "m"}))
    del variables["crs"], variables["rain"][2]["grid_mapping"]
    if place == "mapping":
        variables["anything"] = ((), np.int32(0), {name: stated})
    if place == "rain":
        variables["rain"][2][name] = stated
    found = read(write(variables, {name: stated} if place == "dataset" else {}))
    np.testing.assert_allclose(found["lat"], lat, atol=4e-6)


def test_cf_grid_words_about_a_projection_are_ignored(write):
    x, y, lat, _ = projected()
    variables = on_projection(x=(("x",), x, {"units": "m"}), y=(("y",), y, {"units": "m"}))
    variables["crs"][2].pop("crs_wkt")
    words = {"projection": "polar stereographic", "crs": "see crs", "project": "PROJ"}
    variables["crs"][2].update(words)
    np.testing.assert_allclose(read(write(variables, words))["lat"], lat, atol=4e-6)


@pytest.mark.parametrize("unit", ["US_survey_foot", "us-ft", "ftUS"])
def test_cf_grid_survey_feet_of_an_axis_are_converted(write, unit):
    x, y, lat, _ = projected()
    feet = 3937 / 1200
    variables = on_projection(x=(("x",), x * feet, {"units": unit}), y=(("y",), y * feet, {"units": unit}))
    np.testing.assert_allclose(read(write(variables))["lat"], lat, atol=4e-6)


@pytest.mark.parametrize(("unit", "size"), [("rad", 1), ("radians", 1), ("microradian", 1e-6)])
def test_cf_grid_angles_of_a_satellite_are_multiplied_by_its_height(write, unit, size):
    view = pyproj.CRS("+proj=geos +h=35786023 +lon_0=-75 +sweep=x +ellps=GRS80")
    x, y = 8e-5 * np.arange(5), 0.1 - 8e-5 * np.arange(6)  # radians
    variables = on_projection(
        x=(("x",), x / size, {"units": unit}),
        y=(("y",), y / size, {"units": unit}),
        crs=((), 0, view.to_cf()),
    )
    found = read(write(variables))
    degrees_of = pyproj.Transformer.from_crs(view, view.geodetic_crs, always_xy=True)
    _, lat = degrees_of.transform(*np.meshgrid(x * 35786023, y * 35786023))
    np.testing.assert_allclose(found["lat"], lat, atol=4e-6)


@pytest.mark.parametrize(
    ("north", "east"),
    [
        ("projection_y_coordinate", "projection_x_coordinate"),
        ("rows", "cols"),
        ("northings", "eastings"),
        ("ny", "nx"),
        ("dim_y", "dim_x"),
        ("j", "i"),
        ("line", "pixel"),
        ("Y_coord", "X_coord"),
    ],
)
def test_cf_grid_axes_without_standard_names_are_found_by_their_names(write, north, east):
    x, y, lat, _ = projected()
    variables = on_projection()
    variables["rain"] = (("time", north, east), RAIN, variables["rain"][2])
    variables |= {east: ((east,), x, {"units": "m"}), north: ((north,), y, {"units": "m"})}
    found = read(write(variables))
    np.testing.assert_allclose(found["lat"], lat, atol=4e-6)
    np.testing.assert_array_equal(rates(found), RAIN)


def test_cf_grid_latitude_of_every_pixel_is_projected(write):
    x, y, lat, lon = projected()
    variables = on_projection(lat=(("y", "x"), lat.astype("f4"), {}), lon=(("y", "x"), lon.astype("f4"), {}))
    found = read(write(variables))
    # Single precision at 63° is off by up to 2e-6°, 0.2 m.
    np.testing.assert_allclose(found["x"], x, atol=0.5)
    np.testing.assert_allclose(found["y"], y, atol=0.5)
    np.testing.assert_array_equal(rates(found), RAIN)


def test_cf_grid_latitude_of_exchanged_and_reversed_dimensions_is_projected(write):
    x, y, lat, lon = projected()
    places = {
        name: (("col", "row"), place[::-1].T, {"units": unit})
        for name, place, unit in (("lat", lat, "degrees_north"), ("lon", lon, "degrees_east"))
    }
    variables = on_projection(**places)
    variables["rain"] = (("time", "col", "row"), RAIN[:, ::-1].transpose(0, 2, 1), variables["rain"][2])
    found = read(write(variables))
    np.testing.assert_array_equal(rates(found), RAIN)
    np.testing.assert_allclose(found["y"], y, atol=0.01)
    np.testing.assert_allclose(found["x"], x, atol=0.01)


@pytest.mark.parametrize("attributes", [{}, {"coordinates": "lat lon"}])
@pytest.mark.parametrize("counted", [False, True])
def test_cf_grid_regular_latitude_of_every_pixel_needs_no_projection(write, attributes, counted):
    lon, lat = np.meshgrid(10 + 0.02 * np.arange(3), 50 + 0.01 * np.arange(2))  # rows from the south
    variables = degrees(FRAMES[:1])
    variables["rain"] = (("time", "y", "x"), FRAMES[:1], {"units": "mm/h", **attributes})
    variables |= {"lat": (("y", "x"), lat, {}), "lon": (("y", "x"), lon, {})}
    if counted:
        variables |= {"y": (("y",), np.arange(2), {}), "x": (("x",), np.arange(3), {})}
    found = read(write(variables))
    np.testing.assert_array_equal(rates(found), FRAMES[:1, ::-1])
    np.testing.assert_allclose(found["y"], [50.01, 50])
    np.testing.assert_allclose(found["x"], [10, 10.02, 10.04])


def test_cf_grid_latitude_of_every_pixel_without_projection_is_refused(write):
    _, _, lat, lon = projected()
    variables = on_projection(lat=(("y", "x"), lat, {}), lon=(("y", "x"), lon, {}))
    del variables["crs"], variables["rain"][2]["grid_mapping"]
    with pytest.raises(InputError, match=r"projection: expected a grid mapping .* give it with --crs"):
        read(write(variables))
    found = read(write(variables), ReadOptions(crs="EPSG:3067"))
    np.testing.assert_allclose(found["lat"], lat, atol=4e-6)
    with pytest.raises(InputError, match="lat, lon: expected the places of a regular grid in the projection"):
        read(write(variables), ReadOptions(crs="EPSG:4326"))


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize(
    ("rows", "columns", "lat", "lon"),
    [
        ("y", "x", "lat", "lon"),
        ("lat", "lon", "latitude", "longitude"),
        ("nlat", "nlon", "lat", "lon"),
        ("dim_0", "dim_1", "Latitude", "Longitude"),
    ],
)
def test_cf_grid_places_along_dimensions_of_other_names_are_found(write, rows, columns, lat, lon, described):
    variables = degrees(FRAMES[:1])
    variables["rain"] = (("time", rows, columns), *variables["rain"][1:])
    for name, dim, old in ((lat, rows, "lat"), (lon, columns, "lon")):
        _, values, stated = variables.pop(old)
        variables[f"_{name}"] = ((dim,), values, stated if described else {})
    variables = {name.removeprefix("_"): variable for name, variable in variables.items()}
    found = read(write(variables))
    np.testing.assert_array_equal(rates(found), FRAMES[:1])
    np.testing.assert_allclose(found["y"], [50, 49.99])
    np.testing.assert_allclose(found["x"], [10, 10.01, 10.02])
    # The same beside the numbers of the pixels.
    if rows not in variables:
        variables |= {rows: ((rows,), np.arange(2), {}), columns: ((columns,), np.arange(3), {})}
        np.testing.assert_allclose(read(write(variables, name="b.nc"))["y"], [50, 49.99])


def test_cf_grid_metres_along_dimensions_of_other_names_are_found(write):
    x, y, lat, _ = projected()
    north = {"units": "m", "standard_name": "projection_y_coordinate"}
    variables = on_projection(north=(("y",), y, north), east=(("x",), x, {"units": "m", "axis": "X"}))
    np.testing.assert_allclose(read(write(variables))["lat"], lat, atol=4e-6)


def test_cf_grid_places_of_stations_are_those_of_no_grid(write):
    variables = degrees(FRAMES[:1])
    variables["rain"] = (("time", "station"), np.zeros((1, 4)), {"units": "mm/h"})
    variables["lat"] = (("station",), np.arange(4.0), {"units": "degrees_north"})
    variables["lon"] = (("station",), np.arange(4.0), {"units": "degrees_east"})
    with pytest.raises(InputError, match=r"expected one variable of rain \(time, y, x\), found no variable"):
        read(write(variables))


def test_cf_grid_numbers_of_pixels_are_no_metres(write):
    _, _, lat, lon = projected()
    places = {"lat": (("y", "x"), lat, {}), "lon": (("y", "x"), lon, {})}
    places |= {"x": (("x",), np.arange(5), {}), "y": (("y",), np.arange(6), {})}
    np.testing.assert_allclose(read(write(on_projection(**places)))["lat"], lat, atol=4e-6)


def test_cf_grid_outer_edges_of_the_user_place_arrays_without_coordinates(write):
    x, y, *_ = projected()
    bounds = (x[0] - 500, y[-1] - 500, x[-1] + 500, y[0] + 500)
    with pytest.raises(
        InputError, match="expected coordinates of the pixels, found none; give the outer edges"
    ):
        read(write(on_projection()))
    found = read(write(on_projection()), ReadOptions(bounds=bounds))
    np.testing.assert_allclose(found["x"], x)
    np.testing.assert_allclose(found["y"], y)
    np.testing.assert_array_equal(rates(found), RAIN)


def test_cf_grid_projection_of_the_user_must_not_contradict_the_file(write):
    x, y, *_ = projected()
    path = write(on_projection(x=(("x",), x, {"units": "m"}), y=(("y",), y, {"units": "m"})))
    read(path, ReadOptions(crs="EPSG:3067"))
    with pytest.raises(
        InputError, match=r"projection: expected the file's .*, found EPSG:3035 in the options"
    ):
        read(path, ReadOptions(crs="EPSG:3035"))


def test_cf_grid_rotated_pole_is_refused_by_name(write):
    variables = on_projection(
        y=(("y",), 1 - 0.01 * np.arange(6), {"units": "degrees", "standard_name": "grid_latitude"}),
        x=(("x",), 0.01 * np.arange(5), {"units": "degrees", "standard_name": "grid_longitude"}),
    )
    variables["crs"] = (
        (),
        np.int32(0),
        {
            "grid_mapping_name": "rotated_latitude_longitude",
            "grid_north_pole_latitude": 39.25,
            "grid_north_pole_longitude": -162.0,
        },
    )
    with pytest.raises(InputError, match=r"found (degrees of )?a rotated pole; interpolate"):
        read(write(variables))


def test_cf_grid_longitudes_across_the_meridians_are_one_run(write):
    for start, west in ((359.99, -0.01), (179.99, 179.99), (0.0, 0.0)):
        variables = degrees(FRAMES[:1])
        lon = (start + 0.01 * np.arange(3)) % 360
        lon = np.where(lon >= 180, lon - 360, lon) if start < 180 else lon
        variables["lon"] = (("lon",), lon, {"units": "degrees_east"})
        found = read(write(variables))
        np.testing.assert_allclose(found["x"], west + 0.01 * np.arange(3), atol=1e-9)
        np.testing.assert_array_equal(rates(found), FRAMES[:1])


def test_cf_grid_coordinates_in_metres_with_geographic_crs_are_refused(write):
    x, y, *_ = projected()
    variables = on_projection(x=(("x",), x, {"units": "m"}), y=(("y",), y, {"units": "m"}))
    variables["crs"] = ((), np.int32(0), pyproj.CRS(4326).to_cf())
    with pytest.raises(InputError, match="x: expected degrees, as crs has, found 'm'"):
        read(write(variables))


def test_cf_grid_metres_that_are_kilometres_are_refused(write):
    x, y, *_ = projected()
    variables = on_projection(x=(("x",), x / 1000, {}), y=(("y",), y / 1000, {}))
    with pytest.raises(InputError, match="expected pixels on the earth where the projection is valid"):
        read(write(variables))


# Containers


def test_cf_netcdf_bzip2_is_unpacked(write):
    path = write(degrees(FRAMES[:2]))
    packed = path.with_name("rain.nc.bz2")
    packed.write_bytes(bz2.compress(path.read_bytes()))
    np.testing.assert_array_equal(rates(read(packed)), FRAMES[:2])


def test_cf_netcdf_attribute_that_is_not_utf8_is_replaced(write):
    path = write(degrees(FRAMES[:1]), {"institution": "x"})
    with h5py.File(path, "a") as file:
        file.attrs["institution"] = np.bytes_("Météo".encode("latin-1"))
        file.attrs["title"] = "Météo"
    found = read(path)
    assert found.attrs["title"] == "Météo"
    assert found.attrs["institution"].startswith("M")
    found.attrs["institution"].encode()


@pytest.mark.parametrize("calendar", ["standard", "julian"])
def test_cf_netcdf_only_group_with_arrays_is_read(tmp_path, calendar):
    """The layout of GPM IMERG: everything in /Grid, (time, lon, lat), with bounds, "julian" in some files."""
    path = tmp_path / "imerg.HDF5"
    values = np.arange(12.0, dtype="f4").reshape(1, 4, 3)
    values[0, 0, 0] = -9999.9
    with h5netcdf.File(path, "w") as file:
        grid = file.create_group("Grid")
        grid.attrs["GridHeader"] = "BinMethod=ARITHMEAN;\nRegistration=CENTER;\n"
        grid.dimensions = {"time": 1, "lon": 4, "lat": 3, "nv": 2}
        for name, dims, numbers, attributes in (
            ("time", ("time",), np.array([1577836800]), {"bounds": "time_bnds"}),
            ("time_bnds", ("time", "nv"), np.array([[1577836800, 1577838600]]), {}),
            ("lon", ("lon",), np.array([-10, -9.9, -9.8, -9.7], "f4"), {"units": "degrees_east"}),
            ("lat", ("lat",), np.array([40, 40.1, 40.2], "f4"), {"units": "degrees_north"}),
            ("precipitation", ("time", "lon", "lat"), values, {"units": "mm/hr", "_FillValue": "-9999.9"}),
            ("randomError", ("time", "lon", "lat"), values, {"units": "mm/hr"}),
        ):
            fill = np.float32(-9999.9) if "_FillValue" in attributes else None
            item = grid.create_variable(name, dims, numbers.dtype, fillvalue=fill)
            item[...] = numbers
            for key, value in attributes.items():
                if key != "_FillValue":
                    item.attrs[key] = value
            if name.startswith("time"):
                item.attrs["units"] = "seconds since 1970-01-01 00:00:00 UTC"
                item.attrs["calendar"] = calendar
    found = read(path)
    assert times(found)[0] == np.datetime64("2020-01-01T00:30:00")
    expected = values[0].T[::-1].copy()
    expected[2, 0] = np.nan
    np.testing.assert_array_equal(rates(found)[0], expected)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda f: f.create_group("what").attrs.update(object="PVOL", version="H5rad 2.3"),
            "a polar volume",
        ),
        (
            lambda f: f.create_group("what").attrs.update(object="SCAN", version="H5rad 2.2"),
            "a polar scan",
        ),
        (lambda f: f.attrs.update(Conventions="Cf/Radial 1.4"), "found Cf/Radial 1.4"),
        (lambda f: (f.create_group("FS"), f.attrs.update(FileHeader="x")), "a swath of GPM"),
        (
            lambda f: f.create_dataset("lightning", data=np.arange(9)),
            "found no variable of this kind among lightning",
        ),
    ],
)
def test_cf_netcdf_hdf5_of_another_kind_is_named(tmp_path, make, reason):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        make(file)
    with pytest.raises(InputError, match=reason):
        read(tmp_path / "other.h5")


def test_cf_netcdf_classic_files_are_read_the_same_way(tmp_path):
    """A file of version 3 with bytes, no fill value of its own, and reversed rows."""
    ds = xr.Dataset(
        {
            "rr": (
                ("time", "lat", "lon"),
                np.array([[[0, 10, -56], [20, 30, 40]]], "i1"),
                {"units": "0.1 mm/h", "_Unsigned": "true", "valid_max": np.int8(-57)},
            )
        },
        coords={
            "time": ("time", np.array([0.5]), {"units": "hours since 2020-01-01"}),
            "lat": ("lat", [50.0, 50.1], {"units": "degrees_north"}),
            "lon": ("lon", [10.0, 10.1, 10.2], {"units": "degrees_east"}),
        },
    )
    ds.to_netcdf(tmp_path / "r.nc", engine="scipy", format="NETCDF3_CLASSIC")
    found = read(tmp_path / "r.nc")
    np.testing.assert_allclose(rates(found)[0], [[2, 3, 4], [0, 1, np.nan]], rtol=1e-6)
    assert times(found)[0] == np.datetime64("2020-01-01T00:30")
