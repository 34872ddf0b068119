import subprocess
import sys

import numpy as np
import pyproj
import pytest
import xarray as xr

from stormcell.data import archive, synthetic
from stormcell.errors import ArgumentError, StormcellError
from stormcell.forecast import export
from stormcell.forecast.baselines import baseline
from stormcell.forecast.contract import forecast_array

SUFFIXES = [".nc", ".zarr"]


@pytest.fixture(scope="module")
def frames():
    return synthetic.generate(seed=1, steps=4, shape=(40, 60)).rainfall_rate


@pytest.fixture(scope="module")
def forecast(frames):
    made = baseline("extrapolation")(frames, 3)
    made.attrs["stormcell_model_sha256"] = "0123"
    return made


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_write_then_xarray_reads_the_same(forecast, tmp_path, suffix):
    path = tmp_path / f"f{suffix}"
    before = forecast.copy(deep=True)
    export.write(forecast, path)
    xr.testing.assert_identical(forecast, before)
    with xr.open_dataset(path, decode_coords="all") as ds:
        xr.testing.assert_equal(ds.rainfall_rate.load(), forecast)
        assert ds.rainfall_rate.attrs["units"] == "kg m-2 h-1"
        assert ds.rainfall_rate.attrs["standard_name"] == "rainfall_flux"
        assert ds.rainfall_rate.encoding["grid_mapping"] == "crs"
        assert pyproj.CRS.from_wkt(ds.crs.attrs["crs_wkt"]).to_epsg() == 3035
        assert ds.forecast_period.dtype == "timedelta64[ns]"
        assert ds.attrs["Conventions"].startswith("CF-1.")
        assert "stormcell" in ds.attrs["history"]
        assert ds.attrs["forecaster"] == "extrapolation"
        assert ds.attrs["stormcell_model_sha256"] == "0123"
    with xr.open_dataset(path, decode_cf=False) as raw:
        # CF wants seconds, and no grid mapping among the coordinates.
        assert raw.forecast_period.attrs["units"] == "seconds"
        assert raw.forecast_period.values.tolist() == [300, 600, 900]
        assert raw.time.attrs["units"].startswith("seconds since 2024-06-01T00:15:00")
        listed = raw.rainfall_rate.attrs["coordinates"].split()
        assert sorted(listed) == ["forecast_period", "forecast_reference_time", "lat", "lon"]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("suffix", "name"), [(".nc", "netcdf:{}:rainfall_rate"), (".zarr", 'ZARR:"{}":/rainfall_rate')]
)
def test_write_then_gdal_reads_the_same_with_georeference(forecast, tmp_path, suffix, name):
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / f"f{suffix}"
    export.write(forecast, path)
    with rasterio.open(name.format(path)) as raster:
        assert raster.crs.to_epsg() == 3035
        # Bounds are corners, our coordinates are centres: 60 × 40 pixels of 1 km about 4321 km, 3210 km.
        assert raster.bounds == pytest.approx((4_291_000, 3_190_000, 4_351_000, 3_230_000))
        assert raster.transform.e == -1000  # row 0 is the northernmost
        assert raster.count == 3
        for band in range(3):
            np.testing.assert_array_equal(raster.read(band + 1), forecast.values[band])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_write_ensemble_without_projection_reads_the_same(tmp_path, suffix):
    times = np.array(["2024-06-01T00:00", "2024-06-01T00:05"], "datetime64[ns]")
    bare = xr.DataArray(np.zeros((2, 6, 7)), coords={"time": times}, dims=("time", "y", "x"))
    made = forecast_array(np.random.default_rng(0).gamma(1, size=(5, 2, 6, 7)), bare)
    export.write(made, tmp_path / f"f{suffix}")
    with xr.open_dataset(tmp_path / f"f{suffix}") as ds:
        xr.testing.assert_equal(ds.rainfall_rate.load(), made)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_write_existing_path_is_replaced(forecast, tmp_path, suffix):
    path = tmp_path / f"f{suffix}"
    export.write(forecast[:1], path)
    export.write(forecast, path)
    assert xr.open_dataset(path).sizes["time"] == 3
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_write_other_suffix_raises(forecast, tmp_path):
    with pytest.raises(ArgumentError, match=r"ends in \.nc, \.zarr or \.tif, found \.grib"):
        export.write(forecast, tmp_path / "f.grib")


def test_write_does_not_replace_an_archive(forecast, tmp_path):
    synthetic.write(tmp_path / "radar", seed=1, events=1, steps=3, shape=(16, 16))
    archive.append(tmp_path / "rain.zarr", [tmp_path / "radar"])
    with pytest.raises(ArgumentError, match=r"expected an earlier forecast .* found another Zarr store"):
        export.write(forecast, tmp_path / "rain.zarr")
    assert archive.open(tmp_path / "rain.zarr").sizes["time"] == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_write_foreign_directory_is_not_replaced(forecast, tmp_path, suffix):
    precious = tmp_path / f"f{suffix}"
    precious.mkdir()
    (precious / "thesis.tex").touch()
    with pytest.raises(ArgumentError, match="found a directory"):
        export.write(forecast, precious)
    assert [entry.name for entry in precious.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_write_folder_is_a_file_raises_one_line(forecast, tmp_path, suffix):
    (tmp_path / "file").touch()
    with pytest.raises(StormcellError, match="to be a folder, found a file") as caught:
        export.write(forecast, tmp_path / "file" / f"f{suffix}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_write_full_disk_raises_and_keeps_the_old_file(forecast, tmp_path, suffix):
    """Limits on the size of files take the place of a disk that is full sooner or later."""
    path = tmp_path / f"f{suffix}"
    export.write(forecast[:1], path)
    code = f"""
import resource, signal
import numpy as np, xarray as xr
from stormcell.errors import OutputError
from stormcell.forecast.contract import forecast_array
from stormcell.forecast import export
times = np.array(["2024-06-01T00:00", "2024-06-01T00:05"], "datetime64[ns]")
bare = xr.DataArray(np.zeros((2, 400, 400)), coords={{"time": times}}, dims=("time", "y", "x"))
made = forecast_array(np.random.default_rng(0).gamma(1, size=(4, 400, 400)), bare)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (0, 1, 50, 200, 1000, 3000, 20_000, 100_000, 400_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        export.write(made, {str(path)!r})
    except OutputError as error:
        print(error)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    # A print is written to a pipe, which has no limit.
    lines = found.stdout.splitlines()
    assert len(lines) == 9
    assert all(line.startswith(f"{path}: could not be written: ") for line in lines)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert xr.open_dataset(path).sizes["time"] == 1


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_write_large_forecast_needs_memory_for_one_frame(tmp_path, suffix):
    """Peak memory beyond the forecast, in frames: by way of memory it would be more than 20 of 24 frames."""
    code = f"""
import resource
import numpy as np, xarray as xr
from stormcell.forecast.contract import forecast_array
from stormcell.forecast import export
times = np.array(["2024-06-01T00:00", "2024-06-01T00:05"], "datetime64[ns]")

def write(side):
    bare = xr.DataArray(np.zeros((2, side, side)), coords={{"time": times}}, dims=("time", "y", "x"))
    rate = np.random.default_rng(0).gamma(1, size=(24, side, side)).astype(np.float32)
    made = forecast_array(rate, bare)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    export.write(made, {str(tmp_path / f"f{suffix}")!r})
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (4 * side**2)

write(100)
print(write(700))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(found.stdout) < 8
