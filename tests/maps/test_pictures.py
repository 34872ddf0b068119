import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays
from PIL import Image

from stormcell.errors import InputError
from stormcell.maps.palettes import palette
from stormcell.maps.pictures import decode, encode, recolour

ALL = np.arange(256, dtype=np.uint8).reshape(16, 16)


def kinds(content):
    """Kinds of the chunks of a PNG file."""
    place, found = 8, []
    while place < len(content):
        size, kind = struct.unpack(">I4s", content[place : place + 8])
        found.append(kind)
        place += size + 12
    return found


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_decode_of_encoded_has_the_same_levels(levels):
    np.testing.assert_array_equal(decode(encode(levels, palette("rain"))), levels)


@pytest.mark.parametrize("name", ["rain", "dark"])
def test_encode_browser_and_program_see_colours_and_indices(name):
    content = encode(ALL, palette(name))
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), ALL)
        seen = np.array(image.convert("RGBA")).reshape(256, 4)
    np.testing.assert_array_equal(seen, palette(name).colours)


def test_encode_has_only_the_chunks_that_it_needs():
    found = kinds(encode(ALL, palette("rain")))
    assert found == [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"]  # no gAMA, iCCP or tIME


def test_encode_of_few_levels_has_a_byte_for_each_pixel_and_all_colours():
    content = encode(np.zeros((2, 2), np.uint8), palette("rain"))
    assert content[24] == 8
    assert len(content) > 256 * 4


def test_encode_twice_gives_the_same_bytes():
    levels = np.random.default_rng(0).integers(0, 256, (70, 50), dtype=np.uint8)
    assert encode(levels, palette("rain")) == encode(levels.copy(order="F"), palette("rain"))


def test_recolour_is_the_picture_in_the_other_palette():
    levels = np.random.default_rng(0).integers(0, 256, (70, 50), dtype=np.uint8)
    assert recolour(encode(levels, palette("rain")), palette("dark")) == encode(levels, palette("dark"))


@pytest.mark.parametrize("read", [decode, lambda content: recolour(content, palette("dark"))])
@pytest.mark.parametrize("length", [0, 7, 20, 40, 800, -1, -20])
def test_reading_a_cut_off_file_raises(read, length):
    content = encode(ALL, palette("rain"))
    with pytest.raises(InputError, match="picture: expected a"):
        read(content[:length])


def test_decode_damaged_pixels_raises():
    content = bytearray(encode(ALL, palette("rain")))
    content[content.index(b"IDAT") + 9] ^= 0xFF
    with pytest.raises(InputError, match="found a damaged one"):
        decode(bytes(content))


def test_decode_colours_instead_of_indices_raises():
    file = io.BytesIO()
    Image.new("RGBA", (4, 4)).save(file, "png")
    with pytest.raises(InputError, match="expected an index of 8 bits, found colour type 6 of 8 bits"):
        decode(file.getvalue())


def test_decode_claim_of_a_huge_picture_raises_before_memory_is_used():
    content = encode(ALL, palette("rain"))
    head = b"IHDR" + struct.pack(">II", 2**20, 2**20) + content[24:29]
    huge = content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]
    with pytest.raises(InputError, match=r"at most \d+ pixels, found 1048576 × 1048576"):
        decode(huge)


def test_decode_something_else_raises():
    with pytest.raises(InputError, match="expected a PNG file, found something else"):
        decode(b"GIF89a" + bytes(100))
