import shutil
import zlib
from pathlib import Path

import numpy as np
import pyproj
import pytest
from PIL import Image

from stormcell.data import archive
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import find, hko7_png, looks_like_radar
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)
NAME = "RAD130522024800"


def picture(path: Path, codes: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    codes = np.full((480, 480), 255, np.uint8) if codes is None else codes
    Image.fromarray(codes).save(path, "PNG")
    return path


def mask(path: Path, counts: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zlib.compress(counts.tobytes(), 2))
    return path


def rain(path: Path, options: ReadOptions = ReadOptions()) -> np.ndarray:  # noqa: B008
    return hko7_png.read(Source(path), options, ALL)["rainfall_rate"].values[0]


def test_hko7_png_codes_become_rates(tmp_path):
    codes = np.zeros((480, 480), np.uint8)
    codes[240, 240:244] = [0, 1, 128, 255]
    found = rain(picture(tmp_path / f"{NAME}.png", codes))[240, 240:244]
    # By hand: 255 is 60 dBZ, (10^6 / 58.53)^(1 / 1.56) = exp((13.815511 − 4.069540) / 1.56) = 516.68;
    # 128 is 25.13725 dBZ, exp((5.788067 − 4.069540) / 1.56) = 3.00904.
    np.testing.assert_allclose(found[[0, 2, 3]], [0, 3.00904, 516.677], rtol=1e-5)
    assert 0 < found[1] < 0.02
    found = rain(tmp_path / f"{NAME}.png", ReadOptions(zr=(200.0, 1.6)))[240, 243]
    assert found == pytest.approx((1e6 / 200) ** (1 / 1.6), rel=1e-6)


def test_hko7_png_time_is_that_of_the_name(tmp_path):
    path = picture(tmp_path / f"{NAME}.png")
    assert hko7_png.times(Source(path), ReadOptions()) == [np.datetime64("2013-05-22T02:48")]


def test_hko7_png_grid_is_centred_on_hong_kong(tmp_path):
    ds = hko7_png.read(Source(picture(tmp_path / f"{NAME}.png")), ReadOptions(), ALL)
    spacing = 512_000 / 480
    np.testing.assert_allclose(ds["x"], (np.arange(480) - 239.5) * spacing)
    np.testing.assert_allclose(ds["y"], -(np.arange(480) - 239.5) * spacing)
    # The distance on the ellipsoid from the centre to a corner's pixel, along its direction.
    _, _, away = pyproj.Geod(ellps="WGS84").inv(114.2, 22.3, ds["lon"].values[0, 0], ds["lat"].values[0, 0])
    assert away == pytest.approx(np.hypot(239.5, 239.5) * spacing, rel=1e-6)
    options = ReadOptions(crs="EPSG:4326", bounds=(111.0, 20.0, 116.0, 25.0))
    ds = hko7_png.read(Source(tmp_path / f"{NAME}.png"), options, ALL)
    assert ds["y"].values[0] == pytest.approx(25 - 5 / 960)


def test_hko7_png_pixels_beyond_the_range_are_not_observed(tmp_path):
    observed = np.isfinite(rain(picture(tmp_path / f"{NAME}.png")))
    assert observed[240, 0]
    assert not observed[0, 0]
    assert observed.mean() == pytest.approx(np.pi / 4, abs=1e-3)


@pytest.mark.parametrize(
    ("image", "counted"),
    [
        (f"{NAME}.png", f"{NAME}.mask"),
        (f"radarPNG/2013/05/22/{NAME}.png", f"radarPNG_mask/2013/05/22/{NAME}.mask"),
        (f"2013/05/22/{NAME}.png", f"2013/05/22/{NAME}.mask"),
    ],
)
def test_hko7_png_mask_is_found_and_its_false_pixels_are_not_observed(tmp_path, image, counted):
    counts = np.ones((480, 480), bool)
    counts[240, 100:110] = False
    path = picture(tmp_path / image)
    mask(tmp_path / counted, counts)
    observed = np.isfinite(rain(path))
    assert not observed[240, 100:110].any()
    assert observed[240, 110:].all()
    assert [file.name for file in tmp_path.rglob("RAD*") if looks_like_radar(file)] == [f"{NAME}.png"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no mask",
        zlib.compress(bytes(480 * 480))[:50],
        zlib.compress(bytes(480 * 479)),
        zlib.compress(bytes([2]) * 480 * 480),
        zlib.compress(bytes(2**26), 9),
    ],
)
def test_hko7_png_damaged_mask_raises(tmp_path, content):
    path = picture(tmp_path / f"{NAME}.png")
    (tmp_path / f"{NAME}.mask").write_bytes(content)
    with pytest.raises(InputError, match=r"expected (a complete mask|230400 bytes|a radar file)"):
        rain(path)


def test_hko7_png_grey_picture_in_three_channels_is_read_and_a_coloured_one_raises(tmp_path):
    codes = np.zeros((480, 480, 3), np.uint8)
    codes[240, 240] = 255
    assert rain(picture(tmp_path / f"{NAME}.png", codes))[240, 240] > 500
    codes[240, 241, 0] = 200
    with pytest.raises(InputError, match="expected shades of grey, found colours"):
        rain(picture(tmp_path / f"{NAME}.png", codes))


@pytest.mark.parametrize(
    ("name", "side"), [("radar.png", 480), (f"{NAME}.png", 512), ("RAD1305220248.png", 480)]
)
def test_hko7_png_other_pictures_are_not_recognised(tmp_path, name, side):
    path = picture(tmp_path / name, np.zeros((side, side), np.uint8))
    with pytest.raises(InputError, match="found another format"):
        find(Source(path))


def test_hko7_png_impossible_date_raises(tmp_path):
    path = picture(tmp_path / "RAD139922024800.png")
    with pytest.raises(InputError, match=r"name: expected RADyymmddHHMM00.png, found RAD139922024800.png"):
        hko7_png.times(Source(path), ReadOptions())


def test_hko7_png_tree_of_days_becomes_an_archive(tmp_path):
    first = picture(tmp_path / f"radarPNG/2013/05/22/{NAME}.png")
    shutil.copy(first, first.with_name("RAD130522025400.png"))
    picture(tmp_path / "radarPNG/preview.png", np.zeros((10, 10), np.uint8))
    done = archive.append(tmp_path / "a.zarr", [tmp_path / "radarPNG"])
    assert list(done.added) == [np.datetime64("2013-05-22T02:48"), np.datetime64("2013-05-22T02:54")]
    assert not done.refused
