"""What shapes a layer is given, checked where a wrong one is still easy to explain."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from stormcell.errors import ArgumentError


def check_input(x: Any, in_channels: int, axes: Sequence[str]) -> None:
    """Check that an input has these axes and this number of channels, or is None where that is 0.

    Raises:
        ArgumentError: It is not so.
    """
    layout = f"({', '.join(axes)})"
    if in_channels == 0:
        if x is not None:
            raise ArgumentError(f"x: expected None, as in_channels is 0, found {shape(x)}")
        return
    if not isinstance(x, Tensor) or x.dim() != len(axes) or x.shape[axes.index("C")] != in_channels:
        raise ArgumentError(f"x: expected {layout} with C = {in_channels}, found {shape(x)}")


def check_state(name: str, state: Any, expected: Sequence[int | str]) -> tuple[Tensor, Tensor]:
    """Return the state if it is a pair of tensors of one shape, which is the expected one.

    Args:
        name: What the message calls the state.
        state: What was given as ``(h, c)``.
        expected: Its shape; a letter stands for an axis whose size only the state itself tells.

    Raises:
        ArgumentError: It is not so.
    """
    if isinstance(state, tuple | list) and len(state) == 2 and all(isinstance(s, Tensor) for s in state):
        h, c = state
        known = [n if isinstance(e, str) else e for n, e in zip(h.shape, expected, strict=False)]
        if list(h.shape) == known and h.dim() == len(expected) and h.shape == c.shape:
            return h, c
    layout = f"({', '.join(map(str, expected))})"
    raise ArgumentError(f"{name}: expected h and c, each of shape {layout}, found {shape(state)}")


def shape(value: Any) -> str:
    """Say in a few words what shape something has, or of what type it is if it has none."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}: {', '.join(map(shape, value))}"
    return "None" if value is None else f"a {type(value).__name__}"
