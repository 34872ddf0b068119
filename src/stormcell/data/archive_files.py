"""The arrays of an archive: their metadata, the names of their files, and the bytes of one file.

One file, because the three are one layout.

An archive is a Zarr v3 group:

    rainfall_rate    (time, y, x) float32                            a file per frame, tiles of about 256²
    tile_statistics  (time, tile_statistic, tile_y, tile_x) float32  a file per frame
    frame_statistics (time, frame_statistic) float64                 a file per 4096 frames
    frame_hash, time (time)                                          a file per 4096 frames
    missing_times    (missing_times)                                 a file per 4096 missing times
    x, y, lat, lon, crs                                              written once

A file of a frame is a Zarr chunk that is divided into tiles by the sharding codec, so that a small window is
read without the rest of the frame. The root ``zarr.json`` has the metadata of all arrays. Zarr has several
namings of chunk files. Two of them are used, ``c.17.0.0`` and ``17.0.0``, and the metadata of an array says
which one is valid.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from stormcell.data import rain_index, schema, shard
from stormcell.data.archive_folder import ArchiveFiles
from stormcell.errors import ArchiveError

Metadata = dict[str, Any]
Values = NDArray[Any]

ROOT = "zarr.json"
TIME_UNITS = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}
TILES, FRAMES, HASH = "tile_statistics", "frame_statistics", "frame_hash"
FIXED = ("x", "y", "lat", "lon", "crs")
BY_FRAME = (schema.RATE, TILES)  # arrays with a file per frame
SERIES = ("time", HASH, FRAMES)  # arrays with a file per 4096 frames
MISSING = "missing_times"
WHOLE_FRAMES = "whole_frames"
ARRAYS = (*FIXED, *BY_FRAME, *SERIES, MISSING)
TIMES_PER_CHUNK = 4096

_TILE = 256  # pixels: the sides of a tile are close to this
# The names of chunk files are these and the chunk's indices, joined by dots.
_PREFIXES = {"default": "c.", "v2": ""}
# Higher levels take twice the time to save a tenth. Rates have few different values, and with shuffled bytes
# they become larger. Latitudes and longitudes are smooth: shuffling saves more than half.
_RATES = ZstdCodec(level=3, checksum=True)
_SMOOTH = BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")


def new_arrays(frames: xr.Dataset) -> dict[str, Metadata]:
    """Return the metadata of the arrays of a new archive, without any frame.

    Args:
        frames: A dataset of the schema with the grid and the attributes. If the encoding of its rate has
            ``whole_frames``, a frame is one chunk without tiles, as the MLCast conventions require.
    """
    rows, columns = frames.sizes["y"], frames.sizes["x"]
    tiles = _tile(rows), _tile(columns)
    side, statistics = rain_index.TILE, len(rain_index.FRAME_STATISTICS)
    tile_grid = -(-rows // side), -(-columns // side)
    whole = bool(frames[schema.RATE].encoding.get(WHOLE_FRAMES))
    chunk = (1, rows, columns) if whole else (1, *tiles)
    arrays = {
        schema.RATE: _metadata(frames[schema.RATE].dtype, (0, rows, columns), chunk, sharded=not whole),
        TILES: _metadata(np.float32, (0, 4, *tile_grid), (1, 4, *tile_grid)),
        FRAMES: _metadata(np.float64, (0, statistics), (TIMES_PER_CHUNK, statistics)),
        HASH: _metadata(np.uint64, (0,), (TIMES_PER_CHUNK,)),
        "lat": _metadata(np.float32, (rows, columns), tiles, sharded=True, codec=_SMOOTH),
        "lon": _metadata(np.float32, (rows, columns), tiles, sharded=True, codec=_SMOOTH),
        "x": _metadata(np.float64, (columns,), (columns,)),
        "y": _metadata(np.float64, (rows,), (rows,)),
        "crs": _metadata(np.int32, (), ()),
        "time": _metadata(np.int64, (0,), (TIMES_PER_CHUNK,)),
        MISSING: _metadata(np.int64, (0,), (TIMES_PER_CHUNK,)),
    }
    for name, dimensions, attributes in (
        (
            TILES,
            ("time", "tile_statistic", "tile_y", "tile_x"),
            {
                "long_name": "statistics of the rain rate by tile",
                "statistics": rain_index.STATISTICS,
                "tile_pixels": side,
                "wet_mm_per_h": rain_index.WET,
            },
        ),
        (
            FRAMES,
            ("time", "frame_statistic"),
            {
                "long_name": "statistics of the rain rate by frame",
                "statistics": rain_index.FRAME_STATISTICS,
                "wet_mm_per_h": rain_index.WET,
                "dry_share": rain_index.DRY_SHARE,
            },
        ),
        (HASH, ("time",), {"long_name": "first 8 bytes of the SHA-256 of the frame's rates"}),
    ):
        arrays[name] |= {"dimension_names": list(dimensions), "attributes": plain(attributes)}
    for name in ARRAYS:
        if name in frames.variables:
            dates = frames[name].dtype.kind == "M"
            attributes = plain(frames[name].attrs) | (TIME_UNITS if dates else {})
            if name == schema.RATE:
                attributes["coordinates"] = "lat lon"
            arrays[name] |= {"dimension_names": list(frames[name].dims), "attributes": attributes}
    return {name: arrays[name] for name in ARRAYS}


def naming(metadata: Metadata) -> str:
    """Return the naming of an array's chunk files: ``"default"`` or ``"v2"``."""
    return str(metadata["chunk_key_encoding"]["name"])


def other(name: str) -> str:
    """Return the other naming."""
    return "v2" if name == "default" else "default"


def renamed(metadata: Metadata, name: str, length: int) -> Metadata:
    """Return the metadata of an array with another naming and length."""
    encoding = {"name": name, "configuration": {"separator": "."}}
    return metadata | {"chunk_key_encoding": encoding, "shape": [length, *metadata["shape"][1:]]}


def key(array: str, metadata: Metadata, name: str, chunk: int) -> str:
    """Return the file of a chunk, for arrays that are divided only along their first dimension.

    Example:
        >>> metadata = _metadata(np.float32, (5, 100, 100), (1, 100, 100))
        >>> key("rainfall_rate", metadata, "default", 3), key("rainfall_rate", metadata, "v2", 3)
        ('rainfall_rate/c.3.0.0', 'rainfall_rate/3.0.0')
    """
    return f"{array}/{_PREFIXES[name]}{chunk}{'.0' * (len(metadata['shape']) - 1)}"


def chunk_of(file: str) -> tuple[str, int] | None:
    """Return naming and first index of a chunk file; None for another file.

    Example:
        >>> chunk_of("c.17.0.0"), chunk_of("17.0.0"), chunk_of("zarr.json")
        (('default', 17), ('v2', 17), None)
    """
    name = "default" if file.startswith("c.") else "v2"
    parts = file.removeprefix("c.").split(".")
    return (name, int(parts[0])) if all(map(str.isdecimal, parts)) else None


def encode(metadata: Metadata, values: Values) -> dict[str, bytes]:
    """Return the chunk files of an array with these values, in the naming of the metadata."""
    # Tiles that have only the fill value take no space in a file, but every frame has a file.
    return _encode(metadata, values, empty=False) or _encode(metadata, values, empty=True)


def encode_chunk(metadata: Metadata, values: Values) -> bytes:
    """Return the bytes of one chunk; values that fill it only in part are followed by fill values."""
    if len(values) == 1 and values.ndim == 3 and shard.is_plain(metadata):
        return shard.encode(metadata, values[0])
    (content,) = encode(renamed(metadata, "default", len(values)), values).values()
    return content


def decode_chunk(metadata: Metadata, content: bytes, length: int) -> Values:
    """Return the first ``length`` values of one chunk.

    Raises:
        ArchiveError: The content is damaged.
    """
    metadata = renamed(metadata, "default", length)
    files = {key("", metadata, "default", 0).removeprefix("/"): content}
    try:
        return np.asarray(_open(metadata, files)[0][...])
    except Exception as error:  # codecs raise errors of many kinds
        raise ArchiveError(f"expected complete chunks, found a damaged one: {error}") from error


def read_chunks(
    folder: ArchiveFiles, array: str, metadata: Metadata, first: int = 0, last: int | None = None
) -> Values:
    """Return the values from one position of an array to another; the first must begin a chunk.

    The array is divided only along its first dimension.

    Raises:
        ArchiveError: A file is missing or damaged.
    """
    last = metadata["shape"][0] if last is None else last
    parts = [np.empty((0, *metadata["shape"][1:]), np.dtype(metadata["data_type"]))]
    length = int(metadata["chunk_grid"]["configuration"]["chunk_shape"][0])
    for start in range(first, last, length):
        file = key(array, metadata, naming(metadata), start // length)
        try:
            content = folder.read(file)
            parts.append(decode_chunk(metadata, content, min(length, last - start)))
        except (FileNotFoundError, ArchiveError) as error:
            raise ArchiveError(
                f"{folder.path}: expected a complete archive, found {file}: {error}"
            ) from error
    return np.concatenate(parts)


def read_root(folder: ArchiveFiles) -> Metadata | None:
    """Return the content of the root; None if there is no root.

    Raises:
        ArchiveError: The folder is not an archive that Stormcell wrote.
    """
    try:
        root: Metadata = json.loads(folder.read(ROOT))
        arrays = root["consolidated_metadata"]["metadata"]
        ours = arrays["time"]["attributes"]["units"] == TIME_UNITS["units"]
        earlier = ours and {schema.RATE, MISSING} <= arrays.keys() and TILES not in arrays
        ours = ours and set(ARRAYS) <= arrays.keys()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{folder.path}: expected an archive, found another root: {error}") from None
    if earlier:
        raise ArchiveError(
            f"{folder.path}: expected an archive of this version, found one of an earlier version; "
            f"«stormcell archive {folder.path} --out NEW.zarr» copies it"
        )
    if not ours:
        raise ArchiveError(f"{folder.path}: expected an archive made by Stormcell, found another Zarr store")
    return root


def arrays_of(root: bytes) -> Metadata | None:
    """Return the metadata of the arrays from the content of a root; None if Stormcell did not write it.

    Example:
        >>> arrays_of(b"{}") is None
        True
    """
    try:
        arrays: Metadata = json.loads(root)["consolidated_metadata"]["metadata"]
        ours = arrays["time"]["attributes"]["units"] == TIME_UNITS["units"] and set(ARRAYS) <= arrays.keys()
    except (ValueError, KeyError, TypeError):
        return None
    return arrays if ours else None


def root_content(arrays: Mapping[str, Metadata], attributes: Mapping[str, Any]) -> Metadata:
    """Return the content of the root, which commits the arrays."""
    return {
        "zarr_format": 3,
        "node_type": "group",
        # Without this, tools take the index for data variables beside the rate.
        "attributes": plain({**attributes, "coordinates": " ".join((TILES, FRAMES, HASH))}),
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": dict(arrays)},
    }


def as_json(content: Metadata) -> bytes:
    """Return metadata as the content of a file."""
    return json.dumps(content, indent=2).encode()


def plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes with values that JSON can represent."""
    return {
        str(name): value.tolist()
        if isinstance(value, np.generic | np.ndarray)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in attributes.items()
    }


def _metadata(
    dtype: Any,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    *,
    sharded: bool = False,
    codec: ZstdCodec | BloscCodec = _RATES,
) -> Metadata:
    content: dict[str, Any] = {}
    whole = (1,) * (len(chunks) - 2) + tuple(
        tile * -(-side // tile) for tile, side in zip(chunks[-2:], shape[-2:], strict=True)
    )
    zarr.create_array(
        store=MemoryStore(content),
        shape=shape,
        shards=whole if sharded else None,
        chunks=chunks,
        dtype=dtype,
        compressors=codec,
        fill_value=np.nan if np.dtype(dtype).kind == "f" else 0,
        chunk_key_encoding={"name": "default", "separator": "."},
    )
    metadata: Metadata = json.loads(content[ROOT].to_bytes())
    return metadata


def _open(metadata: Metadata, files: Mapping[str, bytes]) -> tuple[Any, dict[str, Any]]:
    """Open an array in memory, and return it with its files."""
    make = default_buffer_prototype().buffer.from_bytes
    content = {ROOT: make(as_json(metadata)), **{name: make(file) for name, file in files.items()}}
    return zarr.open_array(store=MemoryStore(content), mode="r+"), content


def _encode(metadata: Metadata, values: Values, *, empty: bool) -> dict[str, bytes]:
    with zarr.config.set({"array.write_empty_chunks": empty}):
        array, content = _open(metadata, {})
        array[...] = values
    return {name: file.to_bytes() for name, file in content.items() if name != ROOT}


def _tile(length: int) -> int:
    """Return the length of the equal tiles into which a side of a frame is divided."""
    pieces = max(1, round(length / _TILE))
    return -(-length // pieces)
