"""Foreign arrays: conversion from and to numpy, checks, and the places of their numbers in our parameters."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from stormcell.errors import ArgumentError
from stormcell.nn.cells import Cell

GATES = "ifgo"  # the order of the gates in our parameters


def tensor(value: Any, name: str = "array") -> Tensor:
    """Return a copy of an array as a tensor on the CPU, in the same dtype.

    Args:
        value: A numpy array, a tensor, or anything that numpy converts to an array; any memory layout.
        name: Name of the array in error messages.

    Raises:
        ArgumentError: The values are not floating-point numbers of a dtype that torch has.
    """
    converted = value if isinstance(value, Tensor) else _from_numpy(value)
    if converted is None or not converted.is_floating_point():
        found = value.dtype if hasattr(value, "dtype") else f"a {type(value).__name__}"
        raise ArgumentError(f"{name}: expected an array of floats, found {found}")
    return converted.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def array(value: Tensor) -> np.ndarray:
    """Return a copy of a tensor as a numpy array, C-contiguous and in the same dtype.

    Raises:
        ArgumentError: The dtype is bfloat16, which numpy does not have.
    """
    if value.dtype == torch.bfloat16:
        raise ArgumentError(
            "dtype: expected a dtype that numpy supports, found bfloat16; convert the module first"
        )
    return np.array(value.detach().cpu().numpy(), order="C")


def dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    """Return the smallest dtype that holds the values of all tensors exactly."""
    common = tensors[0].dtype
    for one in tensors[1:]:
        common = torch.promote_types(common, one.dtype)
    return common


def check(found: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]]) -> None:
    """Check names and shapes.

    Raises:
        ArgumentError: A name is missing or unknown, or a shape differs; one message lists all differences.
    """
    wrong = [
        f"{name} {tuple(shape)}, found {tuple(found[name].shape) if name in found else 'none'}"
        for name, shape in expected.items()
        if name not in found or tuple(found[name].shape) != tuple(shape)
    ]
    extra = {name: value for name, value in found.items() if name not in expected}
    if wrong or extra:
        raise mismatch(wrong, extra)


def mismatch(wrong: Sequence[str], extra: Mapping[str, Tensor]) -> ArgumentError:
    """Return an error that lists wrong and unknown arrays."""
    lines = [*wrong, *(f"no {name}, found {tuple(value.shape)}" for name, value in extra.items())]
    return ArgumentError(f"weights: expected {'; '.join(lines)}")


@torch.no_grad()
def assign(values: Mapping[str, Tensor], module: nn.Module) -> None:
    """Copy tensors into all of a module's parameters by name.

    Raises:
        ArgumentError: As :func:`check`.
    """
    parameters = dict(module.named_parameters())
    check(values, {name: parameter.shape for name, parameter in parameters.items()})
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


class Entry(NamedTuple):
    """The place of one foreign array in our parameters.

    With gates, the array holds the rows of these gates, in this order, of these parameters side by side: a
    kernel over ``[x, h]`` is ``Entry("conv.weight", ("weight_ih", "weight_hh"), "ifog")``. Without gates it
    is the whole of one parameter.
    """

    name: str
    parameters: tuple[str, ...]
    gates: str = ""
    adds: bool = False  # the array is added to that of an earlier entry


def pack(entry: Entry, ours: Mapping[str, Tensor]) -> Tensor:
    """Return the foreign array, built from our parameters."""
    first, *more = entry.parameters
    if not entry.gates:
        return ours[first].clone()
    parts = [_by_gate(name, ours[name])[_rows(name, entry.gates)] for name in entry.parameters]
    whole = torch.cat(parts, dim=2) if more else parts[0]
    if entry.adds:
        whole = torch.zeros_like(whole)
    return whole if _has_gate_axis(first) else whole.flatten(0, 1)


def unpack(entry: Entry, theirs: Tensor, ours: Mapping[str, Tensor]) -> None:
    """Copy a foreign array, in the shape that :func:`pack` returns, into our parameters."""
    first, *more = entry.parameters
    if not entry.gates:
        ours[first].copy_(theirs)
        return
    whole = theirs if _has_gate_axis(first) else theirs.reshape(len(entry.gates), -1, *theirs.shape[1:])
    widths = [ours[name].shape[1] for name in entry.parameters] if more else []
    parts = torch.split(whole, widths, dim=2) if more else [whole]
    for name, part in zip(entry.parameters, parts, strict=True):
        target, rows = _by_gate(name, ours[name]), _rows(name, entry.gates)
        target[rows] = target[rows] + part if entry.adds else part.to(target.dtype)


def effective(cell: Cell) -> dict[str, Tensor]:
    """Return the tensors that a cell computes with, detached, by the names of our parameters.

    Pruning and parametrizations replace a parameter by others, from which the tensor is computed.
    """
    tensors = cell.weights()._asdict()
    return {name: value.detach() for name, value in tensors.items() if value is not None}


def original_class(module: nn.Module) -> type:
    """Return the class of a module before any parametrization, which replaces it by a subclass."""
    return type_before_parametrizations(module)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode temporarily; in training mode, reading a spectral norm changes it."""
    training = [one for one in module.modules() if one.training]
    for one in training:
        one.training = False
    try:
        yield
    finally:
        for one in training:
            one.training = True


def _from_numpy(value: Any) -> Tensor | None:
    """Return the value as a tensor by way of numpy, or None if torch does not have its dtype."""
    try:
        array = np.array(value, order="C")  # torch warns about memory that it may not write to
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        if array.dtype.name == "bfloat16":  # numpy has it from an extension that torch does not know
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(array)
    except (TypeError, ValueError):
        return None


def _by_gate(name: str, parameter: Tensor) -> Tensor:
    """Return a view of a parameter with an axis for the gates before the axis of their channels."""
    return parameter if _has_gate_axis(name) else parameter.view(len(GATES), -1, *parameter.shape[1:])


def _has_gate_axis(name: str) -> bool:
    """Whether a parameter has a separate axis for the gates; only peepholes have."""
    return name == "peephole"


def _rows(name: str, gates: str) -> list[int]:
    """Return the positions of the gates in a parameter."""
    order = "ifo" if name == "peephole" else GATES
    return [order.index(gate) for gate in gates]
