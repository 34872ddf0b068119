"""Units as CF, UDUNITS and people write them, by pint.

pint has the arithmetic. This module rewrites the spellings that pint does not know: exponents without a caret
(``mm h-1``), a period below the fraction bar (``mm/5min``, ``mm (5 min)-1``), superscripts, capitals. The few
definitions below replace pint's own, which have a mega-henry for every ``MH``.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from stormcell.errors import InputError

if TYPE_CHECKING:
    import pint

# A kilogram of water on a square metre is one millimetre deep, hence no unit of density.
_DEFINITIONS = """
micro- = 1e-6 = µ- = μ- = u-
milli- = 1e-3 = m-
centi- = 1e-2 = c-
deci- = 1e-1 = d-
hecto- = 1e2 = h-
kilo- = 1e3 = k-
meter = [length] = m = metre
inch = 0.0254 * meter = in = inches
foot = 0.3048 * meter = ft = feet
us_survey_foot = 1200 / 3937 * meter = us_ft = ftus = us_survey_feet = us_foot
mile = 1609.344 * meter = mi
gram = [mass] = g
second = [time] = s = sec
minute = 60 * second = min
hour = 3600 * second = h = hr
day = 86400 * second = d
liter = 1e-3 * meter ** 3 = l = L = litre
radian = [] = rad
degree = 0.017453292519943295 * radian = deg
"""
_PLAIN = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺·×−", "0123456789-+**-", "{}[]$")
# Not the e of 1e-3.
_LETTER = r"(?:(?<![\d.])[eE]|[A-DF-Za-df-zµμ])"
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TIME = r"(?:s|secs?|seconds?|min|mins|minutes?|h|hrs?|hours?|d|days?)"
# The period of an accumulation: 5min, 5 min, (5 min), 15 minutes.
_PERIOD = rf"\(?\s*({_NUMBER})\s*({_TIME})\s*\)?"
_OVER_PERIOD = re.compile(
    rf"(.*?[^\s/*])\s*(?:(?:/|\bper\b|\bin\b)\s*{_PERIOD}|[*\s]\s*\(\s*({_NUMBER})\s*({_TIME})\s*\)\s*-1)",
    re.IGNORECASE,
)
# Longer names are not units, and pint computes 9^9^9 if it is asked to.
_LONGEST = 48
_ALLOWED = re.compile(r"[A-Za-zµμ0-9+\-*/(). _]+")
# "mm 5min-1" is 5 mm/min by the rules, and mm in 5 min to most of those who write it.
_AMBIGUOUS = re.compile(rf"(?<![*+\-\d.]){_NUMBER}\s*{_TIME}\s*\*\*\s*-", re.IGNORECASE)
_POWER_OF_POWER = re.compile(r"\*\*\s*[+-]?\d+\s*\*\*|\*\*\s*[+-]?\d{3,}|\*\*\s*\(|[eE][+-]?\d{3,}")


@dataclass(frozen=True)
class Unit:
    """A unit in terms of metres, kilograms and seconds.

    Attributes:
        factor: Its size in the base units.
        length: Exponent of the length.
        mass: Exponent of the mass.
        time: Exponent of the time.
    """

    factor: float
    length: float
    mass: float
    time: float


@lru_cache(maxsize=256)
def parse_unit(name: str) -> Unit | None:
    """Return a unit by its name, or None if the name is not one of a unit.

    Capitals are ignored if the name is unknown otherwise.

    Example:
        >>> parse_unit("kg m-2 s-1")
        Unit(factor=1.0, length=-2.0, mass=1.0, time=-1.0)
        >>> parse_unit("kilometers").factor, parse_unit("MM/H") == parse_unit("mm hour^-1")
        (1000.0, True)
    """
    plain = _rewritten(name)
    return _evaluated(plain) or _evaluated(plain.lower())


def split_period(name: str) -> tuple[str, float | None]:
    """Split the name of an amount's unit from the period that it contains, in hours.

    Raises:
        InputError: The period is not above 0.

    Example:
        >>> split_period("0.1 mm (15 min)-1"), split_period("mm/h")
        (('0.1 mm', 0.25), ('mm/h', None))
    """
    found = _OVER_PERIOD.fullmatch(_rewritten(name).replace("**-1", "-1").strip())
    if not found:
        return name, None
    amount, *periods = found.groups()
    number, unit = (text for text in periods if text)
    period = parse_unit(unit.lower())
    assert period is not None
    hours = float(number) * period.factor / 3600
    if not 0 < hours < float("inf"):
        raise InputError(f"units: expected a period above 0, found {name!r}")
    return amount.strip(), hours


def length(name: str) -> float:
    """Return the size of a unit of length in metres.

    Raises:
        InputError: It is not a unit of length.

    Example:
        >>> length("km"), length("metres"), length("100 m")
        (1000.0, 1.0, 100.0)
    """
    unit = parse_unit(name)
    if unit is None or (unit.length, unit.mass, unit.time) != (1, 0, 0):
        raise InputError(f"units: expected a unit of length such as m or km, found {name!r}")
    return unit.factor


def angle(name: str) -> float | None:
    """Return the size of a unit of angle that contains ``rad`` in radians; None for another unit.

    Example:
        >>> angle("microradian"), angle("rad"), angle("km"), angle("1")
        (1e-06, 1.0, None, None)
    """
    unit = parse_unit(name) if "rad" in name.lower() else None
    return unit.factor if unit is not None and (unit.length, unit.mass, unit.time) == (0, 0, 0) else None


def is_degrees(name: str) -> bool:
    """Whether a unit of coordinates is degrees, of latitude or longitude or neither.

    Example:
        >>> is_degrees("degrees_north"), is_degrees("degrees_in_WGS84_projection"), is_degrees("km")
        (True, True, False)
    """
    return bool(
        re.match(r"(?:decimal[_ ])?deg(?:ree)?s?(?:[_ ]?[NEne]\b|_|\b)|°", name.strip(), re.IGNORECASE)
    )


def _rewritten(name: str) -> str:
    """Write a unit in pint's way."""
    text = name.translate(_PLAIN).replace("^", "**")
    text = re.sub(r"\bus-ft\b", "us_ft", text, flags=re.IGNORECASE)
    text = re.sub(r"\bper\b", "/", text, flags=re.IGNORECASE)
    text = re.sub(r"([A-Za-z)])\.(?=\s|/|$)", r"\1", text)  # in. as an abbreviation
    text = re.sub(r"(?<=[A-Za-z0-9)])\.(?=[A-Za-z(])", "*", text)  # kg.m-2
    text = re.sub(r"([A-Za-z][+-]\d)(?=[A-Za-z])", r"\1 ", text)  # m-2s-1
    text = re.sub(r"\b10([+-]\d{1,2})\b", r"10**\1", text)  # 10-3 m
    text = re.sub(rf"({_LETTER}|\))\s?([+-]\d{{1,2}})\b", r"\1**\2", text)  # h-1
    text = re.sub(rf"({_LETTER})(\d{{1,2}})\b", r"\1**\2", text)  # m2
    return " ".join(text.split())


@cache
def _registry() -> "pint.UnitRegistry[float]":
    import pint  # takes half a second, which a program that reads no file does not need

    registry: pint.UnitRegistry[float] = pint.UnitRegistry(None)
    for line in _DEFINITIONS.strip().splitlines():
        registry.define(line)
    return registry


def _evaluated(text: str) -> Unit | None:
    if not text or len(text) > _LONGEST or not _ALLOWED.fullmatch(text):
        return None
    if _POWER_OF_POWER.search(text) or _AMBIGUOUS.search(text):
        return None
    try:
        quantity = 1 * _registry().parse_expression(text, case_sensitive=True)
        if not hasattr(quantity, "to_base_units"):
            return None
        base = quantity.to_base_units()
        of = base.dimensionality
        factor = float(base.magnitude)
        exponents = {name: float(of.get(f"[{name}]", 0)) for name in ("length", "mass", "time")}
    except Exception:  # pint's parser raises errors of many kinds for text that is not a unit
        return None
    if not 0 < factor < float("inf") or len(of) > sum(value != 0 for value in exponents.values()):
        return None
    # pint's base unit of mass is the gram here.
    return Unit(factor * 1e-3 ** exponents["mass"], **exponents)
