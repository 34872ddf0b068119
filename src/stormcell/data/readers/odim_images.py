"""The rain images of an ODIM_H5 file: which there are, for which times, and their quality fields."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import h5py
import numpy as np

from stormcell.data.quantity import Quantity, unit
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.odim_levels import Levels, numbered, value
from stormcell.data.readers.odim_times import interval, length, moment, nominal_or_end
from stormcell.data.time_text import parse_time
from stormcell.errors import InputError

# Quantities of the specification that are rain, and their units.
RAIN: dict[str, Quantity] = {
    "RATE": "rate",
    "ACRR": "amount",
    **dict.fromkeys(("DBZH", "DBZV", "DBZ", "TH", "TV"), "dbz"),
}
UNITS: dict[Quantity, str] = {"rate": "mm/h", "amount": "mm", "dbz": "dBZ"}

_OTHER_OBJECTS = {
    "PVOL": "a polar volume",
    "SCAN": "a polar scan",
    "RAY": "a polar ray",
    "AZIM": "an azimuthal object",
    "ELEV": "an elevational object",
    "XSEC": "a vertical cross-section",
    "VP": "a vertical profile",
    "PIC": "a picture",
}
# Vertical sections, which stand beside the composite in some files.
_SECTIONS = ("HSP", "VSP", "XSEC", "RHI", "VP")
# Tasks of quality fields that are an index from 0 to 1. Others are distances, heights or probabilities.
_QUALITY_INDEX = re.compile(r"qi_total|quality.?ind|qind", re.IGNORECASE)


@dataclass(frozen=True)
class Image:
    """A rain image of a file.

    Attributes:
        name: Its place in the file, such as ``dataset1/data1``.
        code: Quantity as the file names it, such as ``DBZH``; empty if it does not.
        quantity: Quantity of its values.
        levels: Groups that describe it, the innermost first.
        time: Its valid time, UTC.
        hours: Accumulation period of an amount.
    """

    name: str
    code: str
    quantity: Quantity
    levels: Levels
    time: np.datetime64
    hours: float | None

    @property
    def data(self) -> h5py.Dataset:
        """The stored numbers."""
        return self.levels[0]["data"]


def images(file: h5py.File, options: ReadOptions) -> list[Image]:
    """Return the rain images of a file, by time.

    Raises:
        InputError: The file is not a composite, has no rain, or it is not clear which images are meant.
    """
    _expect_composite(file)
    chosen = _timed(_chosen(_listed(file), options), options)
    periods = {each.hours for each in chosen if each.quantity == "amount"}
    stated = unit(options.units)[2] if options.units else None
    if stated is not None and len(periods) > 1:
        same = [each for each in chosen if each.hours is not None and _close(each.hours, stated)]
        chosen = same or chosen
        periods = {each.hours for each in chosen}
    if len(periods) > 1:
        found = ", ".join(f"{each.name} {_minutes(each.hours)}" for each in chosen)
        raise InputError(
            f"accumulation period: expected the same for all images, found {found}; choose with --units or "
            "--variable"
        )
    if len({each.time for each in chosen}) < len(chosen):
        names = ", ".join(f"{each.name} ({each.time})" for each in chosen)
        raise InputError(f"expected one image for each time, found {names}; choose one with --variable")
    return [
        replace(each, hours=_period(each.hours, stated)) if each.quantity == "amount" else each
        for each in chosen
    ]


def quality(file: h5py.File, image: Image) -> Levels:
    """Return the levels of an image's quality index, the innermost first.

    It is a group ``quality1``, ``quality2``, … of the image or its dataset, or an image of quantity QIND.

    Raises:
        InputError: The image has no quality index, or several.
    """
    found: list[Levels] = []
    others: list[str] = []
    for level in image.levels[:-1]:
        for name in numbered(level, "quality"):
            levels = (level[name],)  # The gain and the codes of the image are not those of its quality.
            task = str(value(levels, "how", "task") or value(levels, "what", "task") or "")
            code = str(value(levels, "what", "quantity") or "")
            if code.upper() == "QIND" or _QUALITY_INDEX.search(task):
                found.append(levels)
            else:
                others.append(task or code or name)
    if not found:
        listed = [each for each in _listed(file) if each[1].upper() == "QIND"]
        beside = [each for each in listed if each[2][-2] == image.levels[-2]]
        found = [levels for _, _, levels in beside or listed]
    if len(found) != 1:
        names = ", ".join(others) or "no quality field"
        raise InputError(f"min_quality: expected one quality index, found {len(found) or names}")
    return found[0]


def _expect_composite(file: h5py.File) -> None:
    kind = str(value((file,), "what", "object") or "").strip().upper()
    where = file.get("dataset1/where")
    if not kind and isinstance(where, h5py.Group) and {"nbins", "nrays"} & where.attrs.keys():
        kind = "SCAN"
    if kind in _OTHER_OBJECTS:
        raise InputError(
            f"expected an ODIM_H5 composite (COMP or IMAGE), found {kind}, {_OTHER_OBJECTS[kind]}; put it "
            "on a grid first, for example with xradar and wradlib"
        )


def _listed(file: h5py.File) -> list[tuple[str, str, Levels]]:
    """Return name, quantity and levels of every image, except vertical sections."""
    return [
        (name, str(value(levels, "what", "quantity") or ""), levels)
        for name, levels in _levels(file)
        if str(value(levels, "what", "product") or "").upper() not in _SECTIONS
    ]


def _levels(file: h5py.File) -> Iterator[tuple[str, Levels]]:
    for dataset in numbered(file, "dataset"):
        group = file[dataset]
        if isinstance(group.get("data"), h5py.Dataset):
            yield dataset, (group, file)
        for data in numbered(group, "data"):
            if isinstance(group[data].get("data"), h5py.Dataset):
                yield f"{dataset}/{data}", (group[data], group, file)


def _chosen(
    listed: list[tuple[str, str, Levels]], options: ReadOptions
) -> list[tuple[str, str, Quantity, Levels]]:
    """Return the images that the options or the file's quantities choose, all of one quantity."""
    wanted = options.quantity or (unit(options.units)[0] if options.units else None)
    codes = ", ".join(dict.fromkeys(code or "an image without a quantity" for _, code, _ in listed))
    rain = [(name, code, RAIN[code.upper()], levels) for name, code, levels in listed if code.upper() in RAIN]
    if options.variable is not None:
        place = options.variable.strip("/")
        named = [
            each
            for each in listed
            if place.upper() in (each[1].upper(), str(value(each[2], "what", "product") or "").upper())
            or f"{each[0]}/".startswith(f"{place}/")
        ]
        if not named:
            places = ", ".join(f"{name} ({code})" for name, code, _ in listed)
            raise InputError(f"variable: expected one of {places or 'no image'}, found {place}")
        chosen = [each for each in rain if each[0] in {name for name, _, _ in named}]
        chosen = chosen or _stated(named, options)
    else:
        unnamed = [each for each in listed if not each[1]]
        chosen = [each for each in rain if wanted in (None, each[2])] or rain or _stated(unnamed, options)
    if not chosen:
        raise InputError(f"expected an image of {', '.join(RAIN)}, found {codes or 'no image'}")
    if len({(code, kind) for _, code, kind, _ in chosen}) > 1:
        raise InputError(f"expected one rain quantity, found {codes}; choose one with --variable")
    if chosen[0] in rain:
        options.expect_agreement(chosen[0][2], UNITS[chosen[0][2]])
    return chosen


def _stated(
    listed: list[tuple[str, str, Levels]], options: ReadOptions
) -> list[tuple[str, str, Quantity, Levels]]:
    """Return images of a quantity that the specification does not know, as the user states it."""
    if not listed:
        return []
    if options.quantity is None or options.units is None:
        raise InputError(
            f"{listed[0][0]}: expected a quantity of {', '.join(RAIN)}, found {listed[0][1] or 'none'!r}; "
            "give it with --quantity and --units"
        )
    return [(name, code, options.quantity, levels) for name, code, levels in listed]


def _timed(chosen: list[tuple[str, str, Quantity, Levels]], options: ReadOptions) -> list[Image]:
    """Return the images with their valid times and periods, by time."""
    intervals = [interval(levels) for _, _, _, levels in chosen]
    several = len(set(intervals)) > 1
    found = []
    for (name, code, quantity, levels), (start, end) in zip(chosen, intervals, strict=True):
        nominal = moment(levels[-1:], "date", "time")
        if quantity == "amount" or several:
            time = nominal if end is None else end
        else:
            time = nominal_or_end(nominal, start, end)
        if time is None and options.start is not None and len(chosen) == 1:
            time = parse_time(options.start)
        if time is None:
            raise InputError("time: expected date and time in what, found neither; give it with --start")
        found.append(Image(name, code, quantity, levels, time, length(start, end)))
    return sorted(found, key=lambda image: image.time)


def _period(found: float | None, stated: float | None) -> float | None:
    if found is not None and stated is not None and not _close(found, stated):
        raise InputError(
            f"units: expected the file's accumulation period of {_minutes(found)}, found {_minutes(stated)} "
            "in the options"
        )
    return stated if found is None else found


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= 0.01 * other


def _minutes(hours: float | None) -> str:
    return "no period" if hours is None else f"{hours * 60:g} min"
