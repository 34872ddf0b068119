"""The meaning of a GRIB2 message, from sections 1 and 4: product, time and interval.

Two kinds are read: MRMS (discipline 209 of NSSL), and WMO's parameters of rain and radar reflectivity, at an
instant (template 4.0) or over an interval (4.8). Forecasts are refused.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from stormcell.data.readers import mrms_products
from stormcell.data.readers.grib2_sections import Message, Section
from stormcell.data.readers.mrms_products import Product
from stormcell.errors import InputError

# WMO's code table 4.2, by category and parameter of discipline 0. The names are those of ecCodes and NCEP.
_PARAMETERS = {
    (1, 7): Product("prate", "rate", "kg m-2 s-1"),
    (1, 8): Product("tp", "amount", "kg m-2"),
    (1, 49): Product("twatp", "amount", "kg m-2"),
    (1, 52): Product("tprate", "rate", "kg m-2 s-1"),
    (1, 65): Product("rprate", "rate", "kg m-2 s-1"),
    (15, 1): Product("refl", "dbz", "dBZ"),
    (16, 4): Product("refd", "dbz", "dBZ"),
    (16, 5): Product("refc", "dbz", "dBZ"),
}
# The same parameters summed over an interval, as ICON and ecCodes write total precipitation.
_SUMS = {
    (1, 52): Product("tp", "amount", "kg m-2"),
    (1, 65): Product("tirf", "amount", "kg m-2"),
}
_INSTANT, _INTERVAL = 0, 8
_INTERVAL_OCTETS = 58
_STATISTIC = 47  # octet of the statistical process
# Code tables 4.3 and 1.4: analyses, observations and retrievals, of local kinds too; missing.
_OBSERVED = {0, 8, 12, 16, 17, 255, *range(192, 255)}
_FORECASTS = {1, 3, 4, 5}
# Code table 4.4, in seconds.
_UNITS = {0: 60, 1: 3600, 2: 86400, 10: 10800, 11: 21600, 12: 43200, 13: 1}
_ACCUMULATION, _AVERAGE = 1, 0


@dataclass(frozen=True)
class Field:
    """A field of rain or reflectivity.

    Attributes:
        product: Its product.
        mrms: Whether it is of MRMS, with MRMS's codes for missing values.
        centre: WMO's number of the centre that made it.
        time: Time of the observation, or end of its interval, UTC.
        hours: Interval of an amount or of a mean rate; None at an instant.
        message: The message.
    """

    product: Product
    mrms: bool
    centre: int
    time: np.datetime64
    hours: float | None
    message: Message


def parameter(message: Message) -> str:
    """Describe a message by its numbers, for an error.

    Example:
        >>> parameter(Message(0, {4: Section(4, bytes([0, 0, 0, 34, 4, 0, 0, 0, 0, 2, 3]))}))
        'discipline 0, category 2, parameter 3'
    """
    section = message.sections[4]
    return (
        f"discipline {message.discipline}, category {section.unsigned(10)}, parameter {section.unsigned(11)}"
    )


def is_rain(message: Message) -> bool:
    """Whether a message is of a product that is read."""
    return _product(message) is not None


def field_of(message: Message) -> Field:
    """Return the meaning of a message.

    Raises:
        InputError: It is a forecast, or time and interval contradict each other.
    """
    product = _product(message)
    if product is None:
        raise InputError(f"expected rain or reflectivity, found {parameter(message)}")
    origin, section = message.sections[1], message.sections[4]
    mrms = message.discipline == mrms_products.DISCIPLINE
    process, kind = section.unsigned(12), origin.unsigned(21)
    # All products of MRMS that are read are observations.
    if not mrms and (process not in _OBSERVED or kind in _FORECASTS):
        raise InputError(
            f"{product.name}: expected an observation or analysis, found a forecast or other kind "
            f"(generating process {process}, type of data {kind})"
        )
    time, hours = _period(section, _date(origin, 13), product)
    return Field(product, mrms, origin.unsigned(6, 2), time, hours, message)


def _product(message: Message) -> Product | None:
    section = message.sections[4]
    numbers = section.unsigned(10), section.unsigned(11)
    if message.discipline == 0:
        summed = section.unsigned(8, 2) == _INTERVAL and section.unsigned(_STATISTIC) == _ACCUMULATION
        return (_SUMS.get(numbers) if summed else None) or _PARAMETERS.get(numbers)
    # Numbers of a discipline from 192 on have a meaning only at one centre.
    centre = message.sections[1].unsigned(6, 2)
    if (message.discipline, centre) == (mrms_products.DISCIPLINE, mrms_products.CENTRE):
        return mrms_products.PRODUCTS.get(numbers)
    return None


def _period(
    section: Section, reference: np.datetime64, product: Product
) -> tuple[np.datetime64, float | None]:
    """Return the time, and the hours of an interval."""
    template = section.unsigned(8, 2)
    start = reference + _duration(section, 18, 19)
    if template == _INSTANT:
        if start != reference:
            raise InputError(
                f"{product.name}: expected an observation, found a forecast for {start - reference} later"
            )
        # The time of a sum of MRMS is the end of its period.
        if product.quantity == "amount" and product.hours is None:
            raise InputError(f"{product.name}: expected an interval, found an amount at an instant")
        return reference, product.hours
    if template != _INTERVAL:
        raise InputError(f"{product.name}: expected template 4.0 or 4.8, found 4.{template}")
    if len(section) != _INTERVAL_OCTETS or section.unsigned(42) != 1:
        raise InputError(f"{product.name}: expected one interval, found {section.unsigned(42)}")
    end, length, process = _date(section, 35), _duration(section, 49, 50), section.unsigned(_STATISTIC)
    if start + length != end or not length > np.timedelta64(0):
        raise InputError(f"{product.name}: expected an interval until {start + length}, found {end}")
    expected = _ACCUMULATION if product.quantity == "amount" else _AVERAGE
    if process != expected or product.quantity == "dbz":
        raise InputError(
            f"{product.name}: expected an accumulation or a mean rate, found statistical process {process}"
        )
    return end, float(length / np.timedelta64(1, "h"))


def _date(section: Section, octet: int) -> np.datetime64:
    year, (month, day, hour, minute, second) = (
        section.unsigned(octet, 2),
        (section.unsigned(octet + place) for place in range(2, 7)),
    )
    try:
        return np.datetime64(datetime(year, month, day, hour, minute, second), "s")
    except ValueError:
        found = f"{year}-{month}-{day} {hour}:{minute}:{second}"
        raise InputError(f"time: expected a date that exists, found {found}") from None


def _duration(section: Section, unit_octet: int, octet: int) -> np.timedelta64:
    unit, number = section.unsigned(unit_octet), section.signed(octet, 4)
    if unit not in _UNITS and number:
        raise InputError(f"time: expected a unit from seconds to days, found code {unit}")
    seconds = number * _UNITS.get(unit, 0)
    if abs(seconds) > 400 * 86400:
        raise InputError(f"time: expected a period of at most a year, found {seconds} s")
    return np.timedelta64(seconds, "s")
