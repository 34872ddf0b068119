"""Small files of GRIB2, written octet by octet."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from stormcell.data.read_options import ReadOptions

CONTRADICTION = ReadOptions(units="dBZ")
ROWS, COLUMNS = 4, 5


def section(number: int, content: bytes) -> bytes:
    return struct.pack(">IB", 5 + len(content), number) + content


def signed(value: int, size: int = 4) -> bytes:
    """A whole number whose first bit is its sign."""
    return (abs(value) | (value < 0) << 8 * size - 1).to_bytes(size, "big")


def lat_lon(
    rows: int = ROWS, columns: int = COLUMNS, *, scanning: int = 0, shape: int = 2, **changes: int
) -> bytes:
    """Section 3 of a grid of 0.01°, whose north-western point is 54.995° N, 230.005° E."""
    north, west, step = 54_995_000, 230_005_000, 10_000
    south, east = north - step * (rows - 1), west + step * (columns - 1)
    lats = (south, north) if scanning & 0x40 else (north, south)
    lons = (east, west) if scanning & 0x80 else (west, east)
    earth = bytes([shape]) + b"\x01" + bytes(4) + b"\x01" + bytes(4) + b"\x01" + bytes(4)
    points = changes.get("points", rows * columns)
    return section(
        3,
        b"\0" + struct.pack(">I", points) + b"\0\0" + struct.pack(">H", 0) + earth
        + struct.pack(">IIII", columns, rows, 1, 1_000_000)
        + signed(lats[0]) + signed(lons[0]) + b"\x30" + signed(lats[1]) + signed(lons[1])
        + struct.pack(">II", changes.get("dx", step), step) + bytes([scanning]),
    )  # fmt: skip


def projected(template: int, numbers: bytes, rows: int = ROWS, columns: int = COLUMNS) -> bytes:
    """Section 3 of a grid on a sphere of 6371229 m."""
    earth = b"\x06" + bytes(15)
    head = b"\0" + struct.pack(">I", rows * columns) + b"\0\0" + struct.pack(">H", template) + earth
    return section(3, head + struct.pack(">II", columns, rows) + numbers)


def product(
    category: int,
    parameter: int,
    *,
    ahead: int = 0,
    process: int = 8,
    interval: tuple[str, int, int] | None = None,
) -> bytes:
    """Section 4 at an instant, or over an ``interval``: its end, its minutes and its statistical process."""
    content = bytes([category, parameter, process, 0, 97, 0, 0, 0, 0]) + struct.pack(">i", ahead)
    content += b"\x66\0" + bytes(4) + b"\xff\x01" + bytes(4)
    if interval is None:
        return section(4, struct.pack(">HH", 0, 0) + content)
    end, minutes, statistic = interval
    content += date(end) + b"\x01" + bytes(4) + bytes([statistic, 2, 0]) + struct.pack(">I", minutes)
    return section(4, struct.pack(">HH", 0, 8) + content + b"\xff" + bytes(4))


def date(text: str) -> bytes:
    """A time such as 2019-06-10T00:06:00."""
    day, clock = text.split("T")
    year, *others = (int(word) for word in [*day.split("-"), *clock.split(":")])
    return struct.pack(">H5B", year, *others)


def png(numbers: np.ndarray, *, width: int | None = None) -> bytes:
    """A grey image of 16 bits, or of 8 bits."""
    depth = 8 * numbers.dtype.itemsize
    columns = width or numbers.shape[-1]
    lines = numbers.astype(f">u{depth // 8}").reshape(-1, columns)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", columns, len(lines), depth, 0, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def packing(
    template: int, count: int, *, reference: float = -30.0, decimal: int = 1, bits: int = 16
) -> bytes:
    """Section 5 of simple packing (0) or PNG (41): (reference + number) / 10^decimal."""
    content = struct.pack(">IHf", count, template, reference) + signed(0, 2) + signed(decimal, 2)
    return section(5, content + bytes([bits, 0]))


def message(
    values: np.ndarray,
    *,
    sections: dict[int, bytes] | None = None,
    time: str = "2019-06-10T00:06:00",
    discipline: int = 209,
    centre: int = 161,
    kind: int = 7,
) -> bytes:
    """A message of MRMS's PrecipRate as PNG, with ``values`` of one decimal; ``sections`` replaces some."""
    numbers = np.rint(values * 10 + 30).astype(np.uint16)
    origin = struct.pack(">HHBBB", centre, 0, 255, 1, 3) + date(time) + bytes([2, kind])
    parts = {
        1: section(1, origin),
        3: lat_lon(*values.shape),
        4: product(6, 1),
        5: packing(41, values.size),
        6: section(6, b"\xff"),
        7: section(7, png(numbers)),
    } | (sections or {})
    body = b"".join(parts[number] for number in sorted(parts))
    head = b"GRIB\0\0" + bytes([discipline, 2]) + struct.pack(">Q", 20 + len(body))
    return head + body + b"7777"


def write(path: Path, request: pytest.FixtureRequest) -> None:  # noqa: ARG001
    values = np.random.default_rng(0).integers(-3, 500, (2, 12, 14)) / 10
    values[:, :2, :2] = -3
    times = ("2019-06-10T00:06:00", "2019-06-10T00:08:00")
    path.write_bytes(b"".join(message(frame, time=time) for frame, time in zip(values, times, strict=True)))
