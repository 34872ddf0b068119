"""Checks of arguments. A tuple gives one value per axis, a list one per layer."""

import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any, SupportsIndex, TypeAlias, TypeVar

from stormcell.errors import ArgumentError

T = TypeVar("T")
PerAxis = int | tuple[int, ...]
PerLayer: TypeAlias = T | list[T]


def per_layer(num_layers: int | None, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the arguments of each layer.

    The length of a list is the number of layers; any other value applies to all layers.

    Raises:
        ArgumentError: Two lists differ in length or from ``num_layers``, or a list is empty.
    """
    counts = {name: len(value) for name, value in given.items() if isinstance(value, list)}
    number = max(counts.values(), default=1) if num_layers is None else count("num_layers", num_layers)
    if counts and set(counts.values()) != {number}:
        first, *others = (f"{name} has {n}" for name, n in counts.items())
        if num_layers is not None:
            others.append(f"num_layers is {num_layers}")
        unit = "entry" if first.endswith(" 1") else "entries"
        raise ArgumentError(f"layer counts disagree: {', '.join([f'{first} {unit}', *others])}")
    if number == 0:
        raise ArgumentError(f"{next(iter(counts))}: expected at least one entry, found []")
    return [
        {name: value[layer] if isinstance(value, list) else value for name, value in given.items()}
        for layer in range(number)
    ]


def per_axis(name: str, value: Any, axes: int, *, least: int = 1) -> tuple[int, ...]:
    """Return one int of at least ``least`` per axis; a single int applies to all axes.

    Raises:
        ArgumentError: The value is neither an int nor one int per axis.
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
    return operator.index(value)  # the value may be one of numpy's ints


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


def probabilities(name: str, value: Any, names: Sequence[str]) -> tuple[float, ...]:
    """Return one probability for each of the names; a single number applies to all of them.

    Raises:
        ArgumentError: The value is neither a probability nor one probability for each name.
    """
    if not isinstance(value, tuple):
        return (probability(name, value),) * len(names)
    if len(value) != len(names):
        raise ArgumentError(
            f"{name}: expected a probability or one for each of {', '.join(names)}, found {value!r}"
        )
    return tuple(probability(name, v) for v in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
