"""Values as NetCDF packs them: which of them are missing, and the numbers that the others stand for.

Sections 2.5 and 8.1 of the CF conventions, and the attribute conventions of the NetCDF user guide. The
libraries unpack, but ignore valid ranges and the fill values that NetCDF has when a file states none.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.readers.packing import expect_numbers_of
from stormcell.errors import InputError

# Values of pixels that were never written, by the type in the file. Bytes have no such value.
_DEFAULT_FILL: dict[str, float | int] = {
    "i2": -32767,
    "u2": 65535,
    "i4": -2147483647,
    "u4": 4294967295,
    "i8": -9223372036854775806,
    "u8": 18446744073709551614,
    "f4": float(np.float32(9.969209968386869e36)),
    "f8": 9.969209968386869e36,
}


def unpack(
    packed: NDArray[Any], variable: xr.Variable, name: str, nodata: tuple[float, ...] = ()
) -> NDArray[np.float64]:
    """Return the values of a variable, NaN where they are missing.

    Missing are ``_FillValue``, or NetCDF's own fill value if a file states none; the numbers in
    ``missing_value``, which do not change what NetCDF writes into pixels without a value; and all values
    outside of ``valid_range``, or ``valid_min`` and ``valid_max``. All of them are in packed values. For a
    valid range of the type of ``scale_factor``, CF says the same, and the NetCDF
    user guide says that it refers to unpacked values. Where this makes a difference, it refers to the packed
    values if no unpacked value could lie outside of it, and to the unpacked values if its numbers are not
    whole. Other files are refused.

    Args:
        packed: Numbers as stored, any shape.
        variable: The variable, which was opened without decoding; only its attributes are read.
        name: Its name, for messages.
        nodata: Further packed values that are missing.

    Raises:
        InputError: An attribute is not a number, or the scale is 0, or the valid range is ambiguous.

    Example:
        >>> rain = xr.Variable("x", np.array([10, 254, 255], "u1"), {"scale_factor": 0.5, "valid_max": 250})
        >>> unpack(rain.values, rain, "rain")
        array([ 5., nan, nan])
    """
    attributes = variable.attrs
    codes, kind = _as_stated(packed, attributes)
    missing = np.zeros(codes.shape, bool)
    for key in ("_FillValue", "missing_value"):
        for value in _numbers(name, key, attributes[key]) if key in attributes else ():
            missing |= _equal(codes, _in_type(value, kind, codes.dtype))
    own = None if "_FillValue" in attributes else _DEFAULT_FILL.get(f"{kind.kind}{kind.itemsize}")
    if own is not None:
        missing |= _equal(codes, _in_type(own, kind, codes.dtype))
    expect_numbers_of(codes.dtype, nodata)
    for value in nodata:
        missing |= codes == codes.dtype.type(value)
    scale, offset = (_factor(name, key, attributes, default) for key, default in _SCALING)
    values = codes.astype(np.float64)
    limits, ambiguous = _valid_range(name, attributes, kind, codes.dtype)
    outside = _outside(values, limits)
    if (scale, offset) != (1, 0):
        values = values * scale + offset
        if ambiguous and _limits(limits, codes.dtype, scale, offset):
            other = _outside(values, limits)
            if not all(limit.is_integer() for limit in limits if np.isfinite(limit)):
                outside = other  # not a number that can be packed
            elif ((outside != other) & ~missing).any():
                raise InputError(
                    f"{name}: expected a valid range in the type of the packed values, {kind}, "
                    f"found {limits[0]:g} to {limits[1]:g} in the type of scale_factor, "
                    "which may mean packed or unpacked values"
                )
    values[missing | outside] = np.nan
    return values


_SCALING = (("scale_factor", 1.0), ("add_offset", 0.0))


def _as_stated(packed: NDArray[Any], attributes: Mapping[Any, Any]) -> tuple[NDArray[Any], np.dtype[Any]]:
    """Return the codes, unsigned or signed as ``_Unsigned`` says, and their type in the file."""
    kind = packed.dtype.newbyteorder("=")
    codes = packed.astype(kind, copy=False)
    unsigned = str(attributes.get("_Unsigned", "")).lower()
    if unsigned == "true" and kind.kind == "i":
        codes = np.ascontiguousarray(codes).view(f"u{kind.itemsize}")
    elif unsigned == "false" and kind.kind == "u":
        codes = np.ascontiguousarray(codes).view(f"i{kind.itemsize}")
    return codes, kind


def _in_type(value: Any, kind: np.dtype[Any], codes: np.dtype[Any]) -> Any:
    """Return a number of an attribute as the codes have it.

    The attribute of an unsigned variable has the type in the file, such as −1 for 255. In single precision,
    −999.9 is another number than in double.
    """
    if kind != codes and float(value).is_integer():
        limits = np.iinfo(kind)
        if limits.min <= value <= limits.max:
            return np.asarray(int(value)).astype(kind).view(codes)
    if codes == np.float32:
        return np.asarray(value).astype(codes)
    return value


def _equal(codes: NDArray[Any], value: Any) -> NDArray[np.bool_]:
    if codes.dtype == np.float64 and np.asarray(value).dtype == np.float32:
        with np.errstate(over="ignore"):  # The file's own number was rounded to single precision.
            return np.asarray(codes.astype(np.float32) == value)
    return np.asarray(codes == value)


def _numbers(name: str, key: str, value: Any) -> list[Any]:
    """Return the numbers of an attribute."""
    numbers = np.ravel(value)
    if numbers.dtype.kind not in "iuf":
        raise InputError(f"{name}: expected a number in {key}, found {str(value)[:40]!r}")
    return list(numbers)


def _factor(name: str, key: str, attributes: Mapping[Any, Any], default: float) -> float:
    if key not in attributes:
        return default
    numbers = _numbers(name, key, attributes[key])
    if len(numbers) != 1 or not np.isfinite(numbers[0]) or (key == "scale_factor" and numbers[0] == 0):
        raise InputError(f"{name}: expected one finite number in {key}, found {attributes[key]}")
    return float(numbers[0])


def _valid_range(
    name: str, attributes: Mapping[Any, Any], kind: np.dtype[Any], codes: np.dtype[Any]
) -> tuple[tuple[float, float], bool]:
    """Return the valid range, and whether it may refer to unpacked values."""
    limits = [-np.inf, np.inf]
    types = []
    for key, places in (("valid_min", [0]), ("valid_max", [1]), ("valid_range", [0, 1])):
        if key not in attributes:
            continue
        numbers = _numbers(name, key, attributes[key])
        if len(numbers) != len(places):
            raise InputError(f"{name}: expected {len(places)} numbers in {key}, found {attributes[key]}")
        for place, number in zip(places, numbers, strict=True):
            limits[place] = float(_in_type(number, kind, codes))
        types.append(np.result_type(*numbers))
    if not limits[0] <= limits[1]:
        raise InputError(f"{name}: expected a valid range, found {limits[0]:g} to {limits[1]:g}")
    scaling = [np.ravel(attributes[key]).dtype for key, _ in _SCALING if key in attributes]
    ambiguous = bool(scaling and types) and kind.kind in "iu"
    ambiguous = ambiguous and np.result_type(*types) == np.result_type(*scaling) and types[0].kind == "f"
    return (limits[0], limits[1]), ambiguous


def _limits(limits: tuple[float, float], codes: np.dtype[Any], scale: float, offset: float) -> bool:
    """Whether a packed value exists that lies outside of the limits when it is unpacked."""
    ends = np.array([np.iinfo(codes).min, np.iinfo(codes).max], np.float64) * scale + offset
    return bool(_outside(ends, limits).any())


def _outside(values: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.bool_]:
    if limits == (-np.inf, np.inf):
        return np.zeros(values.shape, bool)
    outside: NDArray[np.bool_] = (values < limits[0]) | (values > limits[1])
    return outside
