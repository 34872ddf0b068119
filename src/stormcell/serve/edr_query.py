"""The parameters of EDR queries: places as WKT, times, names of parameters and the form of the answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from stormcell.errors import ArgumentError

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
_CRS = {"CRS84", "OGC:CRS84", CRS84}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_POINT = re.compile(rf"\s*POINT\s*\(\s*({_NUMBER})\s+({_NUMBER})\s*\)\s*", re.IGNORECASE)
_POLYGON = re.compile(r"\s*(MULTI)?POLYGON\s*(\(.*\))\s*", re.IGNORECASE | re.DOTALL)
_PLACE = re.compile(rf"({_NUMBER})\s+({_NUMBER})")
_LONGEST = 200_000  # characters


@dataclass(frozen=True)
class Period:
    """Times from ``start`` to ``end``, both included; None is open.

    Example:
        >>> Period.parse("2026-11-28T03:25Z/..").includes(datetime(2026, 11, 28, 4, tzinfo=UTC))
        True
    """

    start: datetime | None
    end: datetime | None

    @classmethod
    def parse(cls, text: str | None) -> "Period":
        """Return the period of an EDR ``datetime``: an instant, ``a/b``, ``a/..`` or ``../b``.

        Raises:
            ArgumentError: It is not one.
        """
        if text is None:
            return cls(None, None)
        start, slash, end = text.partition("/")
        if not slash:
            instant = _instant(text)
            return cls(instant, instant)
        period = cls(*(None if part in ("..", "") else _instant(part) for part in (start, end)))
        if period.start is not None and period.end is not None and period.end < period.start:
            raise ArgumentError(f'datetime: expected a start before the end, found "{text[:60]}"')
        return period

    def includes(self, time: datetime) -> bool:
        """Whether a time is within the period."""
        return (self.start is None or time >= self.start) and (self.end is None or time <= self.end)


def _instant(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ArgumentError(
            f'datetime: expected a time such as 2026-11-28T03:25Z, or two with a slash, found "{text[:60]}"'
        ) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time  # without a zone, it is UTC


def expect_crs(text: str | None) -> None:
    """Refuse another reference system of the coordinates than longitude and latitude.

    Raises:
        ArgumentError: It is another one.
    """
    if text is not None and text not in _CRS:
        raise ArgumentError(f'crs: expected CRS84, found "{text[:60]}"')


def point(text: str) -> tuple[float, float]:
    """Return longitude and latitude of a point in WKT.

    Raises:
        ArgumentError: It is not one.

    Example:
        >>> point("POINT(24.94 60.17)")
        (24.94, 60.17)
    """
    found = _POINT.fullmatch(text[:_LONGEST])
    lon, lat = (float(found[1]), float(found[2])) if found else (0.0, 91.0)
    if not (-180 <= lon <= 360 and -90 <= lat <= 90):
        raise ArgumentError(f'coords: expected a place such as POINT(24.94 60.17), found "{text[:60]}"')
    return lon, lat


def polygon(text: str) -> dict[str, object]:
    """Return a polygon in WKT as GeoJSON.

    Raises:
        ArgumentError: It is not one.

    Example:
        >>> polygon("POLYGON((24 60,25 60,25 61,24 60))")["coordinates"]
        [[[24.0, 60.0], [25.0, 60.0], [25.0, 61.0], [24.0, 60.0]]]
    """
    found = _POLYGON.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        raise ArgumentError(
            f'coords: expected a polygon such as POLYGON((24 60,25 60,25 61,24 60)), found "{text[:60]}"'
        )
    parts = found[2].strip()[1:-1]
    polygons = _groups(parts) if found[1] else [parts]
    rings = [[_ring(ring) for ring in _groups(one)] for one in polygons]
    if found[1]:
        return {"type": "MultiPolygon", "coordinates": rings}
    return {"type": "Polygon", "coordinates": rings[0]}


def _groups(text: str) -> list[str]:
    """Return the contents of the outermost brackets of a text."""
    groups, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        if letter == "(":
            start = place + 1 if depth == 0 else start
            depth += 1
        elif letter == ")":
            depth -= 1
            if depth == 0:
                groups.append(text[start:place])
    return groups


def _ring(text: str) -> list[list[float]]:
    return [[float(lon), float(lat)] for lon, lat in _PLACE.findall(text)]


def box(text: str) -> tuple[float, float, float, float]:
    """Return west, south, east and north of a bounding box.

    Raises:
        ArgumentError: It is not one.

    Example:
        >>> box("24,60,25,61")
        (24.0, 60.0, 25.0, 61.0)
    """
    try:
        numbers = [float(part) for part in text.split(",")]
        if len(numbers) == 6:  # with heights, which rain rates do not have
            numbers = [*numbers[:2], *numbers[3:5]]
        west, south, east, north = numbers
    except ValueError:
        west, south, east, north = 0.0, 0.0, -1.0, -1.0
    if not (-180 <= west < east <= 540 and -90 <= south < north <= 90):
        raise ArgumentError(f'bbox: expected west,south,east,north in degrees, found "{text[:60]}"')
    return west, south, east, north


def parameters(text: str | None, offered: Sequence[str]) -> list[str]:
    """Return names of parameters in the order in which they are offered; all if none is asked for.

    Raises:
        ArgumentError: One is not offered.
    """
    if not text:
        return list(offered)
    asked = {name.strip() for name in text.split(",")}
    unknown = sorted(asked - set(offered))
    if unknown:
        raise ArgumentError(f'parameter-name: expected {", ".join(offered)}, found "{unknown[0][:40]}"')
    return [name for name in offered if name in asked]
