"""Zarr stores of unknown origin: read within their folder, unpacked within bounds, and never unpickled.

Zarr unpacks a chunk to whatever size its data ask for, follows a link out of the store, and calls any codec
that is registered, ``pickle`` among them.
"""

import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import zarr
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline
from zarr.storage import LocalStore

from stormcell.data.readers.inflating import expect_unpacked_size
from stormcell.errors import InputError

MOST_METADATA = 2**26
_MOST_CHUNK = 2**31
# A chunk may unpack to this number of bytes beyond twice its size, because filters change the type.
_BEYOND = 2**24
_COMPRESSORS = {"zlib", "gzip", "bz2", "lzma", "blosc", "zstd", "lz4"}
_CHECKSUMS_AT_THE_END = {"crc32c", "fletcher32"}
_OTHERS = {
    *("bytes", "transpose", "sharding_indexed", "vlen-utf8", "vlen-bytes", "json2", "base64"),
    *("shuffle", "delta", "fixedscaleoffset", "quantize", "packbits", "astype", "bitround", "cast_value"),
    *("scale_offset", "crc32", "adler32", "jenkins_lookup3", "categorize"),
}
_ALLOWED = _COMPRESSORS | _CHECKSUMS_AT_THE_END | _OTHERS
_ZSTD_MAGIC, _ZSTD_BLOCK = b"\x28\xb5\x2f\xfd", 2**17


class LimitedStore(LocalStore):
    """A folder in which only regular files are read, and nothing outside of it."""

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Return the bytes of a file, or None if it does not exist.

        Raises:
            InputError: The file is outside of the folder, not a regular one, or absurdly large.
        """
        self._expect_inside(key, whole=byte_range is None)
        return await super().get(key, prototype, byte_range)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[Any]) -> list[Any]:
        """Return parts of files.

        Raises:
            InputError: As for :meth:`get`.
        """
        wanted = list(key_ranges)
        for key, part in wanted:
            self._expect_inside(key, whole=part is None)
        return await super().get_partial_values(prototype, wanted)

    def _expect_inside(self, key: str, *, whole: bool) -> None:
        path = (self.root / key).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise InputError(f"{key[:80]}: expected a file in the folder, found a path to another place")
        try:
            status = path.stat()
        except OSError:
            return
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise InputError(f"{key[:80]}: expected a regular file, found a device or pipe")
        metadata = key.split("/")[-1].startswith((".z", "zarr.json"))
        most = MOST_METADATA if metadata else _MOST_CHUNK
        if whole and status.st_size > most:
            raise InputError(f"{key[:80]}: expected at most {most} bytes, found {status.st_size}")


class LimitedPipeline(BatchedCodecPipeline):
    """Zarr's own way of decoding, after a check of each chunk."""

    async def decode_batch(self, chunk_bytes_and_specs: Iterable[Any]) -> Iterable[Any]:
        """Decode chunks.

        Raises:
            InputError: A codec is not among those that are known to be safe, or a chunk unpacks to more than
                its size.
        """
        batch = list(chunk_bytes_and_specs)
        compressor = self._compressor()
        for chunk, spec in batch:
            if chunk is not None and compressor is not None:
                size = spec.dtype.to_native_dtype().itemsize
                for length in spec.shape:
                    size *= length
                _expect_size(memoryview(chunk.as_numpy_array()), compressor, 2 * size + _BEYOND)
        return await super().decode_batch(batch)

    def _compressor(self) -> str | None:
        """Return the name of the codec that unpacks, which comes first, or behind a checksum."""
        names = [name for codec in reversed(self.bytes_bytes_codecs) for name in _names(codec)]
        names += [
            name for codec in (self.array_bytes_codec, *self.array_array_codecs) for name in _names(codec)
        ]
        for name in names:
            if name not in _ALLOWED:
                known = ", ".join(sorted(_ALLOWED))
                raise InputError(f"codec: expected one of {known}, found {name[:40]}")
        places = [place for place, name in enumerate(names) if name in _COMPRESSORS]
        if not places:
            return None
        if len(places) > 1 or not _CHECKSUMS_AT_THE_END.issuperset(names[: places[0]]):
            raise InputError(f"codecs: expected chunks that are compressed once, at last, found {names}")
        return names[places[0]]


register_pipeline(LimitedPipeline)


@contextmanager
def limits() -> Iterator[None]:
    """Let Zarr decode chunks by :class:`LimitedPipeline`."""
    path = f"{LimitedPipeline.__module__}.{LimitedPipeline.__qualname__}"
    with zarr.config.set({"codec_pipeline.path": path}):
        yield


def _names(codec: Any) -> list[str]:
    """Return the names of the codecs in one of Zarr's, in the order in which they decode."""
    if hasattr(codec, "compressor"):  # Zarr version 2
        filters = [codec.compressor, *reversed(codec.filters or ())]
        return [one.codec_id for one in filters if one is not None]
    return [str(codec.to_dict()["name"]).removeprefix("numcodecs.")]


def _expect_size(chunk: memoryview, compressor: str, most: int) -> None:
    if compressor == "zstd":
        claimed = _zstd_size(chunk)
    elif compressor == "blosc":
        claimed = int.from_bytes(chunk[4:8], "little")
    elif compressor == "lz4":
        claimed = int.from_bytes(chunk[:4], "little")
    else:
        expect_unpacked_size(chunk, compressor, most)
        return
    if claimed > most:
        raise InputError(f"chunk: expected to unpack to at most {most} bytes, found {claimed}")


def _zstd_size(chunk: memoryview) -> int:
    """Return the size that a frame of Zstandard (RFC 8878) states, or the most that its blocks can hold."""
    if chunk[:4] != _ZSTD_MAGIC or len(chunk) < 6:
        return 0  # is refused by the library
    flags = chunk[4]
    single = flags >> 5 & 1
    at = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    length = (single, 2, 4, 8)[flags >> 6]
    if length:
        return int.from_bytes(chunk[at : at + length], "little") + 256 * (length == 2)
    blocks, last = 0, False
    while not last and at + 3 <= len(chunk):
        header = int.from_bytes(chunk[at : at + 3], "little")
        last = bool(header & 1)
        at += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        blocks += 1
    return max(blocks - 1, 0) * _ZSTD_BLOCK
