import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyproj import Transformer

from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import find, meteoswiss_gif
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)
INVERTED = np.repeat(255 - np.arange(256, dtype=np.uint8), 3).reshape(256, 3)
CODES = np.arange(256, dtype=np.uint8)


def write(path: Path, codes: np.ndarray = CODES, palette: np.ndarray = INVERTED, **more) -> Path:
    """Write a GIF whose first pixels have the codes, and return its path."""
    pixels = np.zeros((640, 710), np.uint8)
    pixels.reshape(-1)[: codes.size] = codes
    image = Image.fromarray(pixels, "P")
    image.putpalette(palette.astype(np.uint8).tobytes())
    image.save(path, "GIF", **more)
    return path


def rates(path: Path, options: ReadOptions = ReadOptions(), count: int = 256) -> np.ndarray:  # noqa: B008
    ds = meteoswiss_gif.read(Source(path), options, ALL)
    return ds["rainfall_rate"].values.reshape(-1)[:count]


def test_meteoswiss_gif_codes_of_amounts_become_rates(tmp_path):
    found = rates(write(tmp_path / "AQC161932100V_00005.801.gif"))
    # By hand: code 150 is 10^3.925 / 316 = 26.6256, its cube root squared is 8.9167 mm in 5 min.
    np.testing.assert_allclose(found[[0, 1, 150]], [0, 0, 12 * 8.9167], rtol=1e-4)
    assert np.isnan(found[251:]).all()
    assert np.isfinite(found[:251]).all()


@pytest.mark.parametrize(
    ("name", "minutes"),
    [
        ("AQC161932100V_00005.801.gif", 5),
        ("CPC161932100V_00060.801.gif", 60),
        ("CPCH1619321000_00180.801.gif", 180),
    ],
)
def test_meteoswiss_gif_time_and_period_are_those_of_the_name(tmp_path, name, minutes):
    ds = meteoswiss_gif.read(Source(write(tmp_path / name)), ReadOptions(), ALL)
    # The 193rd day of 2016 is 11 July.
    assert ds["time"].values == np.datetime64("2016-07-11T21:00")
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == pytest.approx(minutes)


def test_meteoswiss_gif_name_in_the_comment_is_used(tmp_path):
    path = write(tmp_path / "rain.gif", comment=b'pid="x" file=AQC161932100V_00005.801')
    assert meteoswiss_gif.times(Source(path), ReadOptions()) == [np.datetime64("2016-07-11T21:00")]
    assert find(Source(path)) is meteoswiss_gif


def test_meteoswiss_gif_grid_is_that_of_switzerland(tmp_path):
    path = write(tmp_path / "AQC161932100V_00005.801.gif")
    ds = meteoswiss_gif.read(Source(path), ReadOptions(), ALL)
    assert (ds["x"].values[0], ds["x"].values[-1]) == (255_500, 964_500)
    assert (ds["y"].values[0], ds["y"].values[-1]) == (479_500, -159_500)
    lon, lat = Transformer.from_crs(21781, 4149, always_xy=True).transform(255_500, 479_500)
    np.testing.assert_allclose([ds["lon"].values[0, 0], ds["lat"].values[0, 0]], [lon, lat], rtol=2e-7)


def test_meteoswiss_gif_five_minute_amounts_of_cpc_need_units(tmp_path):
    path = write(tmp_path / "CPC161932100V_00005.801.gif")
    with pytest.raises(InputError, match="documented as mm/5min and as mm/h; give one of them with --units"):
        rates(path)
    amounts, plain = (rates(path, ReadOptions(units=units)) for units in ("mm/5min", "mm/h"))
    np.testing.assert_allclose(amounts[:251], 12 * plain[:251], rtol=1e-6)


def test_meteoswiss_gif_codes_of_cpc_are_shifted_since_version_3_5(tmp_path):
    before = rates(write(tmp_path / "CPC181782100V_00060.801.gif"))  # 27 June 2018
    after = rates(write(tmp_path / "CPC181802100V_00060.801.gif"))  # 29 June 2018
    np.testing.assert_array_equal(after[2:250], before[3:251])
    np.testing.assert_array_equal(after[:2], 0)


def test_meteoswiss_gif_colours_in_another_order_are_decoded(tmp_path):
    # A program that saves the picture again may keep only the colours that occur.
    numbers = np.arange(4, dtype=np.uint8)
    grey = np.full((4, 3), [[255], [255 - 7], [255 - 150], [0]])  # of the codes 0, 7, 150, 255
    found = rates(write(tmp_path / "AQC161932100V_00005.801.gif", numbers, grey), count=4)
    np.testing.assert_allclose(found[[0, 2]], [0, 12 * 8.9167], rtol=1e-4)
    assert np.isnan(found[3])
    # White, and the colours of 1 mm/h, 70.05 mm/h and of pixels that no radar sees.
    colours = np.array([(255, 255, 255), (115, 130, 192), (70, 208, 188), (0, 0, 55)])
    found = rates(write(tmp_path / "RZC161932100VL.801.gif", numbers, colours), count=4)
    np.testing.assert_allclose(found, [0, 1, 70.05, np.nan], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rain.gif", "name: expected product and time such as AQC"),
        ("AQC163992100V_00005.801.gif", "name: expected year, day, hour and minute"),
        ("AQC161932100V.801.gif", "name: expected the period of AQC"),
        ("RZC161932100VL.801.gif", "colours: expected those of RZC in their order, found others"),
        ("AZC161932100VL.801.gif", "colours: expected those of AZC in their order, found others"),
    ],
)
def test_meteoswiss_gif_doubtful_file_raises(tmp_path, name, reason):
    with pytest.raises(InputError, match=reason):
        rates(write(tmp_path / name))


def test_meteoswiss_gif_animation_raises(tmp_path):
    frames = [Image.fromarray(np.full((640, 710), k, np.uint8)) for k in (0, 200)]
    path = tmp_path / "AQC161932100V_00005.801.gif"
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="expected one picture of 8 bits"):
        rates(path)


def test_meteoswiss_gif_picture_of_another_size_is_not_recognised(tmp_path):
    Image.fromarray(np.zeros((64, 71), np.uint8)).save(tmp_path / "AQC161932100V_00005.801.gif", "GIF")
    with pytest.raises(InputError, match="found another format"):
        find(Source(tmp_path / "AQC161932100V_00005.801.gif"))


@pytest.fixture
def importers():
    return pytest.importorskip("pysteps.io.importers", reason="pysteps is not installed")


def theirs(importers, path: Path, product: str, units: str) -> np.ndarray:
    """Return the first 256 pixels as pysteps imports them; it would leave the file open."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Pillow's, of a method that it uses
        return importers.import_mch_gif(file, product, units, 5)[0].reshape(-1)[:256]


def scale(importers, version: str) -> np.ndarray:
    """Return a scale as pysteps has it: number, red, green, blue, value."""
    path = Path(importers.__file__).with_name(f"mch_lut_8bit_Metranet_{version}.txt")
    return np.genfromtxt(path, skip_header=1)


def test_meteoswiss_gif_amounts_agree_with_pysteps_except_for_unused_codes(tmp_path, importers):
    path = write(tmp_path / "AQC161932100V_00005.801.gif", optimize=False)
    mm = theirs(importers, path, "AQC", "mm")
    found = rates(path)
    np.testing.assert_allclose(found[:251], 12 * mm[:251], rtol=1e-6)
    # pysteps takes the codes 251 to 254 as dry.
    np.testing.assert_array_equal(mm[251:255], 0)
    assert np.isnan(found[251:]).all()
    # It applies the scale of the old version to new files of CPC: 8 % less rain.
    new = write(tmp_path / "CPC211932100V_00060.801.gif", optimize=False)
    mm = theirs(importers, new, "CPC", "mm")
    np.testing.assert_allclose(rates(new)[2:251] / mm[2:251], 10 ** (1 / 30), rtol=1e-6)


def test_meteoswiss_gif_rates_agree_with_pysteps_except_for_dry_white(tmp_path, importers):
    table = scale(importers, "v103")
    path = write(tmp_path / "RZC161932100VL.801.gif", CODES, table[:, 1:4])
    mm = theirs(importers, path, "RZC", "mm/h")
    found = rates(path)
    np.testing.assert_allclose(found[2:251], mm[2:251], rtol=1e-6)
    np.testing.assert_allclose(found[2:251], table[2:251, -1], rtol=1e-6)
    # White is code 0, no rain, and code 254, whose meaning pysteps gives to both.
    assert found[0] == 0
    assert np.isnan(mm[0])
    assert np.isnan(found[[251, 252, 253, 255]]).all()


def test_meteoswiss_gif_amounts_by_number_keep_what_colours_lose_in_pysteps(tmp_path, importers):
    table = scale(importers, "AZC_V104")
    path = write(tmp_path / "AZC161932100VL.801.gif", CODES, table[:, 1:4])
    with Image.open(path) as image:
        assert len(image.getpalette("RGB")) == 768  # all numbers are kept, because all occur
    mm = theirs(importers, path, "AZC", "mm")
    found = rates(path)
    # The table has two decimals, rounded by up to 0.009.
    np.testing.assert_allclose(found[:251], table[:251, -1], atol=0.009, rtol=0)
    # Codes 34 and 35 have the same colour: pysteps gives both the larger amount.
    assert (mm[34], mm[35]) == (2.36, 2.36)
    np.testing.assert_allclose(found[[34, 35]], [2.25, 2.36], atol=0.009)
