"""Time, units, packing and names of the bands of a GeoTIFF, from the places where providers write them.

A GeoTIFF has no standard for these. Items of GDAL's metadata, of the file or of a band, are read by the names
that providers use; so are the descriptions and units of bands, and the metadata that GDAL copies from NetCDF.
FMI nests a second list of items in one item.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any

import numpy as np
import xarray as xr

from stormcell.data.quantity import unit
from stormcell.data.time_text import nearest_second, parse_time, time_in_name, without_time
from stormcell.errors import InputError

_ITEM = re.compile(r"<Item name=\"([^\"]{1,80})\"([^>]*)>([^<]{0,4096})</Item>")
_UNIT = re.compile(r"\bunit=\"([^\"]{1,40})\"")
# Names of times, the decisive ones first: the time of an accumulation is its end.
_TIMES = (
    ("end_time", "endtime", "time_end", "time_coverage_end"),
    ("valid_time", "validity_time", "observation_time", "obstime", "nominal_time", "time", "datetime"),
    ("date_time", "timestamp", "acquisition_time", "acquisitiondatetime"),
)
_STARTS = ("start_time", "starttime", "time_start", "time_coverage_start")
_PERIODS = {"accumulation_minutes": 60.0, "accum_time_min": 60.0, "accum_time_h": 3600.0}
# Lead times of forecasts, as stormcell, CF and GDAL's reader of GRIB name them.
_LEADS = ("forecast_period", "lead_time", "leadtime", "grib_forecast_seconds")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?")
_UNITS = ("units", "unit", "unittype", "quantity_unit")
# ODIM's quantities have fixed units.
_ODIM = {"rate": "mm/h", "acrr": "mm", "dbzh": "dBZ", "th": "dBZ"}


@dataclass(frozen=True)
class Band:
    """A band that is not a mask.

    Attributes:
        number: Number in the file, from 1.
        name: Description without a time in it, or the name of the variable it was copied from; often empty.
        time: Time, UTC, if the band has one.
        units: Units of its values, if they are units of rain.
        items: Items of its metadata and of that of the file, by names in lower case.
    """

    number: int
    name: str
    time: np.datetime64 | None
    units: str | None
    items: Mapping[str, str]

    def numbers(self, *names: str) -> tuple[float, ...]:
        """Return the items of these names that exist, as numbers.

        Raises:
            InputError: One of them is not a number.
        """
        found = [(name, self.items[name]) for name in names if name in self.items]
        try:
            return tuple(float(text) for _, text in found)
        except ValueError:
            raise InputError(f"{found[0][0]}: expected a number, found {found[0][1][:40]!r}") from None

    def expect_observation(self) -> None:
        """Check that the band is no forecast, whose valid time is that of an observation too.

        Raises:
            InputError: The items give a lead time above 0.
        """
        for name in _LEADS:
            number = _NUMBER.match(self.items.get(name, ""))
            if number and float(number[0]) > 0:
                raise InputError(
                    f"band {self.number}: expected an observation, found a forecast with {name} "
                    f"{self.items[name][:40]}"
                )

    def hours(self) -> float | None:
        """Return the accumulation period in hours, if items give it."""
        for name, seconds in _PERIODS.items():
            if name in self.items:
                return self.numbers(name)[0] * seconds / 3600
        start = next((self.items[name] for name in _STARTS if name in self.items), None)
        end = next((self.items[name] for name in _TIMES[0] if name in self.items), None)
        if start is None or end is None:
            return None
        hours = float((parse_time(end) - parse_time(start)) / np.timedelta64(1, "h"))
        if not hours > 0:
            raise InputError(f"start_time: expected a time before the end, found {start[:40]!r}")
        return hours


def bands(file: Any) -> list[Band]:
    """Return the bands of an open dataset of rasterio, without alpha bands."""
    shared = _items(file.tags())
    found = []
    for index, color in enumerate(file.colorinterp):
        if color.name == "alpha":
            continue
        own = _items(file.tags(index + 1))
        description = file.descriptions[index] or ""
        variable = own.get("netcdf_varname", "")
        name = variable or without_time(description)
        if not name and color.name in ("red", "green", "blue"):
            name = color.name
        items = shared | own
        units = file.units[index] or next((items[key] for key in _UNITS if key in items), None)
        units = units or items.get(f"{variable}#units") or _ODIM.get(items.get("quantity", "").lower())
        time = _netcdf_time(own, shared)
        if time is None:
            time = time_of(own) if len(file.indexes) > 1 else None
        if time is None:
            time = time_in_name(description)
        found.append(Band(index + 1, name, time, units if units and _is_rain(units) else None, items))
    return found


def time_of(items: Mapping[str, str]) -> np.datetime64 | None:
    """Return the time that the items of a file or band give, UTC, or None.

    ``TIFFTAG_DATETIME`` is not among them: by TIFF 6.0 it is when the file was made.

    Raises:
        InputError: A time cannot be read, or there are several.
    """
    for names in (_TIMES[0], (*_TIMES[1], *_TIMES[2])):
        texts = {name: items[name] for name in names if items.get(name, "").strip()}
        if "time" in texts and "date" in items:  # ODIM's two parts
            texts["time"] = f"{items['date']} {texts['time']}" if len(texts["time"]) < 9 else texts["time"]
        moments = {parse_time(text) for text in texts.values()}
        if len(moments) > 1:
            stated = ", ".join(f"{name} {text[:40]}" for name, text in texts.items())
            raise InputError(f"time: expected one time, found {stated}")
        if moments:
            return moments.pop()
    return None


def _items(tags: Mapping[str, str]) -> dict[str, str]:
    """Return items by names in lower case, with those that are nested in an item."""
    found: dict[str, str] = {}
    for name, text in tags.items():
        if name == "GDAL_METADATA":
            for nested, attributes, value in _ITEM.findall(text):
                found[_key(nested)] = unescape(value).strip()
                if stated := _UNIT.search(attributes):
                    found[f"{_key(nested)}_unit"] = unescape(stated[1])
        else:
            found[_key(name)] = text.strip()
    return found


def _key(name: str) -> str:
    return "_".join(name.lower().split())


def _netcdf_time(own: Mapping[str, str], shared: Mapping[str, str]) -> np.datetime64 | None:
    """Return the time of a band that GDAL copied from NetCDF: a number, in units of the file's items."""
    if "netcdf_dim_time" not in own or "time#units" not in shared:
        return None
    attributes = {"units": shared["time#units"], "calendar": shared.get("time#calendar", "standard")}
    variable = xr.Variable((), float(own["netcdf_dim_time"]), attributes)
    time = xr.conventions.decode_cf_variable("time", variable, decode_timedelta=False)
    if time.dtype.kind != "M":
        raise InputError(f"time: expected the standard calendar, found {attributes['calendar'][:40]!r}")
    (moment,) = nearest_second(time.values[np.newaxis])
    return np.datetime64(moment)


def _is_rain(units: str) -> bool:
    try:
        unit(units)
    except InputError:
        return False
    return True
