"""Times and time steps as text: of the user, in metadata, and in the names of files."""

import re
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stormcell.errors import InputError

# A date, then a time of day, with the common separators; seconds are optional.
_DATE = r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<dash>[-_.:]?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
_TIME = r"(?:(?P<hour>\d\d)[-_.:h]?(?P<minute>\d\d)(?:[-_.:]?(?P<second>\d\d)(?P<fraction>\.\d+)?)?)"
_DAY = re.compile(r"(?<=\d)\s*d\b")
_MOMENT = re.compile(rf"{_DATE}(?:[-_.T ]?{_TIME})(?P<zone>Z|[+-]\d\d:?\d\d)?(?!\d)", re.IGNORECASE)


def parse_time(text: str) -> np.datetime64:
    """Return a time from text such as ``2016-09-28T14:45``, ``201609281445`` or ``2016:09:28 14:45:00``.

    A time without an offset from UTC is UTC; with an offset, such as ``+02:00``, it is converted.

    Raises:
        InputError: The text is not one time, to the minute or second.

    Example:
        >>> parse_time("201609281445"), parse_time("2016-09-28T16:45+02:00")
        (np.datetime64('2016-09-28T14:45:00'), np.datetime64('2016-09-28T14:45:00'))
    """
    match = _MOMENT.fullmatch(text.strip().removesuffix("UTC").rstrip())
    moment = match and _moment(match)
    if moment is None:
        raise InputError(f"time: expected one such as 2016-09-28T14:45, found {text[:80]!r}")
    return moment


def time_in_name(name: str) -> np.datetime64 | None:
    """Return the only time in a text such as a file name, UTC; None if it has no time, or several.

    Example:
        >>> time_in_name("201609281445_FINUTM.tif"), time_in_name("rain_2020-05-01T12-05Z.tif")
        (np.datetime64('2016-09-28T14:45:00'), np.datetime64('2020-05-01T12:05:00'))
        >>> time_in_name("forecast_202005011200_202005011300.tif")
    """
    found = {moment for match in _MOMENT.finditer(name) if (moment := _moment(match)) is not None}
    return found.pop() if len(found) == 1 else None


def without_time(text: str) -> str:
    """Return a text without the times in it, and without separators at its ends.

    Example:
        >>> without_time("rain rate 2020-05-01T12:05Z")
        'rain rate'
    """
    return _MOMENT.sub("", text).strip(" -_.:,;=")


def parse_step(text: str) -> np.timedelta64:
    """Return a time step in whole seconds from text such as ``5min``, ``1h`` or ``PT5M``.

    Raises:
        InputError: It is not a duration of at least a second.

    Example:
        >>> parse_step("5min")
        np.timedelta64(300,'s')
    """
    try:
        # A number without a unit would be nanoseconds, and pandas calls a day D.
        step = pd.Timedelta(_DAY.sub("D", text)) if not text.strip().isdigit() else None
        seconds = int(step.total_seconds()) if step is not None else 0
    except (ValueError, OverflowError):
        step, seconds = None, 0
    if step is None or seconds < 1 or step != pd.Timedelta(seconds=seconds):
        raise InputError(f"step: expected one such as 5min or 1h, in whole seconds, found {text[:80]!r}")
    return np.timedelta64(seconds, "s")


def _moment(match: re.Match[str]) -> np.datetime64 | None:
    numbers = [int(match[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    try:
        moment = datetime(*numbers)  # type: ignore[arg-type] # six numbers
    except ValueError:
        return None
    zone = match["zone"]
    if zone and zone.upper() != "Z":
        offset = datetime.strptime(zone.replace(":", ""), "%z").tzinfo
        moment = moment.replace(tzinfo=offset).astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(moment, "s") + round(float(match["fraction"] or 0))


def nearest_second(times: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Return times to the nearest second: a program that computes with fractions of days is off by less.

    Example:
        >>> nearest_second(np.array(["2020-05-01T12:04:59.9999"], "datetime64[us]"))
        array(['2020-05-01T12:05:00'], dtype='datetime64[s]')
    """
    return (times.astype("datetime64[us]") + np.timedelta64(500, "ms")).astype("datetime64[s]")
