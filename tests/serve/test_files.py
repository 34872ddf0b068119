"""The files of a publication, as other programs read them."""

import numpy as np
import pytest
import rasterio
import xarray as xr
from tests.serve.publications import AHEAD, ISSUE, NAME, RUN, STEP, WET, WET_RATE

from stormcell.serve.server import running

WHERE = f"files/{NAME[:14]}/{RUN}"


@pytest.fixture(scope="module")
def address(published_once):
    with running(published_once, "127.0.0.1", 0, clock=lambda: ISSUE) as started:
        yield started


def test_gdal_reads_parts_of_the_geotiff_where_it_is(address, published_once):
    whole = published_once / NAME / "forecast.tif"
    with (
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
        rasterio.open(f"/vsicurl/{address}{WHERE}/forecast.tif") as found,
        rasterio.open(whole) as local,
    ):
        assert (found.count, found.driver) == (AHEAD, "GTiff")
        assert found.tags(1)["valid_time"] == f"{ISSUE + STEP:%Y-%m-%dT%H:%M:%SZ}"
        row, column = WET
        window = rasterio.windows.Window(column, row, 1, 1)
        assert found.read(1, window=window).item() == pytest.approx(WET_RATE)
        np.testing.assert_array_equal(found.read(), local.read())


def test_geotiff_has_the_values_of_the_netcdf(published_once):
    folder = published_once / NAME
    with (
        xr.open_dataset(folder / "forecast.nc", engine="h5netcdf") as ds,
        rasterio.open(folder / "forecast.tif") as raster,
    ):
        np.testing.assert_array_equal(raster.read(), ds["rainfall_rate"].values)
        assert raster.crs.to_epsg() == 3067
