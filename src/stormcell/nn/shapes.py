"""What shapes a layer is given, checked where a wrong one is still easy to explain."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from stormcell.errors import ArgumentError


def check_input(x: Any, in_channels: int, axes: Sequence[str]) -> None:
    """Check that an input has these axes and this number of channels; where that is 0, that there is none.

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


def check_like(x: Tensor, parameter: Tensor) -> None:
    """Check that an input can meet the parameters: that it is of their dtype and on their device.

    Raises:
        ArgumentError: It is not.
    """
    device = parameter.device.type
    lowered = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    alike = x.is_floating_point() if lowered else x.dtype == parameter.dtype  # autocast sees to the rest
    if not alike or x.device != parameter.device:
        expected, found = (f"{t.dtype} on {t.device}".removeprefix("torch.") for t in (parameter, x))
        raise ArgumentError(f"x: expected {expected}, as the parameters are, found {found}")


def check_state(name: str, state: Any, expected: Mapping[str, Sequence[int | str]]) -> tuple[Tensor, ...]:
    """Return the state if its tensors have the shapes expected.

    Args:
        name: What the message calls the state.
        state: What was given as ``(h, c)``, or ``(h,)``.
        expected: The shape of each; a letter stands for a size that only the state itself tells, the
            same one wherever it stands.

    Raises:
        ArgumentError: It is not so.
    """
    tensors = isinstance(state, tuple | list) and all(isinstance(s, Tensor) for s in state)
    if tensors and len(state) == len(expected):
        told: dict[str, int] = {}

        def fits(n: int, size: int | str) -> bool:
            return bool(n == (told.setdefault(size, n) if isinstance(size, str) else size))

        pairs = list(zip(state, expected.values(), strict=True))
        if all(s.dim() == len(sizes) and all(map(fits, s.shape, sizes)) for s, sizes in pairs):
            return tuple(state)
    layouts = [f"{which} of shape ({', '.join(map(str, sizes))})" for which, sizes in expected.items()]
    raise ArgumentError(f"{name}: expected {' and '.join(layouts)}, found {shape(state)}")


def shape(value: Any) -> str:
    """Say in a few words what shape something has, or of what type it is if it has none."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}: {', '.join(map(shape, value))}"
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
