"""Formats that others read: importers of pysteps, engines of xarray, and readers of other packages."""

import gzip
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import find, fmi_pgm, looks_like_radar, open_radar
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)
EDGES = {
    "projection": "+proj=utm +zone=35 +ellps=GRS80 +units=m",
    "x1": 300.0,
    "y1": 6900.0,
    "x2": 305.0,
    "y2": 6904.0,
    "xpixelsize": 1.0,
    "ypixelsize": 1.0,
    "cartesian_unit": "km",
    "yorigin": "upper",
}
RATES = np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, np.nan], [10, 11, 12, 13, 14], [15, 16, 17, 18, 19.0]])


def read(path, options):
    ds = open_radar(path, options).read(options, ALL)
    schema.check(ds)
    return ds


@pytest.fixture
def importer(monkeypatch, tmp_path):
    """Install an importer ``test`` in pysteps, and return a function that reads a file with it."""
    interface = pytest.importorskip("pysteps.io.interface")

    def run(values, *, quality=None, options=None, name="rain_202005011205.dat", packed=False, **metadata):
        def import_test(filename, **_):
            from pathlib import Path

            assert Path(filename).read_bytes() == b"content"
            return values, quality, {**EDGES, "unit": "mm/h", "transform": None, **metadata}

        monkeypatch.setitem(interface._importer_methods, "test", import_test)
        path = tmp_path / name
        path.write_bytes(gzip.compress(b"content") if packed else b"content")
        return read(path, options or ReadOptions(format="pysteps:test"))

    return run


def test_pysteps_importer_rate_edges_and_time_in_the_name_are_used(importer):
    ds = importer(RATES)
    np.testing.assert_array_equal(ds["rainfall_rate"][0], RATES)
    assert ds["time"].values[0] == np.datetime64("2020-05-01T12:05")
    np.testing.assert_allclose(ds["x"], 300_500 + 1000 * np.arange(5))
    np.testing.assert_allclose(ds["y"], 6_903_500 - 1000 * np.arange(4))


def test_pysteps_importer_rows_from_the_south_are_turned(importer):
    np.testing.assert_array_equal(importer(RATES[::-1], yorigin="lower")["rainfall_rate"][0], RATES)


def test_pysteps_importer_compressed_file_is_unpacked_for_it(importer):
    importer(RATES, name="rain_202005011205.dat.gz", packed=True)


def test_pysteps_importer_amount_reflectivity_and_decibels_are_converted(importer):
    np.testing.assert_allclose(
        importer(RATES / 12, unit="mm", accutime=5)["rainfall_rate"][0], RATES, rtol=1e-6
    )
    dbz = np.where(RATES == 0, -15, 20 + RATES)
    found = importer(dbz, unit="dBZ", transform="dB", zerovalue=-15, zr_a=223.0, zr_b=1.53)["rainfall_rate"]
    expected = np.where(RATES == 0, 0, (10 ** (dbz / 10) / 223) ** (1 / 1.53))
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    assert found.attrs["zr_a"] == 223
    with np.errstate(divide="ignore"):
        found = importer(10 * np.log10(RATES), transform="dB")["rainfall_rate"]
    np.testing.assert_allclose(found[0], RATES, rtol=1e-6)


def test_pysteps_importer_weakest_rain_is_not_taken_for_no_echo(importer):
    # Where rain is everywhere, importers give the weakest value as the one of no rain.
    values = RATES + 25
    found = importer(values, unit="dBZ", transform="dB", zerovalue=25.0, zr_a=200.0, zr_b=1.6)
    assert (found["rainfall_rate"].values[0][~np.isnan(RATES)] > 0).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"unit": "mm"}, "accumulation period: expected a period above 0"),
        ({"unit": None}, "units: expected units from the importer, found none"),
        ({"unit": "dBZ"}, "zr: expected a and b"),
        ({"transform": "BoxCox"}, "transform: expected values without one, or in dB, found 'BoxCox'"),
        ({"x1": None}, "metadata: expected a projection and outer edges"),
        ({"x2": 304.0}, "metadata: expected outer edges that are 5 × 4 pixels of 1 apart"),
        (
            {"name": "rain.dat"},
            "time: expected one in the file's name, or --start, because importers of pysteps",
        ),
    ],
)
def test_pysteps_importer_incomplete_metadata_are_refused(importer, change, reason):
    with pytest.raises(InputError, match=reason):
        importer(RATES, **change)


def test_pysteps_importer_quality_is_a_threshold(importer):
    quality = np.where(RATES > 10, 0.9, 0.2)
    options = ReadOptions(format="pysteps:test", min_quality=0.5)
    found = importer(RATES, quality=quality, options=options)["rainfall_rate"].values[0]
    np.testing.assert_array_equal(np.isnan(found), ~(RATES > 10))
    missing = np.where(RATES > 10, np.nan, 0.9)
    rates = RATES.copy()
    rates[0, 0] = 0
    missing[0, 0] = np.nan
    found = importer(rates, quality=missing, options=options)["rainfall_rate"].values[0]
    np.testing.assert_array_equal(np.isnan(found), (rates > 10) | np.isnan(rates))
    with pytest.raises(InputError, match="min_quality: expected a quality field"):
        importer(RATES, options=options)


def test_pysteps_importer_start_counts_more_than_the_name(importer):
    ds = importer(RATES, options=ReadOptions(format="pysteps:test", start="2021-01-01T00:10"))
    assert ds["time"].values[0] == np.datetime64("2021-01-01T00:10")


def test_pysteps_importer_required_arguments_come_from_the_options(tmp_path, monkeypatch):
    interface = pytest.importorskip("pysteps.io.interface")
    asked = {}

    def import_mch(filename, product, unit, accutime, **_):  # noqa: ARG001
        asked.update(product=product, unit=unit, accutime=accutime)
        return RATES / 12, None, {**EDGES, "unit": unit, "accutime": accutime}

    monkeypatch.setitem(interface._importer_methods, "mch", import_mch)
    path = tmp_path / "202005011205.gif"
    path.write_bytes(b"x")
    with pytest.raises(InputError, match="pysteps:mch: expected product, which this importer requires"):
        read(path, ReadOptions(format="pysteps:mch"))
    options = ReadOptions(format="pysteps:mch", variable="AQC", units="mm/5min")
    np.testing.assert_allclose(read(path, options)["rainfall_rate"][0], RATES, rtol=1e-6)
    assert asked == {"product": "AQC", "unit": "mm", "accutime": pytest.approx(5)}


def test_pysteps_importer_of_fmi_gives_the_same_rates_as_our_reader(write_pgm):
    pytest.importorskip("pysteps")
    path = write_pgm(name="201609281445.pgm.gz")
    ours = read(path, ReadOptions(zr=(223.0, 1.53)))
    theirs = read(path, ReadOptions(format="pysteps:fmi_pgm", zr=(223.0, 1.53)))
    # The adapter takes rates below 0.0005 mm/h for no echo.
    np.testing.assert_allclose(theirs["rainfall_rate"], ours["rainfall_rate"], rtol=1e-5, atol=5e-4)
    np.testing.assert_allclose(theirs["lat"], ours["lat"], atol=1e-4)


def test_pysteps_importer_that_does_not_exist_is_refused(tmp_path):
    pytest.importorskip("pysteps")
    (tmp_path / "202005011205.x").write_bytes(b"x")
    with pytest.raises(InputError, match="format: expected an importer of pysteps, found 'none'"):
        read(tmp_path / "202005011205.x", ReadOptions(format="pysteps:none"))


def test_pysteps_importer_without_pysteps_names_the_extra(tmp_path):
    (tmp_path / "202005011205.x").write_bytes(b"x")
    code = f"""
        import sys
        from pathlib import Path
        sys.modules["pysteps"] = sys.modules["pysteps.io"] = None
        from stormcell.data.read_options import ReadOptions
        from stormcell.data.readers import open_radar
        options = ReadOptions(format="pysteps:fmi_pgm")
        try:
            open_radar(Path({str(tmp_path)!r}) / "202005011205.x", options).read(options, slice(None))
        except ValueError as error:
            print(error)
    """
    assert "install stormcell[pysteps]" in python(code)


def test_xarray_engine_opens_files_for_the_cf_reader(cf, tmp_path):
    values = np.random.default_rng(0).gamma(1, 2, (2, 4, 5)) + 0.01
    ds = cf(values, units="mm/h")
    ds.to_netcdf(tmp_path / "rain.dat", engine="scipy", format="NETCDF3_64BIT")
    found = read(tmp_path / "rain.dat", ReadOptions(format="xarray:scipy"))
    np.testing.assert_allclose(found["rainfall_rate"], values, rtol=1e-6)
    with pytest.raises(InputError, match="xarray:radolan: expected an engine of xarray that is installed"):
        read(tmp_path / "rain.dat", ReadOptions(format="xarray:radolan"))


@pytest.mark.parametrize("name", ["fmi_pgm", "FMI PGM", "fmi pgm"])
def test_format_by_name_forces_a_reader(write_pgm, name):
    assert find(Source(write_pgm()), ReadOptions(format=name)) is fmi_pgm


def test_format_by_name_that_does_not_exist_is_refused(write_pgm):
    with pytest.raises(
        InputError, match=r"format: expected .*FMI PGM, .* pysteps:NAME or xarray:ENGINE, found 'x'"
    ):
        find(Source(write_pgm()), ReadOptions(format="x"))


def test_format_of_another_library_takes_every_file_of_a_folder(tmp_path):
    (tmp_path / "a.xyz").write_bytes(b"x")
    assert not looks_like_radar(tmp_path / "a.xyz")
    assert looks_like_radar(tmp_path / "a.xyz", ReadOptions(format="pysteps:test"))


def python(code, path=None):
    """Run a program in a new interpreter, with a folder of packages, and return its output and errors."""
    import os

    folders = [str(path)] if path else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, *sys.path])}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


READER = '''
"""A format of text: a line with the time, then rows of rates."""

import numpy as np
import pyproj

from stormcell.data import schema
from stormcell.data.grid import Grid

NAME = "Plain rain"
SUFFIXES = (".rain",)


def recognises(source):
    return source.head(4) == b"RAIN"


def times(source, options):
    return np.array([source.contents().split()[1].decode()], "datetime64[s]")


def read(source, options, frames):
    values = np.array(source.contents().split()[2:], float).reshape(1, 2, 3)
    grid = Grid.from_centres(pyproj.CRS(3067), [300000, 301000, 302000], [6901000, 6900000])
    measured = {"source_quantity": "rate"}
    attributes = {"source": "test"}
    return schema.build(values, times(source, options), grid, measured=measured, attributes=attributes)
'''


@pytest.fixture
def install(tmp_path):
    """Install a package with a reader, as an installer leaves it: a module and its metadata."""

    def package(name, code):
        site = tmp_path / "site"
        site.mkdir(exist_ok=True)
        (site / f"{name}.py").write_text(code)
        metadata = site / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[stormcell.readers]\n{name}_format = {name}\n")
        return site

    return package


APPEND = """
    import sys
    from stormcell.cli.main import app
    sys.exit(app(["archive", {files!r}, "--out", {out!r}], standalone_mode=False) or 0)
"""


def test_entry_point_reader_of_another_package_reads_its_format(install, tmp_path):
    site = install("plainrain", READER)
    for minute in (0, 5):
        name = tmp_path / "files" / f"{minute}.rain"
        name.parent.mkdir(exist_ok=True)
        name.write_text(f"RAIN 2020-05-01T12:{minute:02} 0 1 2 3 4 {minute}")
    out = tmp_path / "a.zarr"
    assert "2 frames added" in python(APPEND.format(files=str(tmp_path / "files"), out=str(out)), site)
    from stormcell.data import archive

    np.testing.assert_array_equal(archive.open(out)["rainfall_rate"][1], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import a_package_that_does_not_exist", "ModuleNotFoundError"),
        ("raise SystemError('broken')", "SystemError: broken"),
        ("NAME = 'x'", "has no attribute 'SUFFIXES'"),
        (
            READER.replace("return source.head(4)", "raise KeyError(1)\n    return source.head(4)"),
            "KeyError: 1",
        ),
    ],
)
def test_entry_point_broken_reader_is_named_and_the_others_work(install, write_pgm, tmp_path, code, reason):
    site = install("broken", code)
    printed = python(APPEND.format(files=str(write_pgm()), out=str(tmp_path / "a.zarr")), site)
    assert "1 frame added" in printed
    assert "broken_format" in printed
    assert reason in printed


def test_entry_point_reader_that_breaks_the_schema_is_refused(install, tmp_path):
    site = install("odd", READER.replace("return schema.build", "return 1 or schema.build"))
    (tmp_path / "a.rain").write_text("RAIN 2020-05-01T12:00 0 1 2 3 4 5")
    code = f"""
        from stormcell.data import archive
        print(archive.append({str(tmp_path / "a.zarr")!r}, [{str(tmp_path / "a.rain")!r}]).refused)
    """
    assert "reader odd_format: expected a dataset, found int" in python(code, site)
