"""How the layers read their arguments: a tuple means per axis, a list per layer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from stormcell.errors import ArgumentError, NotOfferedError

PerAxis = int | Sequence[int]
PerLayer = PerAxis | Sequence[PerAxis]


class Layer(NamedTuple):
    """What may differ from one layer of a stack to the next."""

    hidden_channels: int
    kernel_size: tuple[int, ...]
    recurrent_kernel_size: tuple[int, ...]


def layers(
    hidden_channels: int | Sequence[int],
    kernel_size: PerLayer,
    recurrent_kernel_size: PerLayer | None,
    num_layers: int | None,
    *,
    axes: int,
) -> list[Layer]:
    """Tell every layer its own sizes.

    Whatever is given per layer says how many layers there are; one value stands for all of them.

    Raises:
        ArgumentError: A size is not a positive int, or two arguments speak of different numbers of layers.
    """
    if isinstance(hidden_channels, tuple):
        hidden_channels = list(hidden_channels)
    if recurrent_kernel_size is None:
        recurrent_kernel_size = kernel_size
    given: dict[str, Any] = {
        "hidden_channels": hidden_channels,
        "kernel_size": kernel_size,
        "recurrent_kernel_size": recurrent_kernel_size,
    }
    counts = {name: len(value) for name, value in given.items() if isinstance(value, list)}
    if num_layers is not None:
        counts["num_layers"] = count("num_layers", num_layers)
    number = max(counts.values(), default=1)
    if len(set(counts.values())) > 1 or number == 0:
        found = ", ".join(f"{name} for {n}" for name, n in counts.items())
        raise ArgumentError(f"expected one number of layers, at least 1, found {found}")

    def spread(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [value] * number

    return [
        Layer(
            count("hidden_channels", hidden),
            per_axis("kernel_size", kernel, axes),
            per_axis("recurrent_kernel_size", recurrent, axes),
        )
        for hidden, kernel, recurrent in zip(*map(spread, given.values()), strict=True)
    ]


def per_axis(name: str, value: Any, axes: int) -> tuple[int, ...]:
    """Return one positive int per axis: an int stands for all of them.

    Raises:
        ArgumentError: It is neither an int nor one per axis.
    """
    if not isinstance(value, tuple | list):
        return (count(name, value),) * axes
    if len(value) != axes:
        raise ArgumentError(f"{name}: expected an int or {axes} of them, one per axis, found {value!r}")
    return tuple(count(name, v) for v in value)


def count(name: str, value: Any, *, least: int = 1) -> int:
    """Return the value if it is an int of at least ``least``.

    Raises:
        ArgumentError: It is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{name}: expected an int of at least {least}, found {value!r}")
    return value


def one_of(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Check that the value is one of the choices.

    Raises:
        ArgumentError: It is not; the message lists them.
    """
    if value not in choices:
        raise ArgumentError(f"{name}: expected one of {', '.join(map(repr, choices))}, found {value!r}")


def only(name: str, value: Any, offered: Any) -> None:
    """Check that an argument has the one value that is offered.

    Raises:
        NotOfferedError: It has another.
    """
    if value is not offered and value != offered:
        raise NotOfferedError(f"{name}={value!r} is not offered, only {name}={offered!r}")


def absent(name: str, value: Any) -> None:
    """Check that an argument that is not offered is not given.

    Raises:
        NotOfferedError: It is given.
    """
    if value is not None:
        raise NotOfferedError(f"{name} is not offered, leave it out")
