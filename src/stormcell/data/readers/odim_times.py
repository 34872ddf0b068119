"""Times in an ODIM_H5 file: the nominal time, and the interval of each image."""

import re

import numpy as np

from stormcell.data.readers.odim_levels import Levels, value
from stormcell.errors import InputError

_DATE = re.compile(r"(\d{4})[-/]?(\d{2})[-/]?(\d{2})")
_CLOCK = re.compile(r"(\d{2}):?(\d{2}):?(\d{2})?(\.\d+)?")
_SECOND, _HOUR = np.timedelta64(1, "s"), np.timedelta64(3600, "s")
# The scans of a composite may begin this long after its nominal time.
_LATE_START = np.timedelta64(150, "s")


def nominal_or_end(
    nominal: np.datetime64 | None, start: np.datetime64 | None, end: np.datetime64 | None
) -> np.datetime64 | None:
    """Return the valid time of rates or reflectivity.

    The nominal time of the file is that of the composite; the scans in it may have been made before and
    after. Only a forecast lies after its nominal time.

    Raises:
        InputError: The nominal time is long after the data.
    """
    if nominal is None or end is None:
        return end if nominal is None else nominal
    if nominal > end + _HOUR:
        raise InputError(f"time: expected the nominal time {nominal} near the end of the data, found {end}")
    return end if nominal < (end if start is None else start) - _LATE_START else nominal


def interval(levels: Levels) -> tuple[np.datetime64 | None, np.datetime64 | None]:
    """Return start and end; ``00:00:01`` … ``00:04:59`` are five minutes.

    Raises:
        InputError: A time does not exist, or the end is before the start.
    """
    start, end = (moment(levels, f"{name}date", f"{name}time") for name in ("start", "end"))
    if start is not None and end is not None and start > end:
        raise InputError(f"time: expected an end after the start {start}, found {end}")
    if start is not None and start.astype(int) % 60 == 1 and start != end:
        start -= _SECOND
    if end is not None and end.astype(int) % 60 == 59:
        end += _SECOND
    return start, end


def moment(levels: Levels, date_name: str, time_name: str) -> np.datetime64 | None:
    """Return a time from its two attributes; None if one of them is missing.

    Raises:
        InputError: It does not exist.
    """
    parts = [value(levels, "what", name) for name in (date_name, time_name)]
    if None in parts:
        return None
    # Numbers have lost their leading zeros.
    date, clock = (part.strip() if isinstance(part, str) else str(part).zfill(6) for part in parts)
    day, hour = _DATE.fullmatch(date), _CLOCK.fullmatch(clock)
    try:
        if day and hour:
            midnight = hour[1] == "24"  # 24:00 is 0:00 of the next day
            text = f"{'-'.join(day.groups())}T{'23' if midnight else hour[1]}:{hour[2]}:{hour[3] or '00'}"
            found = np.datetime64(text, "s") + round(float(hour[4] or 0)) * _SECOND
            if not midnight:
                return found
            if int(hour[2]) == int(hour[3] or 0) == 0:
                return found + _HOUR
    except ValueError:
        pass  # A date that does not exist.
    raise InputError(f"{date_name}: expected YYYYmmdd and HHMMSS, found {date!r} and {clock!r}")


def length(start: np.datetime64 | None, end: np.datetime64 | None) -> float | None:
    """Return the length of an interval in hours; None if it has no length or is not known."""
    if start is None or end is None or start == end:
        return None
    return float((end - start) / _HOUR)
