"""Numbers that the user states for pixels that were not observed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from stormcell.cli.main import app
from stormcell.data import archive
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import open_radar
from stormcell.errors import ArgumentError

_spec = importlib.util.spec_from_file_location("odim", Path(__file__).parent / "samples" / "odim_h5.py")
odim = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(odim)

# Twice the rate in mm/h; the files declare 255, and 254 means not observed, too.
CODES = np.array([[0, 1, 2, 254], [10, 255, 254, 20], [30, 40, 50, 60]], np.uint8)
RATES = np.where(CODES >= 254, np.nan, CODES / 2)


def cf_netcdf(folder, request):
    ds = request.getfixturevalue("cf")(CODES[None], units="mm/h", scale_factor=0.5, _FillValue=np.uint8(255))
    ds.to_netcdf(folder / "a.nc", engine="h5netcdf")
    return folder / "a.nc"


def odim_h5(folder, request):  # noqa: ARG001
    rate = {"quantity": "RATE", "gain": 0.5, "offset": 0.0, "nodata": 255.0, "undetect": 0.0}
    return odim.make(folder / "a.h5", [rate], [CODES])


def array_stack(folder, request):  # noqa: ARG001
    place = {"x": 1000.0 * np.arange(4), "y": 7_000_000 - 1000.0 * np.arange(3), "crs": "EPSG:3067"}
    time = np.array(["2020-05-01T12:00"], "M8[s]")
    np.savez(folder / "a.npz", rate=CODES[None], time=time, units="mm/h", scale=0.5, nodata=255, **place)
    return folder / "a.npz"


def geotiff(folder, request):  # noqa: ARG001
    path = folder / "rain_202005011200.tif"
    place = {"crs": "EPSG:3067", "transform": rasterio.Affine(1000, 0, 300_000, 0, -1000, 7_000_000)}
    with rasterio.open(
        path, "w", driver="GTiff", width=4, height=3, count=1, dtype="uint8", nodata=255, **place
    ) as file:
        file.write(CODES, 1)
        file.scales, file.units = [0.5], ["mm/h"]
    return path


MAKERS = [cf_netcdf, odim_h5, array_stack, geotiff]


@pytest.mark.parametrize("make", MAKERS)
def test_readers_stated_nodata_is_not_observed_beside_the_declared_one(make, tmp_path, request):
    path = make(tmp_path, request)
    assert np.nanmax(open_radar(path).read(ReadOptions(), slice(None))["rainfall_rate"].values) == 127
    options = ReadOptions(nodata=(254.0,))
    rate = open_radar(path, options).read(options, slice(None))["rainfall_rate"]
    np.testing.assert_allclose(rate.values[0], RATES, rtol=1e-6)
    assert rate.attrs["stated_nodata"] == "254"


@pytest.mark.parametrize("make", MAKERS)
def test_readers_stated_nodata_that_no_pixel_can_have_is_refused(make, tmp_path, request):
    done = archive.append(
        tmp_path / "a.zarr", [make(tmp_path, request)], options=ReadOptions(nodata=(-9999.0,))
    )
    assert done.refused[0][1] == "nodata: expected a number of uint8, found -9999 in the options"


def test_readers_stated_nodata_that_means_dry_for_the_file_is_refused(tmp_path, write_pgm):
    options = ReadOptions(nodata=(0.0,))
    done = archive.append(tmp_path / "a.zarr", [odim_h5(tmp_path, None), write_pgm()], options=options)
    assert [reason for _, reason in done.refused] == [
        "nodata: expected a format that leaves codes open, found FMI PGM, which defines them",
        "nodata: expected the file's 0 to mean dry, found it in the options",
    ]
    with pytest.raises(ArgumentError, match="nodata: expected finite numbers"):
        ReadOptions(nodata=(np.nan,))


def test_archive_append_with_other_stated_nodata_is_refused(tmp_path, cf):
    paths = []
    for hour in ("12", "13"):
        ds = cf(CODES[None], start=f"2020-05-01T{hour}:00", units="mm/h", scale_factor=0.5)
        ds.to_netcdf(tmp_path / f"{hour}.nc", engine="h5netcdf")
        paths.append(tmp_path / f"{hour}.nc")
    options = ReadOptions(nodata=(254.0, 255.0))
    assert archive.append(tmp_path / "a.zarr", paths[:1], options=options).refused == ()
    refused = archive.append(tmp_path / "a.zarr", paths[1:]).refused
    assert refused[0][1] == "stated_nodata: expected the archive's 254 255, found None"
    assert archive.append(tmp_path / "a.zarr", paths, options=options).refused == ()
    assert archive.open(tmp_path / "a.zarr")["rainfall_rate"].attrs["stated_nodata"] == "254 255"
    assert archive.open(tmp_path / "a.zarr")["rainfall_rate"].max() == 30


def test_cli_archive_takes_several_nodata_and_negative_ones(tmp_path, cf):
    codes = np.array([[[-9999, -8888.5, 0, 1], [2, 3, 4, 5]]], np.float32)
    cf(codes, units="mm/h").to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    arguments = ["archive", str(tmp_path / "a.nc"), "--out", str(tmp_path / "a.zarr"), "--scheduler", "none"]
    result = CliRunner().invoke(app, [*arguments, "--nodata", "-9999", "--nodata", "-8888.5"])
    assert result.exit_code == 0, result.output
    rate = archive.open(tmp_path / "a.zarr")["rainfall_rate"]
    np.testing.assert_array_equal(rate.values[0], [[np.nan, np.nan, 0, 1], [2, 3, 4, 5]])
    assert rate.attrs["stated_nodata"] == "-9999 -8888.5"
