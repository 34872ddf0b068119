from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from pyproj import Transformer
from rasterio.transform import Affine

from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import geotiff, open_radar
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)
RATE = ReadOptions(units="mm/h")
NAME = "rain_202005011205.tif"
NOON = np.datetime64("2020-05-01T12:05")
VALUES = np.arange(30, dtype=np.float32).reshape(6, 5)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a GeoTIFF of one or more bands, and return its path."""

    def write(values: np.ndarray = VALUES, name: str = NAME, *, edit=lambda _: None, **profile) -> Path:
        bands = np.atleast_3d(values) if values.ndim == 3 else values[None]
        place = {"crs": "EPSG:3067", "transform": Affine(1000, 0, 300_000, 0, -2000, 7_000_000)}
        count, height, width = bands.shape
        with rasterio.open(
            tmp_path / name,
            "w",
            driver="GTiff",
            count=count,
            height=height,
            width=width,
            **({"dtype": bands.dtype} | place | profile),
        ) as file:
            file.write(bands)
            edit(file)
        return tmp_path / name

    return write


def rain(path: Path, options: ReadOptions = RATE) -> np.ndarray:
    return geotiff.read(Source(path), options, ALL)["rainfall_rate"].values


def moments(path: Path, options: ReadOptions = RATE) -> list[np.datetime64]:
    return list(geotiff.times(Source(path), options))


def test_geotiff_plain_rates_are_read_with_the_time_of_the_name(write):
    path = write()
    ds = geotiff.read(Source(path), RATE, ALL)
    np.testing.assert_array_equal(ds["rainfall_rate"].values[0], VALUES)
    assert ds["time"].values == NOON
    # By hand: half a pixel inside the corner at 300 km, 7000 km.
    np.testing.assert_array_equal(ds["x"], 300_500 + 1000 * np.arange(5))
    np.testing.assert_array_equal(ds["y"], 6_999_000 - 2000 * np.arange(6))
    lon, lat = Transformer.from_crs(3067, 4258, always_xy=True).transform(300_500, 6_999_000)
    np.testing.assert_allclose([ds["lon"].values[0, 0], ds["lat"].values[0, 0]], [lon, lat], rtol=2e-7)
    same = ReadOptions(units="mm/h", crs="EPSG:3067")
    np.testing.assert_array_equal(rain(path, same)[0], VALUES)


def test_geotiff_point_file_has_the_tie_point_at_a_pixel_centre(write):
    # GDAL moves the tie point, (300500, 6999000), by half a pixel when it writes and when it reads.
    path = write(edit=lambda file: file.update_tags(AREA_OR_POINT="Point"))
    ds = geotiff.read(Source(path), RATE, ALL)
    assert (ds["x"].values[0], ds["y"].values[0]) == (300_500, 6_999_000)
    with Image.open(path) as image:
        assert image.tag_v2[33922][3:5] == (300_500, 6_999_000)


def test_geotiff_south_up_and_east_first_image_is_turned(write):
    path = write(transform=Affine(-1000, 0, 305_000, 0, 2000, 6_988_000))
    ds = geotiff.read(Source(path), RATE, ALL)
    np.testing.assert_array_equal(ds["rainfall_rate"].values[0], VALUES[::-1, ::-1])
    assert (ds["x"].values[0], ds["y"].values[0]) == (300_500, 6_999_000)


def test_geotiff_degrees_are_read(write):
    path = write(crs="EPSG:4326", transform=Affine(0.01, 0, 230, 0, -0.01, 55))
    ds = geotiff.read(Source(path), RATE, ALL)
    np.testing.assert_allclose(ds["lon"].values[0, 0], 230.005 - 360, rtol=1e-6)
    np.testing.assert_allclose(ds["lat"].values[0, 0], 54.995, rtol=1e-6)


def test_geotiff_projection_in_feet_is_converted(write):
    # New York, in US survey feet of 1200 / 3937 m.
    path = write(crs="EPSG:2263", transform=Affine(1000, 0, 900_000, 0, -1000, 200_000))
    ds = geotiff.read(Source(path), RATE, ALL)
    lon, lat = Transformer.from_crs(2263, 4269, always_xy=True).transform(900_500, 199_500)
    np.testing.assert_allclose([ds["lon"].values[0, 0], ds["lat"].values[0, 0]], [lon, lat], rtol=1e-6)
    assert ds["x"].values[1] - ds["x"].values[0] == pytest.approx(1000 * 1200 / 3937)


def test_geotiff_scale_offset_and_nodata_of_a_band_are_used(write):
    def edit(file):
        file.scales, file.offsets, file.units = (0.5,), (-32.0,), ("dBZ",)

    path = write(np.array([[0, 110], [255, 64]], np.uint8), nodata=255, edit=edit)
    expected = [[0, (10**2.3 / 200) ** (1 / 1.6)], [np.nan, 200 ** (-1 / 1.6)]]
    np.testing.assert_allclose(rain(path, ReadOptions(zr=(200.0, 1.6)))[0], expected, rtol=1e-6)
    with pytest.raises(InputError, match="zr: expected a and b"):
        rain(path, ReadOptions())


def test_geotiff_internal_mask_means_not_observed(write):
    valid = np.ones((6, 5), bool)
    valid[2, 3] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write(edit=lambda file: file.write_mask(valid))
    assert len(list(path.parent.iterdir())) == 1  # the mask is inside
    np.testing.assert_array_equal(rain(path)[0], np.where(valid, VALUES, np.nan))


def test_geotiff_alpha_band_means_not_observed(write):
    alpha = np.full((6, 5), 255, np.uint8)
    alpha[0, 0] = 0

    path = write(np.stack([VALUES.astype(np.uint8), alpha]), photometric="minisblack", alpha="yes")
    np.testing.assert_array_equal(rain(path)[0], np.where(alpha == 0, np.nan, VALUES))


def test_geotiff_tiled_file_with_overviews_is_read_at_full_resolution(write):
    values = np.random.default_rng(0).gamma(1, 2, (600, 520)).astype(np.float32)
    path = write(values, tiled=True, blockxsize=256, blockysize=256, compress="deflate", predictor=3)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    np.testing.assert_array_equal(rain(path)[0], values)


def test_geotiff_files_beside_it_are_not_read(write):
    path = write()
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2])
    other = path.with_name(NAME + ".aux.xml")
    other.write_text(
        "<PAMDataset><SRS>EPSG:3035</SRS><PAMRasterBand band='1'><NoDataValue>7</NoDataValue>"
        "</PAMRasterBand></PAMDataset>"
    )
    with rasterio.open(path) as file:
        assert file.nodata == 7  # GDAL alone believes it
    np.testing.assert_array_equal(rain(path)[0], VALUES)


def bands_with_times(file):
    file.descriptions = ("rain 202005011205", "rain 202005011200")


def test_geotiff_bands_with_times_are_frames_in_time_order(write):
    path = write(np.stack([VALUES, VALUES + 1]), edit=bands_with_times)
    ds = geotiff.read(Source(path), RATE, ALL)
    np.testing.assert_array_equal(ds["rainfall_rate"], [VALUES + 1, VALUES])
    np.testing.assert_array_equal(ds["time"], NOON - np.array([300, 0], "m8[s]"))
    np.testing.assert_array_equal(
        geotiff.read(Source(path), RATE, slice(0, 1))["rainfall_rate"].values, [VALUES]
    )


@pytest.mark.parametrize(
    ("name", "lead", "observed"),
    [
        ("forecast_period", "5 min", False),
        ("lead_time", "300", False),
        ("GRIB_FORECAST_SECONDS", "3600 sec", False),
        ("forecast_period", "0 min", True),
        ("GRIB_FORECAST_SECONDS", "0", True),
    ],
)
def test_geotiff_forecast_is_refused(write, name, lead, observed):
    path = write(edit=lambda file: file.update_tags(1, **{name: lead}))
    if observed:
        assert moments(path) == [NOON]
    else:
        with pytest.raises(
            InputError, match=f"band 1: expected an observation, found .* {name.lower()} {lead}"
        ):
            moments(path)


def test_geotiff_bands_copied_from_netcdf_have_their_times(write):
    def edit(file):
        file.update_tags(**{"time#units": "hours since 2020-05-01 00:00:00", "rr#units": "mm/h"})
        for band, hours in ((1, 12), (2, 12 + 1 / 12)):
            file.update_tags(band, NETCDF_DIM_time=repr(hours), NETCDF_VARNAME="rr")

    path = write(np.stack([VALUES, VALUES]), "no_time.tif", edit=edit)
    assert moments(path, ReadOptions()) == [NOON - np.timedelta64(300, "s"), NOON]
    assert rain(path, ReadOptions()).shape == (2, 6, 5)


def test_geotiff_bands_without_times_are_frames_if_start_and_step_are_given(write):
    path = write(np.stack([VALUES, VALUES]))
    options = ReadOptions(units="mm/h", start="2020-05-01T12:00", step="5min")
    assert moments(path, options) == [NOON - np.timedelta64(300, "s"), NOON]


def test_geotiff_band_is_chosen_by_name_number_or_quantity(write):
    def edit(file):
        file.descriptions, file.units = ("rain", "quality"), ("mm/h", "1")

    path = write(np.stack([VALUES, VALUES + 50]), edit=edit)
    with pytest.raises(InputError, match=r"bands: expected one, .*found rain, quality; choose one"):
        rain(path, ReadOptions())
    for options in (ReadOptions(variable="rain"), ReadOptions(variable="1"), ReadOptions(quantity="rate")):
        np.testing.assert_array_equal(rain(path, options)[0], VALUES)
    with pytest.raises(InputError, match="bands: expected snow, found rain, quality"):
        rain(path, ReadOptions(variable="snow"))


def test_geotiff_picture_in_colours_raises(write):
    path = write(np.stack([VALUES.astype(np.uint8)] * 3))
    with pytest.raises(InputError, match="found red, green, blue"):
        rain(path)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"time": "2020-05-01T12:05:00Z"}, NOON),
        ({"time": "2020-05-01T12:05:00.000000000"}, NOON),
        ({"valid_time": "202005011205"}, NOON),
        ({"start_time": "202005011100", "end_time": "202005011205"}, NOON),
        ({"date": "20200501", "time": "120500"}, NOON),
        ({"TIFFTAG_DATETIME": "2020:05:01 12:05:00"}, NOON),
    ],
)
def test_geotiff_time_is_that_of_the_metadata(write, tags, expected):
    path = write(name="rain.tif", edit=lambda file: file.update_tags(**tags))
    assert moments(path) == [expected]


def test_geotiff_time_of_the_metadata_comes_before_that_of_the_name(write):
    path = write(name="rain_201901010000.tif", edit=lambda file: file.update_tags(time="2020-05-01T12:05"))
    assert moments(path) == [NOON]
    with pytest.raises(InputError, match=r"time: expected the file's 2020-05-01T12:05:00, found 2019"):
        moments(path, ReadOptions(units="mm/h", start="2019-01-01T00:00"))


def test_geotiff_time_when_the_file_was_made_comes_after_that_of_the_name(write):
    path = write(edit=lambda file: file.update_tags(TIFFTAG_DATETIME="2020:05:01 12:09:31"))
    assert moments(path) == [NOON]


@pytest.mark.parametrize(
    ("name", "tags", "reason"),
    [
        (
            NAME,
            {"TIFFTAG_DATETIME": "2020:05:01 12:00:00"},
            "in the file name and 2020-05-01T12:00",
        ),
        ("rain.tif", {}, "time: expected times in the file or its name, found none; give --start"),
        ("rain_202005011200_202005011205.tif", {}, "give --start"),
        (NAME, {"time": "noon"}, "time: expected one such as 2016-09-28T14:45, found 'noon'"),
        (NAME, {"time": "202005011205", "obstime": "202005011210"}, "time: expected one time, found obstime"),
    ],
)
def test_geotiff_doubtful_time_raises_and_the_start_settles_it(write, name, tags, reason):
    path = write(name=name, edit=lambda file: file.update_tags(**tags))
    with pytest.raises(InputError, match=reason):
        moments(path)
    assert moments(path, ReadOptions(units="mm/h", start="2020-05-01T12:05")) == [NOON]


def test_geotiff_accumulation_needs_a_period(write):
    tags = {"start_time": "2020-05-01T11:05", "end_time": "2020-05-01T12:05", "units": "mm"}
    path = write(edit=lambda file: file.update_tags(**tags))
    ds = geotiff.read(Source(path), ReadOptions(), ALL)
    np.testing.assert_array_equal(ds["rainfall_rate"].values[0], VALUES)
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == 60
    path = write(edit=lambda file: file.update_tags(units="mm"))
    with pytest.raises(InputError, match=r"accumulation period: .* --units .mm/5min"):
        rain(path, ReadOptions())
    np.testing.assert_allclose(rain(path, ReadOptions(units="mm/5min"))[0], VALUES * 12, rtol=1e-6)


def test_geotiff_file_without_position_is_placed_by_the_options(tmp_path):
    path = tmp_path / NAME
    Image.fromarray(VALUES).save(path, "TIFF")
    with pytest.raises(InputError, match="grid: expected the positions of the pixels, found none"):
        rain(path)
    options = ReadOptions(
        units="mm/h", crs="EPSG:3067", bounds=(300_000.0, 6_988_000.0, 305_000.0, 7_000_000.0)
    )
    ds = geotiff.read(Source(path), options, ALL)
    np.testing.assert_array_equal(ds["rainfall_rate"].values[0], VALUES)
    assert (ds["x"].values[0], ds["y"].values[0]) == (300_500, 6_999_000)


@pytest.mark.parametrize(
    ("profile", "options", "reason"),
    [
        ({}, ReadOptions(), r"band 1 of float32: expected units in the metadata, found none; give .*--units"),
        ({"transform": Affine(1000, 10, 3e5, 10, -1000, 7e6)}, RATE, "found a rotation"),
        ({"crs": None}, RATE, "projection: expected one in the file, found none; give it with --crs"),
        (
            {},
            ReadOptions(units="mm/h", crs="EPSG:3035"),
            r"projection: expected the file's E.*, found EPSG:3035",
        ),
        ({"dtype": "complex64"}, RATE, "expected real numbers, found complex64"),
        ({}, ReadOptions(units="mm/h", min_quality=0.5), "min_quality: expected a quality field"),
    ],
)
def test_geotiff_unusable_file_raises_and_gives_the_reason(write, profile, options, reason):
    path = write(VALUES.astype(profile.get("dtype", "float32")), **profile)
    with pytest.raises(InputError, match=reason):
        rain(path, options)


def test_geotiff_code_that_the_metadata_does_not_list_raises(write):
    with pytest.raises(InputError, match=r"rain: expected 0 or more, found -9999 mm/h; is it a code"):
        rain(write(np.where(VALUES == 3, np.float32(-9999), VALUES)))


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (40_000, 40_000)])
def test_geotiff_absurd_size_raises_before_memory_is_allocated(write, size):
    # A sparse file: no block is stored, whatever size it claims.
    path = write(sparse_ok=True, tiled=True, blockxsize=256, blockysize=256)
    content = bytearray(path.read_bytes())
    for tag, number in zip((256, 257), size, strict=True):
        at = content.index(tag.to_bytes(2, "little") + b"\x03\0\x01\0\0\0")
        content[at : at + 12] = tag.to_bytes(2, "little") + b"\x04\0\x01\0\0\0" + number.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected a (size that a radar file can have|complete GeoTIFF)"):
        rain(path)


FMI = "fmi_geotiff_20160928/201609281445_FINUTM.tif"


def test_geotiff_real_file_of_fmi_agrees_with_its_numbers(radar_data):
    ds = geotiff.read(Source(radar_data / FMI), ReadOptions(), ALL)
    with rasterio.open(radar_data / FMI) as file:
        codes, left, top = file.read(1), file.transform.c, file.transform.f
    rate = ds["rainfall_rate"].values[0]
    assert ds["time"].values == np.datetime64("2016-09-28T14:45")
    np.testing.assert_array_equal(np.isnan(rate), codes == 255)
    # No echo, and codes up to 4: −30 dBZ, which no weather radar detects.
    np.testing.assert_array_equal(rate == 0, codes <= 4)
    # 0.1 mm/h is 10 log10(223 · 0.1^1.53) = 8.18 dBZ, between the codes 80 and 81.
    assert (np.isnan(rate).mean(), (rate >= 0.1).mean()) == pytest.approx(
        ((codes == 255).mean(), ((codes >= 81) & (codes < 255)).mean())
    )
    echo = (codes > 4) & (codes < 255)
    back = 10 * np.log10(223 * rate[echo].astype(float) ** 1.53)
    np.testing.assert_allclose(back, codes[echo] * 0.5 - 32, atol=1e-6, rtol=0)
    assert np.nanmax(rate) == pytest.approx((10**5.3 / 223) ** (1 / 1.53), rel=1e-6)  # code 170, 53 dBZ
    # Corners: half a pixel inside those of the file's tie point and pixel size, in metres of TM35FIN.
    assert ds["x"].values[0] == pytest.approx(left + 250.00401887 / 2)
    assert ds["y"].values[0] == pytest.approx(top - 250.01398393 / 2)
    lon, lat = Transformer.from_crs(3067, 4258, always_xy=True).transform(
        1044176.9413554778 - 250.00401887 / 2, 6255329.698820673 + 250.01398393 / 2
    )
    np.testing.assert_allclose([ds["lon"].values[-1, -1], ds["lat"].values[-1, -1]], [lon, lat], rtol=2e-7)
    assert open_radar(radar_data / FMI).reader is geotiff


def test_geotiff_real_file_keeps_what_the_importer_of_pysteps_loses(radar_data):
    # import_fmi_geotiff needs GDAL's own bindings, which have no wheels. Its rule is (code − 64) / 2 with 255
    # missing, whatever gain and offset the file states; the code for no echo becomes −32 dBZ, and no time is
    # returned.
    importers = pytest.importorskip("pysteps.io.importers", reason="pysteps is not installed")
    if not importers.GDAL_IMPORTED:
        pytest.skip("GDAL's own bindings are not installed")
    dbz, _, metadata = importers.import_fmi_geotiff(str(radar_data / FMI))
    ds = geotiff.read(Source(radar_data / FMI), ReadOptions(), ALL)
    rate = ds["rainfall_rate"].values[0]
    assert not {"time", "timestamp"} & metadata.keys()
    np.testing.assert_array_equal(rate[dbz == -32], 0)
    echo = dbz > -30
    np.testing.assert_allclose(
        rate[echo], (10 ** (dbz[echo] / 10) / metadata["zr_a"]) ** (1 / metadata["zr_b"]), rtol=1e-6
    )


def test_geotiff_gain_of_fmi_is_that_of_the_file(write):
    nested = (
        '<GDALMetadata><Item name="Observation time" format="YYYYMMDDhhmm">202005011205</Item>'
        '<Item name="Quantity" unit="mm/h">Rain rate</Item><Item name="Gain">0.010000</Item>'
        '<Item name="Offset">0.000000</Item><Item name="Nodata">65535</Item>'
        '<Item name="Undetect">0</Item></GDALMetadata>'
    )
    path = write(
        np.array([[0, 150], [65535, 1]], np.uint16),
        "rain.tif",
        edit=lambda file: file.update_tags(GDAL_METADATA=nested),
    )
    ds = geotiff.read(Source(path), ReadOptions(), ALL)
    np.testing.assert_allclose(ds["rainfall_rate"].values[0], [[0, 1.5], [np.nan, 0.01]], rtol=1e-6)
    assert ds["time"].values == NOON
    assert "zr_a" not in ds["rainfall_rate"].attrs
    assert ds.attrs["license"] == "CC-BY-4.0"
