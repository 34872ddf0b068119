"""Conversion of the numbers in an image or array to rain rates, in bounded memory."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormcell.data.quantity import to_rate, unit
from stormcell.data.read_options import ReadOptions
from stormcell.errors import InputError

# Reflectivity that no weather radar detects: written where there was no echo, which is dry.
NO_ECHO_DBZ = -30.0
# −30 dBZ by Z = 200 R^1.6, in mm/h. Some files have rates that were converted from reflectivity and have this
# value instead of zero where there was no echo. No echo is dry.
NO_ECHO = 0.0005
# Less than any radar or provider writes for no echo: a code for pixels that were not observed.
LEAST_DBZ = -100.0
# Values that are converted at once: 8 MB as float64.
_BLOCK = 2**20
_UNKNOWN_DBZ = -1.0  # rate of a reflectivity below LEAST_DBZ until its pixel is looked at
_PART = 2**16  # numbers that are looked up at once, in the processor's cache


@dataclass(frozen=True)
class Packing:
    """The meaning of the numbers in an image or array: value = scale · number + offset, in ``units``.

    Attributes:
        units: Units of the values, such as ``"mm/h"``, ``"dBZ"``, ``"mm"`` or ``"mm/5min"``.
        hours: Accumulation period of an amount, if the units do not contain it.
        zr: a and b of Z = a R^b, for reflectivity.
        scale: Factor of the numbers.
        offset: Value of the number 0.
        nodata: Numbers of pixels that were not observed.
        undetect: Numbers of pixels that were observed dry.
        no_echo: Reflectivity in dBZ up to which there was no echo; −inf if ``undetect`` has all such numbers.

    Example:
        >>> packing = Packing("dBZ", zr=(200.0, 1.6), scale=0.5, offset=-32.0, nodata=(255,), undetect=(0,))
        >>> rates, measured = packing.rates(np.array([[0, 110, 255]], np.uint8))
        >>> rates.astype(float).round(4).tolist(), measured["zr_a"]
        ([[0.0, 0.9985, nan]], 200.0)
    """

    units: str
    hours: float | None = None
    zr: tuple[float, float] | None = None
    scale: float = 1.0
    offset: float = 0.0
    nodata: tuple[float, ...] = ()
    undetect: tuple[float, ...] = ()
    no_echo: float = NO_ECHO_DBZ

    def rates(
        self, numbers: NDArray[Any], unobserved: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Return rain rates in mm/h, and the attributes that describe the conversion.

        Args:
            numbers: Numbers of the file, any shape.
            unobserved: Where pixels were not observed, in addition to the codes, of the same shape.

        Raises:
            InputError: The Z–R relation or the period is missing, a rain rate is negative, or a reflectivity
                is less than ``LEAST_DBZ``, except −inf.
        """
        rates = np.empty(numbers.shape, np.float32)
        if numbers.dtype.kind in "iu" and numbers.dtype.itemsize <= 2:
            # A table of all numbers: at most 65536.
            limits = np.iinfo(numbers.dtype)
            table, measured = self._convert(np.arange(limits.min, limits.max + 1))
            look_up(table, numbers, rates)
        else:
            flat, converted = numbers.reshape(-1), rates.reshape(-1)
            measured = self._convert(flat[:0])[1]
            for begin in range(0, flat.size, _BLOCK):
                converted[begin : begin + _BLOCK] = self._convert(flat[begin : begin + _BLOCK])[0]
        if unobserved is not None:
            rates[unobserved] = np.nan
        lowest = np.fmin.reduce(rates, axis=None, initial=np.inf)
        if lowest == _UNKNOWN_DBZ and measured["source_quantity"] == "dbz":
            raise InputError(
                f"reflectivity: expected {LEAST_DBZ:g} dBZ or more, found less; is it a code for missing "
                "values that the metadata does not list?"
            )
        if -NO_ECHO < lowest < 0:  # programs that resample rates make some of them slightly negative
            rates[rates < 0] = 0
        elif lowest < 0:
            raise InputError(
                f"rain: expected 0 or more, found {lowest:g} mm/h; is it a code for missing values that the "
                "metadata does not list?"
            )
        return rates, measured

    def with_nodata(self, options: ReadOptions, dtype: np.dtype[Any]) -> "Packing":
        """Return the packing with the numbers that the user states for pixels that were not observed.

        Args:
            options: Statements of the user.
            dtype: Type of the numbers in the file.

        Raises:
            InputError: For the file, such a number means dry, or its type has no such number.
        """
        for code in options.nodata:
            if code in self.undetect:
                raise InputError(f"nodata: expected the file's {code:g} to mean dry, found it in the options")
        expect_numbers_of(dtype, options.nodata)
        return replace(self, nodata=(*self.nodata, *options.nodata))

    def _convert(self, numbers: NDArray[Any]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        quantity, factor, hours = unit(self.units)
        values = (numbers.astype(np.float64) * self.scale + self.offset) * factor
        with np.errstate(over="ignore"):  # an absurd reflectivity becomes infinite, which is refused later
            rates, measured = to_rate(values, quantity, hours=hours or self.hours, zr=self.zr)
            converted = rates.astype(np.float32)
        if quantity == "dbz":
            converted[values <= self.no_echo] = 0
            converted[np.isfinite(values) & (values < LEAST_DBZ)] = _UNKNOWN_DBZ
            measured["cell_methods"] = "time: point"
        # Numbers are compared as the file has them, because a code is exact there. NaN equals nothing.
        for code in self.undetect:
            converted[numbers == _as(code, numbers)] = 0
        for code in self.nodata:
            converted[numbers == _as(code, numbers)] = np.nan
        return converted, measured


def expect_numbers_of(dtype: np.dtype[Any], nodata: tuple[float, ...]) -> None:
    """Check that a type has the numbers that the user states for pixels that were not observed.

    Raises:
        InputError: It has not.
    """
    for code in nodata:
        if dtype.kind in "iu" and not (
            float(code).is_integer() and np.iinfo(dtype).min <= code <= np.iinfo(dtype).max
        ):
            raise InputError(f"nodata: expected a number of {dtype}, found {code:g} in the options")


def of_poor_quality(
    rates: NDArray[np.float32], quality: NDArray[np.floating], lowest: float
) -> NDArray[np.bool_]:
    """Return where pixels count as not observed because of their quality.

    That is where it is lower than the lowest; and where it is missing and there is rain, which nothing shows
    to be good. A dry pixel without a quality stays dry, because networks state a quality only for echoes.

    Args:
        rates: Rain rates in mm/h.
        quality: Quality of the pixels, of a shape that fits, NaN where it is missing.
        lowest: The lowest quality.

    Example:
        >>> rates, quality = np.array([0, 0, 1, 1, 1], "f4"), np.array([0.2, np.nan, 0.2, np.nan, 0.8])
        >>> of_poor_quality(rates, quality, 0.5).tolist()
        [True, False, True, True, False]
    """
    poor: NDArray[np.bool_] = (quality < lowest) | (np.isnan(quality) & (rates > 0))
    return poor


def look_up(
    table: NDArray[np.float32], numbers: NDArray[Any], values: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return the values that a table has for whole numbers of one or two bytes, in the numbers' shape.

    This takes half the time of ``table[numbers]``, which converts all numbers to 64-bit indices first.

    Args:
        table: A value for each number of the type, from the least.
        numbers: The numbers.
        values: Array for the values; None for a new one.

    Example:
        >>> look_up(np.arange(256, dtype=np.float32), np.array([[-128, 127]], np.int8)).tolist()
        [[0.0, 255.0]]
    """
    values = np.empty(numbers.shape, np.float32) if values is None else values
    least = np.iinfo(numbers.dtype).min
    flat, found = numbers.reshape(-1), values.reshape(-1)
    for begin in range(0, flat.size, _PART):
        part = flat[begin : begin + _PART]
        np.take(
            table, part if least == 0 else part.astype(np.int32) - least,
            out=found[begin : begin + _PART], mode="clip",
        )  # fmt: skip
    return values


def _as(code: float, numbers: NDArray[Any]) -> Any:
    """Return a code in the precision of the numbers: 1e-30 as float32 is another number than as float64."""
    return numbers.dtype.type(code) if numbers.dtype.kind == "f" else code


def stated_units(own: str | None, options: ReadOptions, thing: str) -> str:
    """Return the units of a file or of the options, after a check for contradictions.

    Args:
        own: Units in the metadata; None if it has none.
        options: Statements of the user. ``"mm/5min"`` adds the period to a file that states ``"mm"``.
        thing: Name of the array, for the message.

    Raises:
        InputError: They contradict each other, or are missing.

    Example:
        >>> stated_units("mm", ReadOptions(units="mm/5min"), "band 1")
        'mm/5min'
    """
    if own is not None:
        options.expect_agreement(unit(own)[0], own)
        return options.units or own
    if options.units is not None:
        return options.units
    if options.quantity == "dbz":
        return "dBZ"
    raise InputError(
        f"{thing}: expected units in the metadata, found none; give them with --units (mm/h, mm/5min, dBZ)"
    )
