"""Checks of the tensors in a call, made early, where an error is still easy to explain."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from stormcell.errors import ArgumentError


def check_input(x: Any, in_channels: int, axes: Sequence[str]) -> None:
    """Check that an input has these axes and this number of channels; with 0 channels, that it is None.

    Raises:
        ArgumentError: It does not.
    """
    if in_channels == 0:
        if x is not None:
            raise ArgumentError(f"x: expected None, as in_channels is 0, found {shape(x)}")
        return
    if not isinstance(x, Tensor) or x.dim() != len(axes) or x.shape[axes.index("C")] != in_channels:
        raise ArgumentError(f"x: expected ({', '.join(axes)}) with C = {in_channels}, found {shape(x)}")


def check_like(x: Tensor, parameter: Tensor) -> None:
    """Check that an input has the dtype and the device of the parameters.

    Raises:
        ArgumentError: It has not.
    """
    device = parameter.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    fits = x.is_floating_point() if autocast else x.dtype == parameter.dtype  # autocast converts
    if not fits or x.device != parameter.device:
        expected, found = (f"{t.dtype} on {t.device}".removeprefix("torch.") for t in (parameter, x))
        raise ArgumentError(f"x: expected {expected}, as the parameters are, found {found}")


def check_state(name: str, state: Any, expected: Mapping[str, Sequence[int | str]]) -> tuple[Tensor, ...]:
    """Return the state, if its tensors have the expected shapes.

    Args:
        name: The name of the state in the error.
        state: ``(h, c)``, or ``(h,)``.
        expected: The shape of each tensor. A letter is a size which may have any value, but the same one
            wherever the letter occurs.

    Raises:
        ArgumentError: The shapes differ.
    """
    tensors = isinstance(state, tuple | list) and all(isinstance(s, Tensor) for s in state)
    if tensors and len(state) == len(expected):
        sizes_of_letters: dict[str, int] = {}

        def fits(n: int, size: int | str) -> bool:
            return bool(n == (sizes_of_letters.setdefault(size, n) if isinstance(size, str) else size))

        pairs = list(zip(state, expected.values(), strict=True))
        if all(s.dim() == len(sizes) and all(map(fits, s.shape, sizes)) for s, sizes in pairs):
            return tuple(state)
    layouts = [f"{which} of shape ({', '.join(map(str, sizes))})" for which, sizes in expected.items()]
    raise ArgumentError(f"{name}: expected {' and '.join(layouts)}, found {shape(state)}")


def mask_of_lengths(lengths: Any, steps: int, batch: int, device: torch.device) -> Tensor:
    """Return the mask ``(T, B)`` of sequences of these lengths.

    Raises:
        ArgumentError: ``lengths`` is not one int from 0 to T per sample.
    """
    try:
        tensor = torch.as_tensor(lengths, device=device)
    except (TypeError, ValueError, RuntimeError):
        tensor = torch.empty(0, 0)
    is_int = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    if tensor.shape != (batch,) or (batch and not is_int):  # an empty list becomes a float tensor
        raise ArgumentError(f"lengths: expected {batch} ints, one per sample, found {_with_dtype(lengths)}")
    # A compiler cannot check values.
    if batch and not torch.compiler.is_compiling():
        low, high = (int(n) for n in tensor.aminmax())
        if low < 0 or high > steps:
            raise ArgumentError(f"lengths: expected ints from 0 to {steps}, found {low} to {high}")
    return torch.arange(steps, device=device).unsqueeze(1) < tensor


def check_mask(mask: Any, expected: tuple[int, int]) -> None:
    """Check that a mask is a bool tensor of this shape.

    Raises:
        ArgumentError: It is not.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != expected:
        raise ArgumentError(f"mask: expected bools of shape {expected}, found {_with_dtype(mask)}")


def shape(value: Any) -> str:
    """Describe the shape of a value; if it has none, its type."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}: {', '.join(map(shape, value))}"
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _with_dtype(value: Any) -> str:
    """Describe the shape of a value, and its dtype."""
    return f"{shape(value)} of {value.dtype}" if isinstance(value, Tensor) else shape(value)
