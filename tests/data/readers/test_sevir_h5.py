import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import find, open_radar, sevir_h5
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)
_spec = importlib.util.spec_from_file_location("sevir", Path(__file__).parent / "samples" / "sevir_h5.py")
sevir = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sevir)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "data" / "vil" / "2019").mkdir(parents=True)
    return sevir.make(tmp_path / "data" / "vil" / "2019" / "SEVIR_VIL.h5", tmp_path / "CATALOG.csv")


def test_sevir_h5_without_a_quantity_is_refused_as_not_rain(path):
    with pytest.raises(InputError, match=r"found vertically integrated .* without a unit; .*--quantity rate"):
        open_radar(path, ReadOptions(variable="S2"))
    for options in (ReadOptions("dbz", variable="S2"), ReadOptions(units="kg m-2", variable="S2")):
        with pytest.raises(InputError, match="expected the file's"):
            open_radar(path, options)


def test_sevir_h5_numbers_of_an_event_are_archived_as_they_are(path):
    assert find(Source(path)) is sevir_h5
    ds = open_radar(path, sevir.OPTIONS).read(sevir.OPTIONS, ALL)
    schema.check(ds)
    raw = sevir.values()[1]
    found = ds["rainfall_rate"].values
    assert found.shape == (4, 6, 5)
    for time in range(4):  # the first row of the file is the southernmost
        expected = np.where(raw[::-1, :, time] == 255, np.nan, raw[::-1, :, time])
        np.testing.assert_array_equal(found[time], expected)
    np.testing.assert_array_equal(
        ds["time"].values, np.datetime64("2019-06-02T12:24") + 5 * np.arange(4).astype("m8[m]")
    )
    assert "not mm/h" in ds["rainfall_rate"].attrs["comment"]


def test_sevir_h5_grid_is_that_of_the_catalogue(path):
    ds = open_radar(path, sevir.OPTIONS).read(sevir.OPTIONS, ALL)
    # Nine decimals of a degree are a tenth of a millimetre.
    np.testing.assert_allclose(ds["x"], 350_500 + 1000 * np.arange(5), atol=1e-3)
    np.testing.assert_allclose(ds["y"], -394_500 - 1000 * np.arange(6), atol=1e-3)
    lon, lat = pyproj.Proj(sevir.PROJ)(350_500, -394_500, inverse=True)
    assert (float(ds["lat"][0, 0]), float(ds["lon"][0, 0])) == pytest.approx((lat, lon), abs=1e-5)


def test_sevir_h5_event_must_be_chosen(path):
    for options in (ReadOptions("rate"), ReadOptions("rate", variable="S9")):
        with pytest.raises(InputError, match=r"id of one of 3 events \(S1, S2, R3, …\), found (none|S9)"):
            open_radar(path, options)
    with h5py.File(path, "r+") as file:
        for name in ("vil", "id"):
            first = file[name][:1]
            del file[name]
            file[name] = first
    assert len(open_radar(path, ReadOptions("rate")).times) == 4


def test_sevir_h5_without_a_catalogue_time_and_place_are_stated(path):
    (path.parents[3] / "CATALOG.csv").unlink()
    with pytest.raises(InputError, match=r"CATALOG\.csv: expected .* give --start, --crs and --bounds"):
        open_radar(path, sevir.OPTIONS)
    options = ReadOptions("rate", variable="S2", start="2019-06-02T12:24")
    with pytest.raises(InputError, match="give --crs and --bounds"):
        open_radar(path, options).read(options, ALL)
    bounds = (350_000.0, -400_000.0, 355_000.0, -394_000.0)
    options = ReadOptions("rate", variable="S2", start="2019-06-02T12:24", crs=sevir.PROJ, bounds=bounds)
    ds = open_radar(path, options).read(options, slice(1, 3))
    np.testing.assert_allclose(ds["x"], 350_500 + 1000 * np.arange(5))
    assert ds["time"].values[0] == np.datetime64("2019-06-02T12:29")
    np.testing.assert_array_equal(ds["rainfall_rate"][0, 5, 0], sevir.values()[1, 0, 0, 1])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("-10:-5:0:5", "-10:-5:-5:5", "expected 4 increasing times, found 4 others"),
        ("-10:-5:0:5", "-10:-5:0", "expected 4 increasing times, found 3 others"),
        ("-10:-5:0:5", "soon", "time: expected time_utc and minute_offsets"),
        ("2019-06-02 12:34:00", "yesterday noon", "time: expected"),
        ("llcrnrlat", "lat", "grid: expected proj and corners"),
        ("+proj=laea", "+proj=nowhere", "projection: expected WKT, a PROJ string"),
    ],
)
def test_sevir_h5_faulty_catalogue_raises_and_names_the_fault(path, old, new, reason):
    catalog = path.parents[3] / "CATALOG.csv"
    catalog.write_text(catalog.read_text().replace(old, new))
    with pytest.raises(InputError, match=reason):
        open_radar(path, sevir.OPTIONS).read(sevir.OPTIONS, ALL)


def test_sevir_h5_data_of_another_shape_raise(path):
    with h5py.File(path, "r+") as file:
        ids = file["id"][()]
        del file["id"]
        file["id"] = ids[:1]
    with pytest.raises(InputError, match="id: expected one for each event"):
        open_radar(path, sevir.OPTIONS)
    with h5py.File(path, "r+") as file:
        del file["vil"]
        file["vil"] = np.zeros((3, 6, 5), np.uint8)
    with pytest.raises(InputError, match=r"vil: expected whole numbers \(event, y, x, time\)"):
        open_radar(path, sevir.OPTIONS)
    with h5py.File(path, "r+") as file:
        del file["vil"]
        file["vil"] = np.zeros((3, 4, 6, 6), np.uint8)
    with pytest.raises(InputError, match=r"vil: expected .*, found squares in another order, \(3, 4, 6, 6\)"):
        open_radar(path, sevir.OPTIONS)
    with h5py.File(path, "r+") as file:
        del file["vil"]
        file.create_dataset("vil", (3, 2**20, 400, 49), np.uint8, chunks=(1, 8, 8, 8))
    with pytest.raises(InputError, match="vil: expected at most"):
        open_radar(path, sevir.OPTIONS)
