"""The interface of readers, for each of them on a sample file."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormcell.data import schema
from stormcell.data.readers import READERS, Reader, UnitOverrides, find, looks_like_radar, open_radar
from stormcell.errors import InputError

ALL = slice(None)
NO_OVERRIDES = UnitOverrides()


@pytest.fixture(params=READERS, ids=lambda reader: reader.NAME)
def reader(request) -> Reader:
    return request.param


@pytest.fixture
def sample(reader: Reader, request, tmp_path) -> Path:
    """A small complete file of the format."""

    def netcdf(path: Path) -> None:
        make: Callable[..., xr.Dataset] = request.getfixturevalue("cf")
        make(np.random.default_rng(0).gamma(1, 2, (3, 4, 5)), units="mm/h").to_netcdf(path, engine="h5netcdf")

    def knmi(path: Path) -> None:
        request.getfixturevalue("write_knmi")(np.arange(30, dtype=np.uint16).reshape(6, 5), name=path.name)

    def pgm(path: Path) -> None:
        request.getfixturevalue("write_pgm")(name=path.name)

    path = tmp_path / f"sample{reader.SUFFIXES[0]}"
    {"CF NetCDF": netcdf, "KNMI HDF5": knmi, "FMI PGM": pgm}[reader.NAME](path)
    return path


def test_readers_sample_is_recognised_by_content(reader, sample):
    assert find(sample) is reader
    unnamed = sample.rename(sample.with_name("sample"))
    assert find(unnamed) is reader
    assert looks_like_radar(unnamed)


def test_readers_frames_follow_the_schema_at_the_listed_times(reader, sample):
    ds = reader.read(sample, NO_OVERRIDES, ALL)
    schema.check(ds)
    assert not schema.value_problems(ds["rainfall_rate"].values)
    np.testing.assert_array_equal(ds["time"].values, reader.times(sample))
    assert {"source_quantity", "units"} <= ds["rainfall_rate"].attrs.keys()
    assert ds.attrs["source"]


def test_readers_slice_of_frames_is_read(reader, sample):
    whole, last = reader.read(sample, NO_OVERRIDES, ALL), slice(len(reader.times(sample)) - 1, None)
    part = reader.read(sample, NO_OVERRIDES, last)
    xr.testing.assert_identical(part["rainfall_rate"], whole["rainfall_rate"].isel(time=last))


def test_readers_compressed_file_gives_the_same_frames(reader, sample):
    packed = sample.with_name(sample.name + ".gz")
    packed.write_bytes(gzip.compress(sample.read_bytes()))
    assert find(packed) is reader
    expected, found = (reader.read(path, NO_OVERRIDES, ALL) for path in (sample, packed))
    # A file without a source is named instead.
    xr.testing.assert_identical(found.drop_attrs(deep=False), expected.drop_attrs(deep=False))


def test_readers_override_that_contradicts_the_file_raises(reader, sample):
    with pytest.raises(InputError, match="expected the file's"):
        reader.read(sample, UnitOverrides(units="mm/7min" if reader.NAME != "KNMI HDF5" else "dBZ"), ALL)


@pytest.mark.parametrize("share", np.linspace(0, 0.97, 9))
def test_readers_truncated_file_raises_input_error(sample, share):
    content = sample.read_bytes()
    sample.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError):
        open_radar(sample).read(NO_OVERRIDES, ALL)


@pytest.mark.parametrize("function", ["recognises", "times", "read"])
def test_readers_error_of_a_library_becomes_an_input_error(reader, sample, monkeypatch, function):
    def fail(*_: object) -> None:
        raise IndexError("too short")

    monkeypatch.setattr(reader, function, fail)
    with pytest.raises(InputError, match="could not be read: IndexError: too short"):
        open_radar(sample).read(NO_OVERRIDES, ALL)
    if function == "recognises":
        assert not looks_like_radar(sample.rename(sample.with_name("sample")))


def test_readers_times_in_different_centuries_raise_input_error(cf, tmp_path):
    ds = cf(np.ones((4, 4, 5)), units="mm/h")
    ds["time"] = np.array(
        ["1900-01-01", "2020-01-01T00:00", "2020-01-01T00:05", "2020-01-01T00:10"], "M8[ns]"
    )
    ds.to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=r"^time: expected a frame every 5 min, .* missing$"):
        open_radar(tmp_path / "r.nc").read(NO_OVERRIDES, ALL)


def test_readers_folder_and_missing_file_raise(tmp_path):
    with pytest.raises(InputError, match="found a folder"):
        open_radar(tmp_path)
    with pytest.raises(InputError, match="found no such file"):
        open_radar(tmp_path / "none.h5")
    assert not looks_like_radar(tmp_path / "none.txt")
