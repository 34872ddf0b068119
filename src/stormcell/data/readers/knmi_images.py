"""The rain images of a KNMI file: which there are, their times and periods, and the meaning of their numbers.

A file has groups ``image1``, ``image2``, …: rain alone, rain with a quality and an adjustment factor, or the
rain of several lead times. ``image_geo_parameter`` names the quantity and its unit, ``PRECIP_[MM]``.
"""

import re
from dataclasses import dataclass

import h5py
import numpy as np

from stormcell.data.quantity import Quantity, unit
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.hdf5 import attribute, number
from stormcell.errors import InputError

UNITS: dict[Quantity, str] = {"rate": "mm/h", "amount": "mm", "dbz": "dBZ"}

_PARAMETER = re.compile(r"(.*?)_*\[\s*(.+?)\s*\]")
_RAIN = re.compile(r"PRECIP|RAIN|REFLECTIV")
_NOT_RAIN = re.compile(r"QUALITY|FACTOR|ADJUST|ERROR|STD|UNCERTAIN|HEIGHT")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DATE = re.compile(r"(\d{2})-([A-Z]{3})-(\d{4});(\d{2}):(\d{2}):(\d{2})(\.\d+)?")
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:E[+-]?\d+)?"
# Also 0.01PV, without a sign of multiplication.
_TERM = re.compile(rf"([+-]*)(?:({_NUMBER})(?:\*|(?=PV)))?(PV|{_NUMBER})(?:([*/])({_NUMBER}))?")
# The largest numbers never are rain: outside the image, and, with 16 bits, missing. A wider type has those of
# 16 bits, because a program that rewrites a file in another type leaves its numbers as they are.
_NEVER_RAIN_BYTE, _NEVER_RAIN = (255,), (65534, 65535)


@dataclass(frozen=True)
class Image:
    """A rain image of a file.

    Attributes:
        group: Group of the image.
        parameter: Name of its quantity and unit.
        quantity: Quantity of its values.
        time: Its valid time, UTC; of an accumulation, its end.
        hours: Accumulation period of an amount.
    """

    group: h5py.Group
    parameter: str
    quantity: Quantity
    time: np.datetime64
    hours: float | None


def images(file: h5py.File, options: ReadOptions) -> list[Image]:
    """Return the rain images of a file, by time.

    Raises:
        InputError: The file has no rain, or it is not clear which images are meant or what their period is.
    """
    chosen = _chosen(file, options)
    quantity = chosen[0][2]
    options.expect_agreement(quantity, UNITS[quantity])
    valid = [
        date(group, "image_datetime_valid")
        if "image_datetime_valid" in group.attrs
        else date(file["overview"], "product_datetime_end")
        for group, _, _ in chosen
    ]
    if len(set(valid)) < len(valid):
        names = ", ".join(f"{group.name.strip('/')} {name}" for group, name, _ in chosen)
        raise InputError(f"expected one image for each time, found {names}; choose one with --variable")
    hours = _hours(file, sorted(valid), options) if quantity == "amount" else None
    found = [Image(*each, time, hours) for each, time in zip(chosen, valid, strict=True)]
    return sorted(found, key=lambda image: image.time)


def quality(file: h5py.File, image: Image) -> h5py.Group:
    """Return the group with the quality of an image.

    Raises:
        InputError: The file has none for this image, or several.
    """
    groups = [group for group, name in _listed(file) if "QUALITY" in name]
    if len(groups) > 1:
        own = image.group.attrs.get("image_datetime_valid")
        groups = [group for group in groups if group.attrs.get("image_datetime_valid") == own]
    if len(groups) != 1:
        raise InputError(f"min_quality: expected one image of quality, found {len(groups) or 'none'}")
    return groups[0]


@dataclass(frozen=True)
class Calibration:
    """The meaning of the numbers in an image: value = gain · number + offset.

    Attributes:
        gain: Factor.
        offset: Value of the number 0. In an image of rain, this number means no echo.
        unobserved: Numbers of pixels that were not observed.
    """

    gain: float
    offset: float
    unobserved: tuple[float, ...]

    @classmethod
    def of(cls, file: h5py.File, group: h5py.Group) -> "Calibration":
        """Return the calibration of an image.

        Raises:
            InputError: It cannot be read.
        """
        # The images of a forecast have only one calibration, at the first of them.
        calibration = group.get("calibration") or file["image1"].get("calibration")
        if not isinstance(calibration, h5py.Group):
            raise InputError(f"{group.name}: expected a calibration, found none")
        gain, offset = _formula(str(attribute(calibration, "calibration_formulas")))
        missing, outside = (
            number(calibration, f"calibration_{name}") if f"calibration_{name}" in calibration.attrs else None
            for name in ("missing_data", "out_of_image")
        )
        # 0 is no echo, also where a file calls it missing data.
        codes = {outside, missing if missing != 0 else outside} - {None}
        highest = _NEVER_RAIN_BYTE if group["image_data"].dtype.itemsize == 1 else _NEVER_RAIN
        return cls(gain, offset, tuple({*(code for code in codes if code is not None), *highest}))


def date(group: h5py.Group, name: str) -> np.datetime64:
    """Return a time that is written as ``26-AUG-2010;00:05:00.000``.

    Raises:
        InputError: It is missing or does not exist.
    """
    text = str(attribute(group, name)).strip()
    found = _DATE.fullmatch(text.upper())
    if not found or found[2] not in _MONTHS:
        raise InputError(f"{name}: expected DD-MON-YYYY;HH:MM:SS, found {text!r}")
    day, month, year, *clock, fraction = found.groups()
    try:
        return np.datetime64(f"{year}-{_MONTHS.index(month) + 1:02}-{day}T{':'.join(clock)}", "s") + round(
            float(fraction or 0)
        )
    except ValueError:
        raise InputError(f"{name}: expected a date that exists, found {text!r}") from None


def _listed(file: h5py.File) -> list[tuple[h5py.Group, str]]:
    """Return every image with its parameter; without one, it has that of the first image."""
    names = [name for name in file if re.fullmatch(r"image\d{1,6}", name)]
    groups = [file[name] for name in sorted(names, key=lambda name: int(name[5:]))]
    groups = [group for group in groups if isinstance(group.get("image_data"), h5py.Dataset)]
    first = groups[0] if groups else None
    return [
        (
            group,
            str(attribute(group if "image_geo_parameter" in group.attrs else first, "image_geo_parameter"))
            .strip()
            .upper(),
        )
        for group in groups
    ]


def _chosen(file: h5py.File, options: ReadOptions) -> list[tuple[h5py.Group, str, Quantity]]:
    listed = _listed(file)
    rain = [(group, name, kind) for group, name in listed if (kind := _quantity(name))]
    if not rain and options.quantity is not None and options.units is not None:
        # The user states the quantity of a name that does not tell it.
        rain = [(group, name, options.quantity) for group, name in listed if not _NOT_RAIN.search(name)]
    names = ", ".join(dict.fromkeys(name for _, name in listed))
    chosen = rain
    if options.variable is not None:
        wanted = options.variable.strip("/")
        chosen = [
            each for each in rain if wanted.upper() == each[1] or wanted.lower() == each[0].name.strip("/")
        ]
        if not chosen:
            raise InputError(f"variable: expected an image of rain, among {names}, found {wanted}")
    quantity = options.quantity or (unit(options.units)[0] if options.units else None)
    chosen = [each for each in chosen if quantity in (None, each[2])] or chosen
    if not chosen:
        raise InputError(f"image_geo_parameter: expected accumulated mm or dBZ, found {names}")
    if len({name for _, name, _ in chosen}) > 1:
        raise InputError(f"expected one rain quantity, found {names}; choose one with --variable")
    return chosen


def _quantity(parameter: str) -> Quantity | None:
    """Return the quantity of a parameter; None if it is not rain."""
    found = _PARAMETER.fullmatch(parameter)
    if not found or _NOT_RAIN.search(found[1]):
        return None
    try:
        quantity, factor, _ = unit(found[2].lower())
    except InputError:
        return None
    # Units of rates and of reflectivity are those of nothing else; heights and depths have mm too.
    rain = quantity != "amount" or _RAIN.search(found[1])
    return quantity if rain and factor == 1 else None


def _hours(file: h5py.File, valid: list[np.datetime64], options: ReadOptions) -> float:
    """Return the period of the amounts: the step between the images, or that of the product for one image."""
    if len(valid) > 1:
        steps = set(np.diff(valid))
    else:
        start, end = (date(file["overview"], f"product_datetime_{name}") for name in ("start", "end"))
        steps = {end - start} if valid[0] == end else set()
    stated = unit(options.units)[2] if options.units else None
    if len(steps) != 1:
        if stated is not None:
            return stated
        raise InputError(
            "accumulation period: expected images at regular times, or one at the product's end, found "
            f'{", ".join(map(str, valid))}; give it with the units: --units "mm/5min"'
        )
    hours = float(steps.pop() / np.timedelta64(1, "h"))
    if not hours > 0:
        raise InputError(f"product_datetime: expected an end after the start, found {hours:g} hours")
    if stated is not None and abs(stated - hours) > 0.01 * hours:
        raise InputError(
            f"units: expected the file's period of {hours * 60:g} min, found {stated * 60:g} min in the "
            "options"
        )
    return hours


def _formula(text: str) -> tuple[float, float]:
    """Return a and b of the calibration GEO = a * PV + b, in any order and with any signs."""
    terms = re.sub(r"[\s()]", "", text.upper())
    gain = offset = 0.0
    first = position = len("GEO=") if terms.startswith("GEO=") else len(terms)
    while position < len(terms) and (found := _TERM.match(terms, position)):
        signs, before, core, operation, after = found.groups()
        if not signs and position > first:
            break  # two terms with nothing between them
        factor = (-1.0) ** signs.count("-") * float(before or 1)
        if after:
            factor *= float(after) if operation == "*" else np.divide(1, float(after) or np.nan)
        if core == "PV":
            gain += factor
        else:
            offset += factor * float(core)
        position = found.end()
    if position < len(terms) or not (gain and np.isfinite([gain, offset]).all()):
        raise InputError(f"calibration_formulas: expected GEO=a*PV+b, found {text!r}")
    return gain, offset
