"""The values of a GRIB2 message: sections 5 to 7.

Whole numbers of 8 or 16 bits, plain or as PNG (which MRMS uses), are converted by a table of all numbers, in
a third of ecCodes' time. ecCodes decodes all other packings. It gets a message that has only sections 5 and 7
from the file, after a check of their sizes, because it does not survive damaged headers.
"""

import zlib
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from stormcell.data.readers.eccodes_process import decode
from stormcell.data.readers.grib2_sections import Message, Section
from stormcell.data.readers.packing import look_up
from stormcell.errors import InputError

Convert = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_SIMPLE, _COMPLEX, _DIFFERENCES, _IEEE, _JPEG, _PNG, _CCSDS = 0, 2, 3, 4, 40, 41, 42
_LENGTHS = {_SIMPLE: 21, _COMPLEX: 47, _DIFFERENCES: 49, _IEEE: 12, _JPEG: 23, _PNG: 21, _CCSDS: 25}
_WHOLE = {8: ">u1", 16: ">u2"}
_FLOATS = {1: ">f4", 2: ">f8"}
_NO_BITMAP, _BITMAP = 255, 0
_MOST_BITS = 32
# A field of one value has no data, so its size would be unbounded by the length of the file.
_MOST_CONSTANT = 2**25
# Values that are converted at once, in float64.
_PART = 2**20


def values(message: Message, points: int, convert: Convert) -> NDArray[np.float32]:
    """Return the converted values of a field in the order of the message, ``(points,)``; NaN where missing.

    Args:
        message: The message.
        points: Number of points of its grid.
        convert: Converts physical values to what is wanted, element by element.

    Raises:
        InputError: The packing is not read, or the sizes contradict each other.
        MissingExtraError: ecCodes is needed, and not installed.
    """
    packing, data = message.sections[5], message.sections[7]
    template, count = packing.unsigned(10, 2), packing.unsigned(6, 4)
    if template not in _LENGTHS:
        raise InputError(
            f"packing: expected simple, complex, IEEE, JPEG, PNG or CCSDS, found template 5.{template}"
        )
    if len(packing) != _LENGTHS[template]:
        raise InputError(f"section 5: expected {_LENGTHS[template]} octets, found {len(packing)}")
    present = _present(message.sections[6], points)
    expected = points if present is None else int(np.count_nonzero(present))
    if count != expected:
        raise InputError(f"section 5: expected {expected} values, found {count}")
    packed = bytes(data.content[5:])
    # A table has numbers that the field does not use, and some of them are beyond any float.
    with np.errstate(over="ignore", invalid="ignore"):
        found = _packed_values(template, packing, packed, count, convert)
    if present is None:
        return found
    field = np.full(points, np.nan, np.float32)
    field[present] = found
    return field


def _present(bitmap: Section, points: int) -> NDArray[np.bool_] | None:
    """Return which points have a value; None if all have."""
    indicator = bitmap.unsigned(6)
    if indicator == _NO_BITMAP:
        return None
    if indicator != _BITMAP or len(bitmap) != 6 + -(-points // 8):
        raise InputError(
            f"section 6: expected a bitmap of {points} points, found {len(bitmap)} octets of kind {indicator}"
        )
    bits = np.frombuffer(bitmap.content, np.uint8, offset=6)
    return np.unpackbits(bits, count=points).view(np.bool_)


def _packed_values(
    template: int, packing: Section, packed: bytes, count: int, convert: Convert
) -> NDArray[np.float32]:
    if template == _IEEE:
        precision = packing.unsigned(12)
        if precision not in _FLOATS:
            raise InputError(f"packing: expected IEEE numbers of 32 or 64 bits, found precision {precision}")
        pixel = np.dtype(_FLOATS[precision])
        _expect_size(packed, count * pixel.itemsize)
        return _converted(np.frombuffer(packed, pixel, count).astype(np.float32), convert)
    bits = packing.unsigned(20)
    scale = _scale(packing)
    if bits == 0 and template not in (_COMPLEX, _DIFFERENCES):
        if count > _MOST_CONSTANT:
            raise InputError(f"packing: expected at most {_MOST_CONSTANT} equal values, found {count}")
        return np.full(count, convert(scale(np.zeros(1)))[0], np.float32)
    if bits > _MOST_BITS:
        raise InputError(f"packing: expected at most {_MOST_BITS} bits for a value, found {bits}")
    whole: NDArray[np.uint8 | np.uint16] | None = None
    if template == _SIMPLE:
        _expect_size(packed, -(-count * bits // 8))
        if bits in _WHOLE:
            whole = np.frombuffer(packed, _WHOLE[bits], count)
    elif template == _PNG:
        whole = _image(packed, count, bits)
    if whole is not None:
        table = convert(scale(np.arange(256**whole.itemsize, dtype=np.float64))).astype(np.float32)
        return look_up(table, whole)
    if template in (_COMPLEX, _DIFFERENCES):
        _check_groups(packing, packed, count, template == _DIFFERENCES)
    elif template == _JPEG:
        _check_jpeg(packed, count)
    elif template == _CCSDS and not (
        packing.unsigned(23) in (8, 16, 32, 64) and 1 <= packing.unsigned(24, 2) <= 4096
    ):
        raise InputError("packing: expected CCSDS blocks of 8 to 64 samples, found other sizes")
    return _converted(decode(_message(bytes(packing.content), packed, count), count), convert)


def _expect_size(packed: bytes, size: int) -> None:
    if len(packed) < size:
        raise InputError(f"section 7: expected {size} octets of values, found {len(packed)}")


def _scale(packing: Section) -> Convert:
    """Return the function from packed whole numbers to values: (R + n 2^E) / 10^D."""
    reference = float(np.frombuffer(packing.content, ">f4", 1, offset=11)[0])
    binary, decimal = packing.signed(16, 2), packing.signed(18, 2)
    if not abs(reference) < 1e30 or abs(binary) > 100 or abs(decimal) > 30:
        raise InputError(
            f"packing: expected a scale of rain, found reference {reference:g}, 2^{binary} and 10^{-decimal}"
        )
    return lambda numbers: (reference + numbers * 2.0**binary) * 10.0**-decimal


def _converted(field: NDArray[np.float32], convert: Convert) -> NDArray[np.float32]:
    """Convert values in place, in parts, because float64 needs twice the memory."""
    for start in range(0, field.size, _PART):
        part = field[start : start + _PART]
        part[:] = convert(part.astype(np.float64))
    return field


def _image(packed: bytes, count: int, bits: int) -> NDArray[np.uint8 | np.uint16] | None:
    """Return the numbers of a grey PNG of 8 or 16 bits; None if it is another PNG of the right size."""
    head = _png_head(packed)
    columns, rows = (int.from_bytes(head[at : at + 4], "big") for at in (0, 4))
    depth, colour = head[8], head[9]
    channels = {0: 1, 2: 3, 6: 4}.get(colour, 0)
    # The bits of a pixel are the next of PNG's depths.
    if columns * rows != count or not bits <= depth * channels <= max(2 * bits, 8):
        raise InputError(
            f"PNG: expected {count} points of {bits} bits, found {columns} × {rows} of {depth * channels}"
        )
    if colour != 0 or depth not in _WHOLE:
        return None
    try:
        image = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None  # an image of one row is longer than OpenCV allows
    if image is None or image.shape != (rows, columns) or image.dtype.itemsize * 8 != depth:
        return None
    numbers: NDArray[np.uint8 | np.uint16] = np.asarray(image, np.uint8 if depth == 8 else np.uint16)
    return numbers.reshape(-1)


def _png_head(packed: bytes) -> bytes:
    """Return the header of a PNG, after a check of the checksums of all its parts."""
    at, head = 8, b""
    if packed[:8] != b"\x89PNG\r\n\x1a\n":
        raise InputError("section 7: expected a PNG image, found other data")
    while at + 12 <= len(packed):
        end = at + 12 + int.from_bytes(packed[at : at + 4], "big")
        if end > len(packed) or zlib.crc32(packed[at + 4 : end - 4]) != int.from_bytes(
            packed[end - 4 : end], "big"
        ):
            break
        kind = packed[at + 4 : at + 8]
        if not head and kind == b"IHDR" and end == at + 25:
            head = packed[at + 8 : end - 4]
        if kind == b"IEND" and head:
            return head
        at = end
    raise InputError("PNG: expected a complete image with right checksums, found a damaged one")


def _check_jpeg(packed: bytes, count: int) -> None:
    """Check the size that a JPEG 2000 codestream gives, in its marker SIZ (ISO 15444-1, A.5.1)."""
    found = [int.from_bytes(packed[at : at + 4], "big") for at in range(8, 40, 4)]
    if packed[:4] != b"\xff\x4f\xff\x51" or len(packed) < 45:
        raise InputError("section 7: expected JPEG 2000, found other data")
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = found
    components = int.from_bytes(packed[40:42], "big")
    one_tile = (
        (tile_left, tile_top) == (left, top) == (0, 0) and tile_width >= right and tile_height >= bottom
    )
    if right * bottom != count or components != 1 or not one_tile:
        raise InputError(f"JPEG 2000: expected one tile of {count} points, found {right} × {bottom}")


def _check_groups(packing: Section, packed: bytes, count: int, differences: bool) -> None:
    """Check that the groups of complex packing have all values, and that the section has all groups."""
    bits, groups = packing.unsigned(20), packing.unsigned(32, 4)
    least_width, width_bits = packing.unsigned(36), packing.unsigned(37)
    least_length, increment = packing.unsigned(38, 4), packing.unsigned(42)
    last_length, length_bits = packing.unsigned(43, 4), packing.unsigned(47)
    at = 0
    if differences:
        order, size = packing.unsigned(48), packing.unsigned(49)
        if order not in (1, 2) or not 1 <= size <= 4:
            raise InputError(f"packing: expected differences of order 1 or 2, found {order} in {size} octets")
        at = (order + 1) * size
    if not 1 <= groups <= count or max(bits, width_bits, length_bits) > _MOST_BITS:
        raise InputError(f"packing: expected at most {count} groups, found {groups}")
    at += -(-groups * bits // 8)
    widths, at = _numbers(packed, at, groups, width_bits)
    lengths, at = _numbers(packed, at, groups, length_bits)
    widths += least_width
    lengths = lengths * increment + least_length
    lengths[-1] = last_length
    if int(lengths.sum()) != count or widths.max() > _MOST_BITS:
        raise InputError(f"packing: expected groups of {count} values, found {int(lengths.sum())}")
    _expect_size(packed, at + -(-int((widths * lengths).sum()) // 8))


def _numbers(packed: bytes, at: int, number: int, bits: int) -> tuple[NDArray[np.int64], int]:
    """Return whole numbers of up to 32 bits that begin at an octet, and the octet after them."""
    end = at + -(-number * bits // 8)
    _expect_size(packed, end)
    octets = np.frombuffer(packed, np.uint8, end - at, offset=at)
    found = np.zeros(number, np.int64)
    digits = np.unpackbits(octets, count=number * bits).reshape(number, bits)
    for digit in digits.T:
        found = 2 * found + digit
    return found, end


def _message(packing: bytes, packed: bytes, count: int) -> bytes:
    """Return a message of one row of values, at a time and place without meaning."""

    def section(number: int, content: bytes) -> bytes:
        return (5 + len(content)).to_bytes(4, "big") + bytes([number]) + content

    def number(value: int, size: int = 4) -> bytes:
        return value.to_bytes(size, "big")

    time = number(2000, 2) + bytes([1, 1, 0, 0, 0])
    grid = b"".join(
        (
            b"\0" + number(count) + b"\0\0" + number(0, 2) + b"\x06",  # latitude–longitude on a sphere
            bytes(15) + number(count) + number(1) + number(0) + number(2**32 - 1),
            number(0) + number(0) + b"\x30" + number(0) + number(1) + number(1) + number(1) + b"\0",
        )
    )
    product = number(0, 2) + number(0, 2) + bytes([1, 7, 0, 255, 255]) + number(0, 2) + b"\0\x01" + number(0)
    body = b"".join(
        (
            section(1, number(255, 2) + number(0, 2) + b"\x05\0\0" + time + b"\0\0"),
            section(3, grid),
            section(4, product + b"\x01\0" + number(0) + b"\xff\xff" + number(2**32 - 1)),
            packing,
            section(6, bytes([_NO_BITMAP])),
            section(7, packed),
        )
    )
    return b"GRIB\0\0\0\x02" + number(len(body) + 20, 8) + body + b"7777"
