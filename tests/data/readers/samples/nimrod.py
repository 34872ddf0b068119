"""Small files of NIMROD, written number by number."""

import struct
from pathlib import Path

import numpy as np
import pytest

from stormcell.data.read_options import ReadOptions

CONTRADICTION = ReadOptions(units="dBZ")
MISSING = -32767
# The place of every number in the header's lists, counted from 1 as the specification does.
INTEGERS = {
    "kind": 12, "size": 13, "grid": 15, "rows": 16, "columns": 17, "code": 19, "origin": 24, "missing": 25,
    "minutes": 26, "ellipsoid": 28,
}  # fmt: skip
REALS = {
    "north": 34, "dy": 35, "west": 36, "dx": 37, "missing_real": 38, "offset": 40, "latitude": 43,
    "longitude": 44, "easting": 45, "northing": 46, "scale": 47,
}  # fmt: skip


def record(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content + struct.pack(">I", len(content))


def field(
    values: np.ndarray,
    *,
    units: bytes = b"mm/h*32",
    title: bytes = b"Rainfall rate Composite",
    valid: tuple[int, ...] = (2016, 3, 26, 0, 5, 0),
    data: tuple[int, ...] = (2016, 3, 26, 0, 5),
    **changes: float,
) -> bytes:
    """A field of the composite of the United Kingdom with pixels of 1 km; keywords change its header."""
    numbers = {
        "kind": 1, "size": values.dtype.itemsize, "grid": 0, "rows": len(values), "columns": values.shape[1],
        "code": 213, "origin": 0, "missing": -1, "minutes": MISSING, "ellipsoid": 0, "north": 1_549_500.0,
        "dy": 1000.0, "west": -404_500.0, "dx": 1000.0, "missing_real": -1.0, "offset": 0.0,
    } | changes  # fmt: skip
    integers = [*valid, *data, *[MISSING] * 20]
    reals = [float(MISSING)] * 28
    for name, place in INTEGERS.items():
        integers[place - 1] = int(numbers[name])
    for name, place in REALS.items():
        reals[place - 32] = numbers.get(name, MISSING)
    header = struct.pack(">31h28f45f", *integers, *reals, *[0.0] * 45)
    header += (
        units.ljust(8) + b"UK radar composite".ljust(24) + title.ljust(24) + struct.pack(">51h", *[0] * 51)
    )
    return record(header) + record(values.astype(values.dtype.newbyteorder(">")).tobytes())


def write(path: Path, request: pytest.FixtureRequest) -> None:  # noqa: ARG001
    values = np.random.default_rng(0).integers(-1, 3000, (2, 12, 14)).astype(np.int16)
    minutes = (5, 10)
    path.write_bytes(
        b"".join(
            field(frame, valid=(2016, 3, 26, 0, minute, 0), data=(2016, 3, 26, 0, minute))
            for frame, minute in zip(values, minutes, strict=True)
        )
    )
