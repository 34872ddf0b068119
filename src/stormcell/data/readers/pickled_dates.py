"""Dates in a pickled array, read without unpickling: nothing that the file names is imported or called.

NumPy pickles an array of ``datetime`` objects. The few instructions that such a pickle needs are followed
here step by step; any other instruction, and any other object, is refused.
"""

import pickletools
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormcell.data.time_text import nearest_second
from stormcell.errors import InputError

MOST_BYTES = 2**26  # a date takes about 30: two million dates, or twenty years of five-minute steps

_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("datetime", "datetime"),
    ("datetime", "date"),
    ("_codecs", "encode"),
}
_MARK = object()


@dataclass
class _Made:
    """An array or a type, as far as the pickle has described it."""

    what: str
    items: list[Any] = field(default_factory=list)


def read_dates(pickled: bytes, count: int) -> NDArray[np.datetime64]:
    """Return the dates of a pickled array, ``(count,)``, to the nearest second.

    Args:
        pickled: The pickle that follows the header of a .npy file.
        count: Number of dates that the header states.

    Raises:
        InputError: It has anything else than that number of ``datetime`` or ``date`` objects without a time
            zone.

    Example:
        >>> import pickle
        >>> read_dates(pickle.dumps(np.array([datetime(2016, 8, 21, 0, 5)], object)), 1)
        array(['2016-08-21T00:05:00'], dtype='datetime64[s]')
    """
    if len(pickled) > MOST_BYTES:
        raise InputError(f"dates: expected at most {MOST_BYTES} bytes, found more")
    try:
        made = _follow(pickled)
    except InputError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"dates: expected a complete array of dates: {error}") from None
    items = made.items if isinstance(made, _Made) and made.what == "array" else []
    if len(items) != count or not all(isinstance(item, date) for item in items):
        raise InputError(f"dates: expected {count} dates, found {len(items)} or other objects")
    return nearest_second(np.array(items, "datetime64[us]"))


def _follow(pickled: bytes) -> Any:
    """Follow the instructions, and return what is left on the stack."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(pickled):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _VALUES:
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            module, _, attribute = argument.partition(" ") if name == "GLOBAL" else (stack[-2], "", stack[-1])
            if name == "STACK_GLOBAL":
                del stack[-2:]
            stack.append(_allowed(module, attribute))
        elif name in _TUPLES:
            length = _TUPLES[name]
            stack[len(stack) - length :] = [tuple(stack[len(stack) - length :])]
        elif name == "TUPLE":
            stack.append(tuple(_since_mark(stack)))
        elif name == "APPEND":
            item = stack.pop()
            _extend(stack[-1], [item])
        elif name == "APPENDS":
            items = _since_mark(stack)
            _extend(stack[-1], items)
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_make(stack.pop(), arguments))
        elif name == "BUILD":
            _describe(stack, stack.pop())
        else:
            raise InputError(
                f"dates: expected an array of dates only, found the instruction {name} in the pickle"
            )
    raise InputError("dates: expected a complete array of dates, found its beginning")


_CONSTANTS = {"NONE": None, "NEWFALSE": False, "NEWTRUE": True, "EMPTY_TUPLE": ()}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "BINUNICODE", "SHORT_BINUNICODE"),
    *("SHORT_BINBYTES", "BINBYTES", "SHORT_BINSTRING", "BINSTRING"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _allowed(module: Any, attribute: Any) -> tuple[str, str]:
    if (module, attribute) not in _GLOBALS:
        raise InputError(
            f"dates: expected an array of dates only, found {module!s:.40}.{attribute!s:.40} in the pickle"
        )
    return module, attribute


def _since_mark(stack: list[Any]) -> list[Any]:
    """Take everything from the stack that was put there after the last mark, and the mark."""
    at = len(stack) - 1
    while stack[at] is not _MARK:
        at -= 1
        if at < 0:
            raise InputError("dates: expected a complete array of dates, found a damaged one")
    items = stack[at + 1 :]
    del stack[at:]
    return items


def _extend(target: Any, items: list[Any]) -> None:
    if not isinstance(target, list):
        raise InputError("dates: expected a list of dates, found another object")
    target.extend(items)


def _make(function: Any, arguments: Any) -> Any:
    """Return what a call in the pickle would return, for the few calls that arrays of dates need."""
    if function[1] == "_reconstruct":
        return _Made("array")
    if function == ("numpy", "dtype"):
        return _Made("dtype")
    if function == ("_codecs", "encode"):
        text, encoding = arguments
        if encoding != "latin1":
            raise InputError(f"dates: expected latin1, found {encoding!s:.20}")
        return text.encode("latin1")
    if function[0] == "datetime":
        return _moment(function[1], arguments)
    raise InputError(f"dates: expected dates, found a call of {'.'.join(function)} in the pickle")


def _moment(kind: str, arguments: Any) -> date:
    if len(arguments) != 1 or not isinstance(arguments[0], bytes | str):
        raise InputError("dates: expected dates without a time zone, found others")
    state = arguments[0] if isinstance(arguments[0], bytes) else arguments[0].encode("latin1")
    if len(state) != (10 if kind == "datetime" else 4):
        raise InputError(f"dates: expected a {kind}, found {len(state)} bytes")
    year, month, day = int.from_bytes(state[:2], "big"), state[2] & 0x7F, state[3]
    if kind == "date":
        return date(year, month, day)
    hour, minute, second = state[4:7]
    return datetime(year, month, day, hour, minute, second, int.from_bytes(state[7:], "big"))


def _describe(stack: list[Any], state: Any) -> None:
    """Give the array on top of the stack its items; the description of a type has nothing to add."""
    made = stack[-1]
    if not isinstance(made, _Made):
        raise InputError("dates: expected an array of dates, found another object")
    if made.what == "array":
        items = state[4]
        if not isinstance(items, list):
            raise InputError("dates: expected an array of dates, found other data")
        made.items = items
