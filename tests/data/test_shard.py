"""Shards that we encode, read by zarr."""

import json

import numpy as np
import pytest
import zarr
from zarr.codecs import ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from stormcell.data import shard


def array(rows, columns, tile=(4, 5), **options):
    """Return the files and the metadata of an array of one frame whose shards have whole tiles."""
    files = {}
    padded = tuple(-(-side // length) * length for side, length in zip((rows, columns), tile, strict=True))
    settings = {
        "compressors": ZstdCodec(level=3, checksum=True), "fill_value": np.nan, "dtype": "float32",
        "shards": (1, *padded), "chunks": (1, *tile),
    }  # fmt: skip
    made = zarr.create_array(MemoryStore(files), shape=(1, rows, columns), **settings | options)
    return made, files, json.loads(files["zarr.json"].to_bytes())


@pytest.mark.parametrize(("rows", "columns"), [(8, 10), (9, 12), (3, 3), (4, 11)])
def test_shard_is_read_by_zarr(rows, columns):
    frame = np.random.default_rng(rows).random((rows, columns)).astype(np.float32)
    frame[:4, :5] = np.nan
    frame[-1, -1] = 7
    made, files, metadata = array(rows, columns)
    assert shard.is_plain(metadata)
    content = shard.encode(metadata, frame)
    made[:] = frame[None]  # zarr's own
    (name,) = files.keys() - {"zarr.json"}
    assert len(content) == len(files[name].to_bytes())
    files[name] = default_buffer_prototype().buffer.from_bytes(content)
    np.testing.assert_array_equal(made[0], frame)
    np.testing.assert_array_equal(made[0, 2:4, 1:3], frame[2:4, 1:3])


def test_shard_without_an_observation_has_only_its_index():
    made, files, metadata = array(8, 10)
    content = shard.encode(metadata, np.full((8, 10), np.nan, np.float32))
    assert content[:-4] == b"\xff" * (4 * 16)
    files["c/0/0/0"] = default_buffer_prototype().buffer.from_bytes(content)
    assert np.isnan(made[:]).all()


def test_shard_of_another_type_or_codec_is_not_plain():
    for options in (
        {"dtype": "float64"},
        {"fill_value": 0.0},
        {"compressors": None},
        {"shards": None},
        {"compressors": [zarr.codecs.GzipCodec()]},
    ):
        assert not shard.is_plain(array(8, 10, **options)[2])
