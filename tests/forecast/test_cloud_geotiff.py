import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.io import MemoryFile
from tests.maps.grids import square

from stormcell.data import schema
from stormcell.data.synthetic import generate
from stormcell.errors import ArgumentError
from stormcell.forecast import export
from stormcell.forecast.baselines import baseline
from stormcell.forecast.cloud_geotiff import geotiff


@pytest.fixture(scope="module")
def made():
    found = baseline("persistence")(generate(seed=1, shape=(40, 60), steps=4).rainfall_rate, 3)
    found.values[:, :3, :5] = np.nan
    return found


def test_geotiff_has_a_band_for_each_lead_time(made, tmp_path):
    export.write(made, tmp_path / "f.tif")
    with rasterio.open(tmp_path / "f.tif") as raster:
        np.testing.assert_array_equal(raster.read(), made.values)
        assert raster.crs.to_epsg() == 3035
        # Bounds are corners, our coordinates are centres: 60 × 40 pixels of 1 km about 4321 km, 3210 km.
        assert raster.bounds == pytest.approx((4_291_000, 3_190_000, 4_351_000, 3_230_000))
        assert np.isnan(raster.nodata)
        assert raster.descriptions[1] == "2024-06-01T00:25:00Z rainfall_rate"
        assert raster.tags(3)["valid_time"] == "2024-06-01T00:30:00Z"
        assert raster.tags(3)["forecast_period"] == "15 min"
        assert raster.tags()["forecaster"] == "persistence"
        assert raster.tags()["forecast_reference_time"] == "2024-06-01T00:15:00Z"
        assert raster.tags()["units"] == "kg m-2 h-1"
        assert raster.units == ("kg m-2 h-1",) * 3
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f.tif"]


@pytest.mark.parametrize(("y", "x"), [(-1, 1), (1, -1), (-1, -1)])
def test_geotiff_of_rows_from_the_south_or_columns_from_the_east_is_the_same(made, y, x):
    turned = made.isel(y=slice(None, None, y), x=slice(None, None, x))
    assert geotiff([turned]) == geotiff([made])


def test_geotiff_of_an_ensemble_and_products_has_a_band_for_each_field(made):
    members = xr.concat([made, made * 2], dim=xr.Variable("realization", [0, 1])).rename("rainfall_rate")
    levels = xr.concat([made], dim=xr.Variable("quantile", [0.9])).rename("rainfall_rate_quantile")
    members.attrs["ensemble_seed"] = 7
    levels.attrs |= {"units": "1", "long_name": "another name"}
    with MemoryFile(geotiff([members, levels])) as file, file.open() as raster:
        assert raster.count == 9
        assert raster.descriptions[3] == "2024-06-01T00:20:00Z rainfall_rate realization 1"
        assert raster.descriptions[8] == "2024-06-01T00:30:00Z rainfall_rate_quantile quantile 0.9"
        np.testing.assert_array_equal(raster.read(4), 2 * made.values[0])
        assert raster.units == ("kg m-2 h-1",) * 6 + ("1",) * 3
        assert raster.tags(9)["long_name"] == "another name"
        assert raster.tags(4)["ensemble_seed"] == "7"
        assert raster.tags()["forecaster"] == "persistence"  # what all have
        assert not {"units", "long_name"} & set(raster.tags())


def test_geotiff_of_a_large_grid_has_overviews_of_means():
    grid = square("EPSG:3067", 5e5, 7e6, shape=(16, 1100))
    rates = np.tile(np.float32([0, 4]), (2, 16, 550))
    times = ["2024-06-01T00:00", "2024-06-01T00:05"]
    frames = schema.build(rates, times, grid, measured={}, attributes={}).rainfall_rate
    with MemoryFile(geotiff([baseline("persistence")(frames, 1)])) as file, file.open() as raster:
        assert raster.overviews(1) == [2, 4]
        np.testing.assert_array_equal(raster.read(1, out_shape=(8, 550)), 2)


def test_geotiff_without_a_projection_raises(made, tmp_path):
    with pytest.raises(ArgumentError, match="GeoTIFF: expected a forecast with a projection, found none"):
        export.write(made.drop_vars("crs"), tmp_path / "f.tif")


def test_geotiff_with_a_layout_raises(made, tmp_path):
    with pytest.raises(ArgumentError, match=r'f\.tif: expected no layout for a GeoTIFF, found "fews"'):
        export.write(made, tmp_path / "f.tif", layout="fews")
