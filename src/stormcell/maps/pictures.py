"""Indexed PNG files that are picture and data in one: the index of a pixel is its level.

The colours are in the chunks PLTE and tRNS. Without a chunk on colour management, a browser shows exactly
these colours.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from stormcell.data.grid import MOST_PIXELS
from stormcell.errors import InputError
from stormcell.maps.levels import Levels
from stormcell.maps.palettes import Palette

MEDIA_TYPE = "image/png"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EFFORT = 3  # of zlib, 0 … 9; with 6, pictures are 5 % smaller and take twice as long
_INDEXED = 3  # the colour type


def encode(levels: Levels, palette: Palette) -> bytes:
    """Return levels ``(y, x)`` as a PNG file. The same levels and palette give the same bytes.

    Example:
        >>> from stormcell.maps.palettes import palette
        >>> decode(encode(np.array([[0, 80, 255]], np.uint8), palette("rain"))).tolist()
        [[0, 80, 255]]
    """
    image = Image.fromarray(levels)
    image.putpalette(palette.colours[:, :3].tobytes())
    file = io.BytesIO()
    image.save(file, "png", transparency=palette.colours[:, 3].tobytes(), compress_level=_EFFORT)
    return file.getvalue()


def decode(content: bytes) -> Levels:
    """Return the levels ``(y, x)`` of a PNG file that :func:`encode` made.

    Raises:
        InputError: It is not an indexed PNG file with a byte for a pixel, or it is damaged.
    """
    _expect_indexed(content)
    _chunks(content)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return np.array(image, np.uint8)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise InputError(f"picture: expected a whole PNG file, found a damaged one: {error}") from None


def recolour(content: bytes, palette: Palette) -> bytes:
    """Return a PNG file that :func:`encode` made with another palette, without packing its pixels again.

    Raises:
        InputError: It is not an indexed PNG file with a byte for a pixel, or it is cut off.
    """
    _expect_indexed(content)
    colours = {b"PLTE": palette.colours[:, :3].tobytes(), b"tRNS": palette.colours[:, 3].tobytes()}
    chunks = [_chunk(kind, colours.get(kind, data)) for kind, data in _chunks(content)]
    return _SIGNATURE + b"".join(chunks)


def _expect_indexed(content: bytes) -> None:
    head = content[:26]
    if len(head) < 26 or head[:8] != _SIGNATURE or head[12:16] != b"IHDR":
        raise InputError("picture: expected a PNG file, found something else")
    columns, rows, bits, kind = struct.unpack(">IIBB", head[16:26])
    if (bits, kind) != (8, _INDEXED):
        raise InputError(f"picture: expected an index of 8 bits, found colour type {kind} of {bits} bits")
    if not 0 < columns * rows <= 2 * MOST_PIXELS:
        raise InputError(f"picture: expected at most {2 * MOST_PIXELS} pixels, found {rows} × {columns}")


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Return kind and data of each chunk.

    Raises:
        InputError: The last chunk is not the end of a PNG file.
    """
    place = len(_SIGNATURE)
    found: list[tuple[bytes, bytes]] = []
    while len(content) >= place + 8:
        size, kind = struct.unpack(">I4s", content[place : place + 8])
        found.append((kind, content[place + 8 : place + 8 + size]))
        place += 12 + size
    if place != len(content) or found[-1][0] != b"IEND":
        raise InputError("picture: expected a whole PNG file, found one that is cut off")
    return found


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
