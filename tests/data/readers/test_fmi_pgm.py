import gzip
import math
from pathlib import Path

import numpy as np
import pyproj
import pytest

from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import find, fmi_pgm
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)


def test_fmi_pgm_codes_become_rates(write_pgm):
    values = np.full((6, 5), 64)
    values[0, :4] = [0, 255, 110, 1]
    rate = fmi_pgm.read(Source(write_pgm(values=values)), ReadOptions(), ALL)["rainfall_rate"].values[0]
    # By hand: v = 110 is 23 dBZ, Z = 10^2.3 = 199.526; R = exp(ln(0.894736) / 1.53) = 0.92988.
    expected = [0.0, math.nan, 0.92988, (10**-3.15 / 223) ** (1 / 1.53)]
    np.testing.assert_allclose(rate[0, :4], expected, rtol=1e-5)
    # 0 dBZ: exp(-ln(223) / 1.53) = exp(-3.534099).
    np.testing.assert_allclose(rate[1:], 0.0291850, rtol=1e-5)


def test_fmi_pgm_z_r_override_is_used_and_recorded(write_pgm):
    path = write_pgm(values=np.full((6, 5), 110))
    rate = fmi_pgm.read(Source(path), ReadOptions(zr=(200.0, 1.6)), ALL)["rainfall_rate"]
    np.testing.assert_allclose(rate, (10**2.3 / 200) ** (1 / 1.6), rtol=1e-6)
    assert (rate.attrs["zr_a"], rate.attrs["zr_b"]) == (200.0, 1.6)


def test_fmi_pgm_time_is_that_of_the_comments(write_pgm):
    assert fmi_pgm.times(Source(write_pgm("201609281445")), ReadOptions()) == [
        np.datetime64("2016-09-28T14:45")
    ]


def cut(content: bytes) -> bytes:
    return content[:-7]


def replace(old: bytes, new: bytes):
    return lambda content: content.replace(old, new)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (cut, "expected a complete PPM image: image file is truncated"),
        (replace(b"5 6\n255", b"5 6\n65535"), "expected 8-bit grey with a maximum of 255, found 65535"),
        (replace(b"5 6\n255", b"5 6\n250"), "expected 8-bit grey with a maximum of 255, found 250"),
        (replace(b"5 6\n255\n", b"5 6\r\n255\r\n"), "expected 5 × 6 pixels, found 31 bytes"),
        (lambda content: content + b"\n", "expected 5 × 6 pixels, found 31 bytes"),
        (replace(b"5 6\n255", b"50000 60000\n255"), "expected a complete PPM image"),
        (replace(b"CorrectedReflectivity", b"DifferentialReflectivity"), "found DifferentialReflectivity"),
        (replace(b"CorrectedReflectivity", b"RainfallRate"), "param: expected .*, found RainfallRate"),
        (
            replace(b"obstime 201609281445", b"obstime yesterday"),
            "obstime: expected the comment YYYYmmddHHMM",
        ),
        (replace(b"# obstime", b"# obs"), "obstime: expected the comment"),
        (replace(b"CorrectedReflectivity", b"Velocity"), "param: expected .*reflectivity, .*found Velocity"),
        (replace(b"type stereographic", b"type mercator"), "expected stereographic, found mercator"),
        (replace(b"# topright", b"# topwrong"), "projection: expected the comments type, centre, corners"),
        (replace(b"metersperpixel_x 50000", b"metersperpixel_x 51000"), "corners: expected a distance of"),
    ],
)
def test_fmi_pgm_faulty_file_raises_and_names_the_fault(write_pgm, edit, reason):
    path = write_pgm(edit=edit)
    with pytest.raises(InputError, match=reason):
        (
            find(Source(path)).times(Source(path), ReadOptions()),
            find(Source(path)).read(Source(path), ReadOptions(), ALL),
        )


@pytest.mark.parametrize(
    "options", [ReadOptions(quantity="rate"), ReadOptions(units="mm/h"), ReadOptions(units="mm/5min")]
)
def test_fmi_pgm_override_that_contradicts_the_file_raises(write_pgm, options):
    with pytest.raises(InputError, match=r"expected the file.s .*in the options"):
        fmi_pgm.read(Source(write_pgm()), options, ALL)


def raw(path: Path) -> np.ndarray:
    """Return the last 1226 · 760 bytes of the file, which are the image."""
    return np.frombuffer(gzip.decompress(path.read_bytes())[-1226 * 760 :], np.uint8).reshape(1226, 760)


def test_fmi_pgm_real_frames_agree_with_their_bytes(radar_data):
    for path in sorted(radar_data.glob("fmi_pgm_20160928/*.pgm.gz"))[::13]:
        ds = fmi_pgm.read(Source(path), ReadOptions(), ALL)
        rate, codes = ds["rainfall_rate"].values[0], raw(path)
        np.testing.assert_array_equal(np.isnan(rate), codes == 255)
        np.testing.assert_array_equal(rate == 0, codes == 0)
        echo = (codes > 0) & (codes < 255)
        back = 10 * np.log10(223 * rate[echo].astype(float) ** 1.53)
        # The relative error of a float32 rate, 6e-8, times 10 · 1.53 / ln 10 is 4e-7 dBZ.
        np.testing.assert_allclose(back, (codes[echo] - 64.0) / 2, atol=1e-6, rtol=0)
        assert (
            str(ds["time"].values[0])[:16].replace("-", "").replace("T", "").replace(":", "")
            == path.name[:12]
        )


def test_fmi_pgm_real_corners_agree_with_the_header(radar_data):
    path = min(radar_data.glob("fmi_pgm_20160928/*.pgm.gz"))
    ds = fmi_pgm.read(Source(path), ReadOptions(), ALL)
    x, y = ds["x"].values, ds["y"].values
    dx, dy = x[1] - x[0], y[0] - y[1]
    to_degrees = pyproj.Proj(pyproj.CRS.from_wkt(ds["crs"].attrs["crs_wkt"]))
    # Outer corners of the outermost pixels, to half of the header's last digit.
    assert to_degrees(x[0] - dx / 2, y[-1] - dy / 2, inverse=True) == pytest.approx((18.6, 57.93), abs=5e-4)
    assert to_degrees(x[-1] + dx / 2, y[0] + dy / 2, inverse=True) == pytest.approx(
        (34.903, 69.005), abs=5e-4
    )
    assert (dx, dy) == pytest.approx((999.674053, 999.62859), rel=1e-6)


def test_fmi_pgm_real_frames_agree_with_pysteps(radar_data):
    importers = pytest.importorskip("pysteps.io.importers", reason="pysteps is not installed")
    path = min(radar_data.glob("fmi_pgm_20160928/*.pgm.gz"))
    dbz, _, metadata = importers.import_fmi_pgm(str(path), gzipped=True)
    ds = fmi_pgm.read(Source(path), ReadOptions(), ALL)
    rate = ds["rainfall_rate"].values[0]
    np.testing.assert_array_equal(np.isnan(rate), np.isnan(dbz))
    echo = dbz > -32  # pysteps treats −32 dBZ, "no echo", as a reflectivity
    np.testing.assert_array_equal(rate[~echo & ~np.isnan(dbz)], 0)
    expected = (10 ** (dbz[echo] / 10) / metadata["zr_a"]) ** (1 / metadata["zr_b"])
    np.testing.assert_allclose(rate[echo], expected, rtol=1e-6)
    width = metadata["x2"] - metadata["x1"]
    assert ds["x"].values[-1] - ds["x"].values[0] == pytest.approx(width - width / 760, rel=1e-9)
