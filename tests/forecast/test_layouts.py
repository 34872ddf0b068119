import numpy as np
import pyproj
import pytest
import xarray as xr

from stormcell.data import schema
from stormcell.data.grid import Grid
from stormcell.errors import ArgumentError
from stormcell.forecast import export
from stormcell.forecast.contract import forecast_array
from stormcell.forecast.layouts import LAYOUTS, dataset

STEREOGRAPHIC = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=0 +a=6378140 +b=6356750"


def forecast(crs=STEREOGRAPHIC, *, members=None):
    """A forecast of two steps of 10 minutes on 4 × 5 pixels."""
    size, north = (0.01, 52.0) if crs == "EPSG:4326" else (1000.0, -4e6)
    grid = Grid.from_centres(pyproj.CRS(crs), size * np.arange(5), north + size * np.arange(4))
    times = ["2026-11-28T03:15", "2026-11-28T03:25"]
    frames = schema.build(np.zeros((2, 4, 5)), times, grid, measured={}, attributes={}).rainfall_rate
    shape = (2, 4, 5) if members is None else (members, 2, 4, 5)
    values = np.random.default_rng(0).gamma(0.3, size=shape).astype(np.float32)
    values[..., 0, 0] = np.nan
    return forecast_array(values, frames, attrs={"forecaster": "test"})


def product(of, name, coordinate, values, units="1"):
    """A product with a dimension before those of a forecast."""
    made = xr.concat([of] * len(values), dim=xr.Variable(coordinate, values)).rename(name)
    return made.assign_attrs(units=units, standard_name="probability_of_rainfall_rate_above_threshold")


def written(path, made, *products, layout="cf"):
    export.write(made, path, *products, layout=layout)
    with xr.open_dataset(path, decode_cf=False) as raw:
        return raw.load()


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("members", [None, 3])
def test_cf_has_amounts_of_the_steps_beside_the_rates(tmp_path, suffix, members):
    made = forecast(members=members)
    raw = written(tmp_path / f"f{suffix}", made)
    # 10 minutes of each rate, NaN where the rate is.
    np.testing.assert_allclose(raw.rainfall_amount, made.values / 6, rtol=1e-6)
    assert raw.rainfall_amount.dims == made.dims
    assert raw.rainfall_amount.dtype == np.float32
    attributes = raw.rainfall_amount.attrs
    assert attributes["units"] == "mm"
    assert attributes["cell_methods"] == "time: sum"
    assert attributes["standard_name"] == "thickness_of_rainfall_amount"
    assert attributes["long_name"] == "rainfall amount"
    assert attributes["grid_mapping"] == "crs"
    np.testing.assert_array_equal(raw.rainfall_rate, made.values)


@pytest.mark.parametrize("layout", ["cf", "fews"])
def test_bounds_are_the_steps_that_end_at_the_valid_times(tmp_path, layout):
    raw = written(tmp_path / "f.nc", forecast(), layout=layout)
    assert raw.time.attrs["bounds"] == "time_bnds"
    assert raw.time.attrs["units"] == "seconds since 2026-11-28T03:25:00"
    assert raw.time.values.tolist() == [600, 1200]
    assert raw.time_bnds.values.tolist() == [[0, 600], [600, 1200]]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("crs", [STEREOGRAPHIC, "EPSG:4326"])
def test_layout_names_the_axes_and_leaves_coordinates_without_fill_values(tmp_path, layout, crs):
    made = forecast(crs, members=None if layout == "fews" else 2)
    raw = written(tmp_path / "f.nc", made, layout=layout)
    assert {name: raw[name].attrs["axis"] for name in ("time", "y", "x")} == {"time": "T", "y": "Y", "x": "X"}
    for name in raw.variables:
        assert ("_FillValue" in raw[name].attrs) == (raw[name].ndim >= 3), name
    assert ("lat" in raw) == (crs != "EPSG:4326" and layout != "fews")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_polar_stereographic_has_its_pole(tmp_path, layout):
    """CF requires it, and pysteps does not read the file without; PROJ leaves it out."""
    raw = written(tmp_path / "f.nc", forecast(), layout=layout)
    mapping = raw["crs" if layout != "pysteps" else "polar_stereographic"]
    assert mapping.attrs["latitude_of_projection_origin"] == 90
    south = forecast("+proj=stere +lat_0=-90 +lat_ts=-60 +lon_0=0 +ellps=WGS84")
    assert dataset(south, [], "cf").crs.attrs["latitude_of_projection_origin"] == -90


def test_fews_has_a_variable_of_time_y_x_for_each_field(tmp_path):
    single = forecast()
    levels = product(single, "rainfall_rate_quantile", "quantile", [0.1, 0.995], units="kg m-2 h-1")
    above = product(single, "rainfall_rate_probability", "threshold", [0.1, 5.0])
    raw = written(tmp_path / "f.nc", forecast(members=2), levels, above, layout="fews")
    fields = {str(name): raw[name] for name in raw.data_vars if raw[name].ndim >= 3}
    assert list(fields) == [
        "rainfall_amount_member_1",
        "rainfall_amount_member_2",
        "rainfall_amount_p10",
        "rainfall_amount_p99_5",
        "rainfall_rate_probability_above_0_1",
        "rainfall_rate_probability_above_5",
    ]
    assert {field.dims for field in fields.values()} == {("time", "y", "x")}
    assert {name: field.attrs["units"] for name, field in fields.items()} == {
        name: "1" if "probability" in name else "mm" for name in fields
    }
    assert len({field.attrs["long_name"] for field in fields.values()}) == len(fields)
    np.testing.assert_allclose(fields["rainfall_amount_p10"], single.values / 6, rtol=1e-6)
    np.testing.assert_allclose(fields["rainfall_rate_probability_above_5"], single.values)
    assert not {"realization", "quantile", "threshold", "lat", "lon"} & set(raw.variables)


def test_fews_single_forecast_is_the_amount(tmp_path):
    raw = written(tmp_path / "f.nc", forecast(), layout="fews")
    assert [name for name in raw.data_vars if raw[name].ndim >= 3] == ["rainfall_amount"]


def test_pysteps_has_the_names_that_its_reader_asks_for(tmp_path):
    made = forecast(members=3)
    raw = written(tmp_path / "f.nc", made, layout="pysteps")
    assert raw.precip_intensity.dims == ("ens_number", "time", "y", "x")
    assert raw.ens_number.values.tolist() == [1, 2, 3]
    assert raw.precip_intensity.attrs["units"] == "mm h-1"
    assert raw.precip_intensity.attrs["grid_mapping"] == "polar_stereographic"
    assert raw.polar_stereographic.attrs["grid_mapping_name"] == "polar_stereographic"
    assert raw.polar_stereographic.attrs["straight_vertical_longitude_from_pole"] == 0
    # The reader divides by 60 to get lead times, and takes row 0 for the northernmost.
    assert (raw.time.values / 60).tolist() == [10, 20]
    assert (np.diff(raw.y) < 0).all()
    assert "+proj=stere" in raw.attrs["projection"]
    assert raw.attrs["precip_var"] == "precip_intensity"
    np.testing.assert_array_equal(raw.precip_intensity, made.values)


def test_pysteps_single_forecast_has_no_members(tmp_path):
    raw = written(tmp_path / "f.nc", forecast(), layout="pysteps")
    assert raw.precip_intensity.dims == ("time", "y", "x")


def test_pysteps_with_further_products_raises(tmp_path):
    made = forecast()
    above = product(made, "rainfall_rate_probability", "threshold", [1.0])
    with pytest.raises(ArgumentError, match=r"only rates for pysteps, .* found rainfall_rate_probability"):
        export.write(made, tmp_path / "f.nc", above, layout="pysteps")
    assert list(tmp_path.iterdir()) == []


def test_cf_probability_has_no_standard_name_that_cf_does_not_know(tmp_path):
    made = forecast()
    above = product(made, "rainfall_rate_probability", "threshold", [1.0])
    raw = written(tmp_path / "f.nc", made, above)
    assert "standard_name" not in raw.rainfall_rate_probability.attrs
    assert raw.rainfall_rate.attrs["standard_name"] == "rainfall_flux"


def test_write_unknown_layout_raises(tmp_path):
    with pytest.raises(ArgumentError, match='layout: expected cf, fews, pysteps, found "grib"'):
        export.write(forecast(), tmp_path / "f.nc", layout="grib")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dataset_leaves_the_forecast_as_it_is(layout):
    made = forecast(members=2)
    before = made.copy(deep=True)
    dataset(made, [], layout).load()
    xr.testing.assert_identical(made, before)
    assert made.time.attrs == before.time.attrs
    assert made.crs.attrs == before.crs.attrs
