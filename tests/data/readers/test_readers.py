"""The interface of readers, for each of them on a sample file."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from stormcell.data import schema
from stormcell.data.radar_files import radar_files
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import find, looks_like_radar, open_radar
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

ALL = slice(None)


def test_readers_sample_is_recognised_by_content(reader, samples, sample):
    assert find(Source(sample)) is reader
    if hasattr(samples, "FILE_NAME"):
        return
    unnamed = sample.rename(sample.with_name("sample"))
    assert find(Source(unnamed)) is reader
    assert looks_like_radar(unnamed)


def test_readers_frames_follow_the_schema_at_the_listed_times(reader, sample, options):
    ds = reader.read(Source(sample), options, ALL)
    schema.check(ds)
    assert not schema.value_problems(ds["rainfall_rate"].values)
    np.testing.assert_array_equal(ds["time"].values, reader.times(Source(sample), options))
    assert {"source_quantity", "units"} <= ds["rainfall_rate"].attrs.keys()
    assert ds.attrs["source"]


def test_readers_slice_of_frames_is_read(reader, sample, options):
    whole, last = (
        reader.read(Source(sample), options, ALL),
        slice(len(reader.times(Source(sample), options)) - 1, None),
    )
    part = reader.read(Source(sample), options, last)
    xr.testing.assert_identical(part["rainfall_rate"], whole["rainfall_rate"].isel(time=last))


def test_readers_compressed_file_gives_the_same_frames(reader, sample, options):
    packed = sample.with_name(sample.name + ".gz")
    packed.write_bytes(gzip.compress(sample.read_bytes()))
    assert find(Source(packed)) is reader
    expected, found = (reader.read(Source(path), options, ALL) for path in (sample, packed))
    # A file without a source is named instead.
    xr.testing.assert_identical(found.drop_attrs(deep=False), expected.drop_attrs(deep=False))


def test_readers_override_that_contradicts_the_file_raises(reader, sample, samples):
    with pytest.raises(InputError, match="expected the file's"):
        reader.read(Source(sample), samples.CONTRADICTION, ALL)


def test_readers_period_that_contradicts_the_file_raises(sample, options):
    found = open_radar(sample, options)
    minutes = found.read(options, ALL)["rainfall_rate"].attrs.get("accumulation_minutes")
    if minutes is None or options.units is not None:
        pytest.skip("the sample has no accumulation, or the options give its period")
    for change, right in ((2, False), (0, True)):
        stated = replace(options, units=f"mm/{minutes + change:g}min", quantity=None)
        if right:
            assert found.read(stated, ALL)["rainfall_rate"].attrs["accumulation_minutes"] == minutes
        else:
            with pytest.raises(InputError, match=r"expected the file's .* in the options"):
                open_radar(sample, stated).read(stated, ALL)


@pytest.mark.parametrize("share", np.linspace(0, 0.97, 9))
def test_readers_truncated_file_raises_input_error(sample, options, share):
    content = sample.read_bytes()
    sample.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError):
        open_radar(sample, options).read(options, ALL)


@pytest.mark.parametrize("function", ["recognises", "times", "read"])
def test_readers_error_of_a_library_becomes_an_input_error(reader, sample, options, monkeypatch, function):
    def fail(*_: object) -> None:
        raise IndexError("too short")

    monkeypatch.setattr(reader, function, fail)
    with pytest.raises(InputError, match="could not be read: IndexError: too short"):
        open_radar(sample, options).read(options, ALL)
    if function == "recognises":
        assert not looks_like_radar(sample.rename(sample.with_name("sample")))


def test_readers_times_in_different_centuries_raise_input_error(cf, tmp_path):
    ds = cf(np.ones((4, 4, 5)), units="mm/h")
    ds["time"] = np.array(
        ["1900-01-01", "2020-01-01T00:00", "2020-01-01T00:05", "2020-01-01T00:10"], "M8[ns]"
    )
    ds.to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=r"^time: expected a frame every 5 min, .* missing$"):
        open_radar(tmp_path / "r.nc").read(ReadOptions(), ALL)


def test_readers_two_frames_of_one_time_raise_and_name_the_time(cf, tmp_path):
    ds = cf(np.ones((3, 4, 5)), units="mm/h")
    ds["time"] = np.array(["2020-01-01T00:05", "2020-01-01T00:00", "2020-01-01T00:05"], "M8[ns]")
    ds.to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=r"one frame for each time, found two of 2020-01-01T00:05:00$"):
        open_radar(tmp_path / "r.nc")


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("radar.zip", b"PK\x03\x04" + bytes(40), "zip"),
        ("radar.tar", bytes(257) + b"ustar" + bytes(250), "tar"),
        ("radar.tar.gz", gzip.compress(bytes(257) + b"ustar" + bytes(250), mtime=0), "tar"),
        ("radar.h5.xz", b"\xfd7zXZ\0" + bytes(40), "xz"),
        ("radar.h5.gz", gzip.compress(gzip.compress(bytes(40), mtime=0), mtime=0), "gzip"),
    ],
)
def test_readers_packed_file_is_named_and_nothing_is_said_to_be_unknown(tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"found a file packed by {kind}; unpack it first$"):
        open_radar(path)
    (tmp_path / "empty.txt").touch()
    refused: dict = {}
    assert list(radar_files([tmp_path], refused)) == ([path] if name == "radar.h5.gz" else [])
    if name != "radar.h5.gz":
        assert f"found only packed ones such as {name}; unpack them first" in refused[tmp_path]


def test_readers_hidden_files_and_folders_in_a_folder_are_left_out(write_pgm, tmp_path):
    # rsync copies into hidden files, and macOS writes them beside files on other disks.
    path = write_pgm("201609281445")
    for place in (
        path.with_name(f".{path.name}.Xy12"),
        path.with_name(f"._{path.name}"),
        tmp_path / ".old/a.pgm",
    ):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(path.read_bytes()[:-5])
    assert list(radar_files([path.parent], {})) == [path]


def test_readers_folder_and_missing_file_raise(tmp_path):
    with pytest.raises(InputError, match="found a folder of another kind"):
        open_radar(tmp_path)
    with pytest.raises(InputError, match="found no such file"):
        open_radar(tmp_path / "none.h5")
    assert not looks_like_radar(tmp_path / "none.txt")
