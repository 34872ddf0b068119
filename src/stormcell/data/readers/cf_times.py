"""Times of CF: numbers of seconds, minutes, hours or days since a date, to the nearest second.

Numbers with a fraction are rounded to the second, and not cut. Where the numbers cannot resolve a second
(single precision since 1970 resolves two minutes), the regular step that fits all of them settles the times.
"""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import InputError

_SECONDS = {
    **dict.fromkeys(("nanosecond", "nanosec", "ns"), 1e-9),
    **dict.fromkeys(("microsecond", "microsec", "us"), 1e-6),
    **dict.fromkeys(("millisecond", "millisec", "msec", "ms"), 1e-3),
    **dict.fromkeys(("second", "sec", "s"), 1.0),
    **dict.fromkeys(("minute", "min"), 60.0),
    **dict.fromkeys(("hour", "hr", "h"), 3600.0),
    **dict.fromkeys(("day", "d"), 86400.0),
    "week": 604800.0,
}
_SINCE = re.compile(r"\s*(\w+)\s+since\s+(.+?)\s*", re.IGNORECASE)
_DATE = re.compile(
    r"(\d{1,4})-(\d{1,2})-(\d{1,2})"
    r"(?:[T\s]+(\d{1,2})(?::(\d{1,2}))?(?::(\d{1,2})(?:\.(\d+))?)?)?"
    r"\s*(?:Z|UTC|GMT|([+-])(\d{1,2}):?(\d{2})?)?",
    re.IGNORECASE,
)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T?(\d{2})(\d{2})(\d{2})?)?Z?")
_MIXED = ("standard", "gregorian")
_CALENDARS = (*_MIXED, "proleptic_gregorian")
# The first day of the Gregorian calendar, and the days from the epoch of Julian day numbers to 1970-01-01.
_REFORM = (1582, 10, 15)
_JULIAN_DAY_OF_1970 = 2440588
# Steps that times have, in seconds, counted from midnight.
_STEPS = (30, 60, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800, 3600, 10800, 21600, 43200, 86400)
# The largest probability that a step fits arbitrary times, for which it counts as the step of these times.
_CHANCE = 0.05
# Years 1 to 9999.
_FIRST, _LAST = -62135596800, 253402300799


def is_time(units: object) -> bool:
    """Whether a variable's units are those of times."""
    return isinstance(units, str) and _SINCE.fullmatch(units) is not None


def decode_times(numbers: NDArray[Any], units: str, calendar: str = "standard") -> NDArray[np.datetime64]:
    """Return times, UTC, to the nearest second.

    Args:
        numbers: Numbers of any shape and type; not finite where there is no time.
        units: For example ``"hours since 1900-01-01"``. A time zone in it is respected.
        calendar: A calendar of CF.

    Raises:
        InputError: A unit, date or calendar is not one of radar data, a time is missing, or the numbers do
            not resolve a second and no regular step settles the times.

    Example:
        >>> list(map(str, decode_times(np.array([1.0, 13 / 12]), "hours since 2020-01-01 00:00 +1:00")))
        ['2020-01-01T00:00:00', '2020-01-01T00:05:00']
    """
    if calendar.lower() not in _CALENDARS:
        raise InputError(f"time: expected the standard calendar, found {calendar!r}")
    found = _SINCE.fullmatch(units)
    name = found[1].lower() if found else ""
    seconds = _SECONDS.get(name, _SECONDS.get(name.removesuffix("s"), 0.0))
    if not found or not seconds:
        raise InputError(f"time: expected seconds, minutes, hours or days since a date, found {units[:60]!r}")
    reference = _reference(found[2], mixed=calendar.lower() in _MIXED)
    if numbers.dtype.kind not in "iuf":
        raise InputError(f"time: expected numbers of {name}, found {numbers.dtype}")
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        raise InputError("time: expected a time for every frame, found missing ones")
    if numbers.dtype.kind != "f" and seconds >= 1:
        whole = np.array([int(number) * int(seconds) for number in numbers.ravel()], object)
        offset = round(reference)
        if whole.size and not (whole.min() + offset >= _FIRST and whole.max() + offset <= _LAST):
            raise InputError(f"time: expected years 1 to 9999, found {units!r} with {numbers.max()}")
        return _dates(whole.astype(np.int64) + offset, numbers.shape)
    return _rounded(numbers, seconds, reference, units)


def _rounded(numbers: NDArray[Any], seconds: float, reference: float, units: str) -> NDArray[np.datetime64]:
    """Return times of numbers with a fraction."""
    since = np.asarray(numbers, np.longdouble) * np.longdouble(seconds)
    exact = since.ravel() + np.longdouble(reference)
    if exact.size and not (exact.min() >= _FIRST and exact.max() <= _LAST):
        raise InputError(f"time: expected years 1 to 9999, found {units!r} with {numbers.max():g}")
    whole = np.rint(exact)
    odd = np.abs(exact - np.rint(exact / 60) * 60).max(initial=0) > 1e-3
    resolution = _resolution(numbers, seconds, odd=bool(odd))
    if resolution > 1:
        whole = _on_regular_step(exact, resolution)
    return _dates(whole.astype(np.int64), numbers.shape)


def _resolution(numbers: NDArray[Any], seconds: float, *, odd: bool) -> float:
    """Return the distance between neighbouring numbers of the type that they were computed in, in seconds."""
    if numbers.size == 0 or numbers.dtype.kind != "f":
        return 0
    kind = numbers.dtype
    # Numbers that were computed in single precision and stored in double are found by times that are not
    # whole minutes, although single precision holds them exactly.
    if kind.itemsize > 4 and odd:
        with np.errstate(over="ignore"):
            single = numbers.astype(np.float32)
        if np.array_equal(single, numbers):
            kind = single.dtype
    return float(np.spacing(np.abs(numbers).max().astype(kind))) * seconds


def _on_regular_step(exact: NDArray[Any], resolution: float) -> NDArray[Any]:
    """Return the times on the regular step that fits all of them.

    A step fits if every time is within half the resolution of one of its multiples since midnight, and
    different times have different multiples. The longest step that fits settles the times, unless it would
    fit other times about as well, or another step with other times is about as convincing.
    """
    distinct = np.unique(exact)
    fitting: dict[int, tuple[float, NDArray[Any]]] = {}
    for step in _STEPS:
        nearest = np.rint(exact / step) * step
        # The logarithm of the probability that arbitrary times fit.
        by_chance = len(distinct) * math.log(resolution / step)
        if (
            by_chance < math.log(_CHANCE)
            and np.abs(nearest - exact).max() <= 0.51 * resolution
            and len(np.unique(nearest)) == len(distinct)
        ):
            fitting[step] = (by_chance, nearest)
    found = "no regular step that fits"
    if fitting:
        longest = max(fitting)
        least, times = fitting[longest]
        if all(
            longest % step == 0 or by_chance > least / 2 or np.array_equal(others, times)
            for step, (by_chance, others) in fitting.items()
        ):
            return times
        found = "several regular steps that fit"
    raise InputError(
        "time: expected numbers that resolve a second, "
        f"found {resolution:.3g} s between neighbouring numbers, and {found}"
    )


def _dates(seconds: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.datetime64]:
    return seconds.astype("datetime64[s]").reshape(shape)


def _reference(text: str, *, mixed: bool) -> float:
    """Return the reference date in seconds since 1970.

    In the mixed calendar of CF, dates before 1582-10-15 are Julian.
    """
    found = _DATE.fullmatch(text) or _COMPACT.fullmatch(text)
    if not found:
        raise InputError(f"time: expected a date such as 1970-01-01 00:00:00, found {text[:40]!r}")
    parts = [*found.groups(), *[None] * 10][:10]
    year, month, day, hour, minute, second = (int(part or 0) for part in parts[:6])
    fraction = float(f"0.{parts[6] or 0}")
    sign, zone_hours, zone_minutes = parts[7] or "+", int(parts[8] or 0), int(parts[9] or 0)
    try:
        if mixed and (year, month, day) < _REFORM:
            days = _julian_days(year, month, day)
        else:
            days = int(np.datetime64(f"{year:04}-{month:02}-{day:02}", "D").astype(np.int64))
    except ValueError:
        raise InputError(f"time: expected a date that exists, found {text!r}") from None
    if hour > 24 or minute > 59 or second > 60 or zone_hours > 14 or zone_minutes > 59:
        raise InputError(f"time: expected a time of the day that exists, found {text!r}")
    zone = (-1 if sign == "-" else 1) * (zone_hours * 3600 + zone_minutes * 60)
    return days * 86400 + hour * 3600 + minute * 60 + second + fraction - zone


def _julian_days(year: int, month: int, day: int) -> int:
    """Return the days since 1970-01-01 of a date in the Julian calendar."""
    lengths = (31, 29 if year % 4 == 0 else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not (year >= 1 and 1 <= month <= 12 and 1 <= day <= lengths[month - 1]):
        raise ValueError
    # March is the first month, so that the leap day is the last of the year.
    march = (month - 3) % 12
    years = year + 4800 - (month < 3)
    julian_day = day + (153 * march + 2) // 5 + 365 * years + years // 4 - 32083
    return julian_day - _JULIAN_DAY_OF_1970
