"""``min_quality`` is one rule in all formats that have a quality field."""

import importlib.util
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from tests.data.readers import test_meteonet_npz as meteonet
from tests.data.readers.test_knmi_hdf5 import add_image

from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import open_radar

_spec = importlib.util.spec_from_file_location("odim", Path(__file__).parent / "samples" / "odim_h5.py")
odim = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(odim)

# Columns: quality below the lowest, the lowest, above it, and missing (255). Rows: dry, rain, heavy rain.
QUALITY = np.tile(np.array([49, 50, 100, 255], np.uint8), (3, 1))
RAIN = np.repeat(np.array([[0], [5], [60]], np.uint8), 4, axis=1)
# Dry pixels without a quality stay dry; rain without a quality is not known to be good.
OBSERVED = np.array([[0, 1, 1, 1], [0, 1, 1, 0], [0, 1, 1, 0]], bool)


def odim_h5(folder, request):  # noqa: ARG001
    rate = {"quantity": "RATE", "gain": 0.5, "offset": 0.0, "nodata": 255.0, "undetect": 0.0}
    quality = {"quantity": "QIND", "gain": 0.01, "offset": 0.0, "nodata": 255.0, "undetect": 255.0}
    return odim.make(folder / "a.h5", [rate, quality], [RAIN, QUALITY])


def knmi_hdf5(folder, request):  # noqa: ARG001
    path = request.getfixturevalue("write_knmi")(RAIN.astype(np.uint16))
    index = {"calibration_formulas": "GEO = 0.01 * PV + 0.0", "calibration_out_of_image": 255}
    return add_image(path, 2, "QUALITY_[-]", QUALITY, index)


def meteonet_npz(folder, request):  # noqa: ARG001
    names = "rainfall_NW_2018_03.1.npz", "rainfall_mean_quality-code_NW_2018_03.1.npz"
    lon, lat = np.meshgrid(1 + 0.01 * np.arange(4), 48 - 0.01 * np.arange(3))
    np.savez(folder / "radar_coords_NW.npz", lats=lat, lons=lon)
    meteonet.write(folder / names[1], QUALITY[None], [date(2018, 3, 1)])
    return meteonet.write(folder / names[0], np.stack([RAIN, RAIN]))


def cf_netcdf(folder, request):
    ds = request.getfixturevalue("cf")(RAIN[None].astype(np.float32), units="mm/h")
    attributes = {"scale_factor": 0.01, "_FillValue": np.uint8(255)}
    ds["quality"] = ("time", "y", "x"), QUALITY[None], attributes
    ds.to_netcdf(folder / "a.nc", engine="h5netcdf")
    return folder / "a.nc"


def array_stack(folder, request):  # noqa: ARG001
    quality = np.where(QUALITY == 255, np.nan, QUALITY / 100)
    place = {"x": 1000.0 * np.arange(4), "y": 7_000_000 - 1000.0 * np.arange(3), "crs": "EPSG:3067"}
    time = np.array(["2020-05-01T12:00"], "M8[s]")
    np.savez(folder / "a.npz", rate=RAIN[None] / 2, time=time, units="mm/h", quality=quality[None], **place)
    return folder / "a.npz"


@pytest.mark.parametrize("make", [odim_h5, knmi_hdf5, meteonet_npz, cf_netcdf, array_stack])
def test_readers_quality_missing_or_too_low_is_not_observed_but_dry_without_one_stays(
    make, tmp_path, request
):
    path = make(tmp_path, request)
    lowest = 50.0 if make is meteonet_npz else 0.5
    found = open_radar(path)
    assert found.reader.__name__.rpartition(".")[2] == make.__name__
    whole = found.read(ReadOptions(), slice(None))["rainfall_rate"].values
    rates = found.read(ReadOptions(min_quality=lowest), slice(None))["rainfall_rate"].values
    assert (whole > 0).tolist() == np.broadcast_to(RAIN > 0, whole.shape).tolist()
    for rate, before in zip(rates, whole, strict=True):
        np.testing.assert_array_equal(rate, np.where(OBSERVED, before, np.nan))
