import gzip
import struct
import tarfile

import numpy as np
import pyproj
import pytest

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import find, open_radar, radolan
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)
STATIONS = "MS 70<asb,boo,ros,hnr,umd,pro,ess,fld,drs,neu,nhb,oft,eis,tur,isn,fbg,mem> "


@pytest.fixture
def write_radolan(tmp_path):
    """Write a composite whose southernmost row begins with ``codes``; all other pixels are 0."""

    def write(codes, product="RW", fields="VS 3SW   2.21.0PR E-01INT  60GP 900x 900", *, pixels=None, size=2):
        rows, columns = (900, 900) if pixels is None else pixels
        values = np.zeros(rows * columns, "<u2" if size == 2 else "u1")
        values[: len(codes)] = codes
        path = tmp_path / f"raa01-{product.lower()}_10000-1811220050-dwd---bin"
        text = f"{product}220050100001118BY{rows * columns * size + 153:7}{fields}{STATIONS}\x03"
        path.write_bytes(text.encode() + values.tobytes())
        return path

    return write


def rates(path, options=None):
    ds = radolan.read(Source(path), options or ReadOptions(), ALL)
    schema.check(ds)
    return ds, ds["rainfall_rate"].values[0]


def test_radolan_flags_of_a_sum_have_their_meaning(write_radolan):
    codes = [
        0,
        123,  # 12.3 mm
        0x1000,  # secondary, dry
        0x1000 + 45,
        0x2000 + 2500,  # no data
        0x8000 + 2490,  # clutter
        0x8000,  # clutter that was removed is not dry
        0x4000 + 10,  # negative
        0x0FFF,
    ]
    path = write_radolan(codes)
    assert find(Source(path)) is radolan
    ds, found = rates(path)
    expected = [0, 12.3, 0, 4.5, np.nan, np.nan, np.nan, np.nan, 409.5]
    np.testing.assert_allclose(found[-1, : len(codes)], expected, rtol=1e-6)
    assert not found[:-1].any()
    assert ds["time"].values == [np.datetime64("2018-11-22T00:50")]
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == 60
    assert ds.attrs["license"] == "GeoNutzV"


@pytest.mark.parametrize(
    ("product", "fields", "minutes", "rate"),
    [
        ("RY", "VS 3SW   2.21.0PR E-02INT   5GP 900x 900MF 00000001", 5, 12.0),
        ("YW", "VS 3SW   2.18.3PR E-02INT   5U0GP 900x 900MF 00000000VR2017.002", 5, 12.0),
        ("RH", "VS 3SW   2.21.0PR E-01INT  60GP 900x 900", 60, 10.0),
        ("SQ", "VS 3SW   2.21.0PR E-01INT 360GP 900x 900", 360, 10 / 6),
        ("SF", "VS 3SW   2.21.0PR E-01INT1440GP 900x 900MF 00000001", 1440, 10 / 24),
        ("W1", "VS 3SW   2.21.0PR E+00INT   7U1GP 900x 900", 10080, 100 / 168),
        ("SF", f"VS 3SW   2.21.0PR E-01INT1440GP 900x 900{STATIONS}ST 92<{'boo 24,' * 60}>", 1440, 10 / 24),
        ("RQ", "VS 5SW   2.29.1PR E-01INT  60GP 900x 900VV   0MF 00000008QN 001", 60, 10.0),
        ("RV", "VS 5SW P300003HPR E-02INT   5GP 900x 900VV 000MF 00000008", 5, 12.0),
    ],
)
def test_radolan_sum_is_divided_by_its_interval(write_radolan, product, fields, minutes, rate):
    ds, found = rates(write_radolan([100], product, fields))
    np.testing.assert_allclose(found[-1, 0], rate, rtol=1e-6)
    assert ds["rainfall_rate"].attrs["accumulation_minutes"] == minutes


def test_radolan_reflectivity_of_one_byte_is_converted_and_zero_is_dry(write_radolan):
    fields = "VS 3SW   2.21.0PR E+00INT   5GP 900x 900"
    path = write_radolan([0, 1, 65, 111, 248, 249, 250, 255], "RX", fields, size=1)
    ds, found = rates(path, ReadOptions(zr=(200.0, 1.6)))
    dbz = np.array([-32.0, 0.0, 23.0, 91.5])
    expected = [0, *(10 ** (dbz / 10) / 200) ** (1 / 1.6), np.nan, np.nan, np.nan]
    np.testing.assert_allclose(found[-1, :8], expected, rtol=1e-6)
    assert (ds["rainfall_rate"].attrs["zr_a"], ds["rainfall_rate"].attrs["zr_b"]) == (200, 1.6)
    assert rates(path)[0]["rainfall_rate"].attrs["zr_a"] == 256


def test_radolan_reflectivity_of_two_bytes_is_in_tenths_of_rvp6(write_radolan):
    fields = "VS 5SW P300003HPR E-01INT   5GP1200x1100VV 000MF 00000008"
    path = write_radolan([0, 1110, 0x2000 + 2500, 0x8000 + 2490], "WN", fields, pixels=(1200, 1100))
    _, found = rates(path)
    np.testing.assert_allclose(found[-1, :4], [0, (10**2.3 / 256) ** (1 / 1.42), np.nan, np.nan], rtol=1e-6)


@pytest.mark.parametrize(
    ("product", "fields", "reason"),
    [
        ("RV", "VS 5SW   2.29.1PR E-02INT   5GP 900x 900VV  60MF 00000008", "a forecast 60 minutes ahead"),
        ("PG", "LV 6  1.0 19.0 28.0 37.0 46.0 55.0CS0MX 0", "found classes in run-length code"),
        ("RD", "VS 3SW   2.21.0PR E-01INT  60GP 900x 900", "RD: expected a composite of rain"),
        ("RW", "VS 3SW   2.21.0PR E-01INT  60GP 900x 901", "GP: expected a grid of"),
        ("RW", "VS 3SW   2.21.0PR E-01INT  60GP1100x 900", "expected 1980000 bytes after the header"),
        ("RW", "VS 3SW   2.21.0PR E-01INT   0GP 900x 900", "expected an interval above 0 minutes"),
        ("RW", "VS 3SW   2.21.0PR E-01INT  60U3GP 900x 900", "U: expected 0"),
        ("RW", "VS 3SW   2.21.0PR E-99INT  60GP 900x 900", "PR: expected E-03 to"),
        ("RW", "VS 3SW   2.21.0PR E-01GP 900x 900", "header: expected INT and a number"),
    ],
)
def test_radolan_file_that_cannot_be_used_raises(write_radolan, product, fields, reason):
    with pytest.raises(InputError, match=reason):
        rates(write_radolan([1], product, fields))


def test_radolan_precision_that_gives_infinite_rates_raises(write_radolan):
    path = write_radolan([0xFFF], "FX", "VS 3SW   2.21.0PR E+03INT   5GP 900x 900")
    with pytest.raises(InputError, match=r"found E\+03 and infinite rates"):
        rates(path)


def test_radolan_date_that_does_not_exist_raises(write_radolan):
    path = write_radolan([1])
    path.write_bytes(path.read_bytes().replace(b"RW22", b"RW31", 1))  # 31 November
    with pytest.raises(InputError, match=r"time: expected .* found 3100501118"):
        radolan.times(Source(path), ReadOptions())


def test_radolan_tar_file_is_refused_with_advice(write_radolan, tmp_path):
    with tarfile.open(tmp_path / "day.tar", "w") as tar:
        path = write_radolan([1])
        tar.add(path, path.name)
    with pytest.raises(InputError, match="found a tar file of several; unpack it first"):
        open_radar(tmp_path / "day.tar")


# Outer corners in degrees, from DWD's description of the format: lower left, upper left.
CORNERS = {
    (900, 900): ((3.5889, 46.9526), (2.0715, 54.5877)),
    (1100, 900): ((4.6759, 46.1929), (3.0889, 55.5482)),
    (1500, 1400): ((2.3419, 43.9336), (-0.8654, 56.5423)),
    (1200, 1100): ((3.551921, 45.695870), (1.435612, 55.865843)),
}


@pytest.mark.parametrize(("pixels", "corners"), CORNERS.items())
def test_radolan_corners_agree_with_the_format_description(pixels, corners):
    grid = radolan.composite_grid(*pixels, wgs84=False)
    to_degrees = pyproj.Proj(pyproj.CRS.from_wkt(grid.crs_wkt))
    west, north = grid.west - grid.dx / 2, grid.north + grid.dy / 2
    found = [to_degrees(west, y, inverse=True) for y in (north - 1000 * pixels[0], north)]
    # Half of the last digit given, and a little for rounding in between.
    np.testing.assert_allclose(found, corners, atol=6e-5, rtol=0)


def test_radolan_centres_agree_with_the_formulas_of_the_format_description():
    grid = radolan.composite_grid(900, 900, wgs84=False)
    lat, lon = grid.lat_lon()
    # The description's inverse projection, for pixels counted from the lower left corner.
    top = 6370.04 * (1 + np.sin(np.radians(60)))
    reference = np.radians(51)
    distance = top * np.cos(reference) / (1 + np.sin(reference))
    for row, column in ((0, 0), (0, 899), (450, 450), (899, 0), (899, 899)):
        x = distance * np.sin(np.radians(-1)) - 450 + column + 0.5
        y = -distance * np.cos(np.radians(-1)) - 450 + row + 0.5
        square = x**2 + y**2
        expected = (
            np.degrees(np.arcsin((top**2 - square) / (top**2 + square))),
            10 + np.degrees(np.arctan(-x / y)),
        )
        # float32 resolves 4e-6 degrees or better here: half a metre.
        np.testing.assert_allclose((lat[899 - row, column], lon[899 - row, column]), expected, atol=4e-6)


def test_radolan_format_version_5_is_on_wgs84(write_radolan):
    fields = "VS 5SW   2.29.1PR E-01INT  60GP1200x1100"
    ds, _ = rates(write_radolan([1], fields=fields, pixels=(1200, 1100)))
    to_degrees = pyproj.Proj(pyproj.CRS.from_wkt(ds["crs"].attrs["crs_wkt"]))
    x, y = ds["x"].values, ds["y"].values
    # DWD's projection string of the grid DE1200 has the first pixel's centre as its origin.
    np.testing.assert_allclose((x[0], y[0]), (-543196.83521776402, -3622588.8619310018), atol=0.01)
    found = [
        to_degrees(x[0] - 500, y[-1] - 500, inverse=True),
        to_degrees(x[-1] + 500, y[0] + 500, inverse=True),
    ]
    np.testing.assert_allclose(found, [(3.566994635, 45.69642538), (18.73161645, 55.84543856)], atol=1e-7)


def parse(path):
    """Return the frame in mm, row 0 the southernmost, by another way: struct and plain numbers."""
    content = gzip.decompress(path.read_bytes())
    text, _, pixels = content.partition(b"\x03")
    text = text.decode()
    rows, columns = (int(word) for word in text.split("GP")[1][:9].split("x"))
    minutes, power = int(text.split("INT")[1][:4]), int(text.split("PR E")[1][:3])
    numbers = np.array(struct.unpack(f"<{rows * columns}H", pixels)).reshape(rows, columns)
    flags, number = np.divmod(numbers, 4096)
    mm = number * 10.0**power
    mm[(flags & 2 > 0) | (flags & 4 > 0) | (flags & 8 > 0)] = np.nan
    time = np.datetime64(f"20{text[15:17]}-{text[13:15]}-{text[2:4]}T{text[4:6]}:{text[6:8]}")
    return time, minutes, mm, flags


@pytest.mark.parametrize("folder", ["radolan_rw", "radolan_ry", "radolan_yw"])
def test_radolan_real_frames_agree_with_their_bytes(radar_data, folder):
    for path in sorted(radar_data.glob(f"dwd_radolan/{folder}/*"))[::3]:
        time, minutes, mm, _ = parse(path)
        ds, found = rates(path)
        assert ds["time"].values == [time]
        assert path.name.split("10000-")[1][:10] == str(time)[2:16].translate({45: None, 58: None, 84: None})
        np.testing.assert_allclose(found, (mm * 60 / minutes)[::-1], rtol=1e-6)
        assert 0.1 < np.isnan(found).mean() < 0.5


def test_radolan_real_frames_show_faults_of_pysteps(radar_data, tmp_path):
    importers = pytest.importorskip("pysteps.io.importers", reason="pysteps is not installed")
    packed = min(radar_data.glob("dwd_radolan/radolan_rw/*0550*"))
    _, _, mm, flags = parse(packed)
    path = tmp_path / packed.name.removesuffix(".gz")
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    theirs, _, metadata = importers.import_dwd_radolan(str(path), "RW")
    # Its rows are as in the file, from the south, although it says "upper"; 0.01 mm is missing everywhere.
    plain = (flags == 0) & np.isfinite(theirs)
    np.testing.assert_allclose(theirs[plain], mm[plain] - 0.01, atol=1e-5)
    assert metadata["yorigin"] == "upper"
    # A dry secondary pixel becomes 409.6 mm.
    secondary = (flags == 1) & (mm == 0)
    assert secondary.sum() > 1000
    np.testing.assert_allclose(theirs[secondary], 409.59, atol=1e-3)
    _, ours = rates(path)
    assert not ours[::-1][secondary].any()
    # It takes the ellipsoid of later files: the lower left corner is a kilometre too far east.
    shift = pyproj.Geod(ellps="WGS84").inv(3.604382995, 46.95361536, 3.5889, 46.9526)[2]
    assert shift > 1000
    assert metadata["x1"] == pytest.approx(pyproj.Proj(metadata["projection"])(3.604382995, 46.95361536)[0])


def test_radolan_real_five_minutes_are_a_rate_unlike_in_pysteps(radar_data, tmp_path):
    importers = pytest.importorskip("pysteps.io.importers", reason="pysteps is not installed")
    packed = min(radar_data.glob("dwd_radolan/radolan_ry/*"))
    _, _, mm, flags = parse(packed)
    path = tmp_path / packed.name.removesuffix(".gz")
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    # Its documentation says mm/h. The numbers are the millimetres of five minutes, less 0.01.
    theirs, _, _ = importers.import_dwd_radolan(str(path), "RY")
    _, found = rates(path)
    plain = (flags == 0) & (mm > 0)
    np.testing.assert_allclose(theirs[plain], mm[plain] - 0.01, atol=1e-5)
    np.testing.assert_allclose(found[::-1][plain], 12 * mm[plain], rtol=1e-6)
