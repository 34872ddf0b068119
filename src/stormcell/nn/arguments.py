"""How the layers read their arguments: a tuple means per axis, a list per layer."""

import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any, SupportsIndex, TypeAlias, TypeVar

from stormcell.errors import ArgumentError

T = TypeVar("T")
PerAxis = int | tuple[int, ...]
PerLayer: TypeAlias = T | list[T]


def per_layer(num_layers: int | None, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Tell every layer its own arguments.

    Whatever is a list says how many layers there are; any other value stands for all of them.

    Raises:
        ArgumentError: Two arguments speak of different numbers of layers, or one of none.
    """
    counts = {name: len(value) for name, value in given.items() if isinstance(value, list)}
    if num_layers is not None:
        counts["num_layers"] = count("num_layers", num_layers)
    number = max(counts.values(), default=1)
    if len(set(counts.values())) > 1 or number == 0:
        found = ", ".join(f"{name} for {n}" for name, n in counts.items())
        raise ArgumentError(f"expected one number of layers, at least 1, found {found}")
    return [
        {name: value[layer] if isinstance(value, list) else value for name, value in given.items()}
        for layer in range(number)
    ]


def per_axis(name: str, value: Any, axes: int, *, least: int = 1) -> tuple[int, ...]:
    """Return one int of at least ``least`` per axis: an int stands for all of them.

    Raises:
        ArgumentError: It is neither an int nor one per axis.
    """
    if not isinstance(value, tuple | list):
        return (count(name, value, least=least),) * axes
    if len(value) != axes:
        raise ArgumentError(f"{name}: expected an int or {axes} of them, one per axis, found {value!r}")
    return tuple(count(name, v, least=least) for v in value)


def count(name: str, value: Any, *, least: int = 1) -> int:
    """Return the value if it is an int of at least ``least``.

    Raises:
        ArgumentError: It is not.
    """
    if not isinstance(value, SupportsIndex) or isinstance(value, bool) or operator.index(value) < least:
        raise ArgumentError(f"{name}: expected an int of at least {least}, found {value!r}")
    return operator.index(value)  # numpy has ints of its own


def one_of(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Check that the value is one of the choices.

    Raises:
        ArgumentError: It is not; the message lists them.
    """
    if value not in choices:
        raise ArgumentError(f"{name}: expected one of {', '.join(map(repr, choices))}, found {value!r}")


def probability(name: str, value: Any) -> float:
    """Return the value if it is a number from 0 to 1.

    Raises:
        ArgumentError: It is not.
    """
    if not _is_number(value) or not 0 <= float(value) <= 1:
        raise ArgumentError(f"{name}: expected a probability, found {value!r}")
    return float(value)


def number(name: str, value: Any) -> float:
    """Return the value if it is a number.

    Raises:
        ArgumentError: It is not.
    """
    if not _is_number(value):
        raise ArgumentError(f"{name}: expected a number, found {value!r}")
    return float(value)


def limit(name: str, value: Any) -> float | None:
    """Return the value if it is a positive number, or None.

    Raises:
        ArgumentError: It is neither.
    """
    if value is None:
        return None
    if _is_number(value) and float(value) > 0:
        return float(value)
    raise ArgumentError(f"{name}: expected a positive number or None, found {value!r}")


def probabilities(name: str, value: Any, which: Sequence[str]) -> tuple[float, ...]:
    """Return a probability for each of these: a number stands for all of them.

    Raises:
        ArgumentError: It is neither a number nor one for each.
    """
    if not isinstance(value, tuple):
        return (probability(name, value),) * len(which)
    if len(value) != len(which):
        raise ArgumentError(
            f"{name}: expected a probability or one for each of {', '.join(which)}, found {value!r}"
        )
    return tuple(probability(name, v) for v in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
