"""Foreign arrays on their way in and out: numpy or torch, strictly matched, never sharing memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stormcell.errors import ArgumentError

GATES = "ifgo"  # the order in which our parameters stack them


def tensor(value: Any, name: str = "array") -> Tensor:
    """Return a copy on the CPU, in the same dtype, of a numpy array, a tensor or what numpy takes for one.

    Args:
        value: Of any memory layout and byte order, writable or not.
        name: What the message calls it.

    Raises:
        ArgumentError: It does not hold floating-point numbers that torch has.
    """
    own = value if isinstance(value, Tensor) else _of_numpy(value)
    if own is None or not own.is_floating_point():
        found = value.dtype if hasattr(value, "dtype") else f"a {type(value).__name__}"
        raise ArgumentError(f"{name}: expected an array of floats, found {found}")
    return own.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def array(value: Tensor) -> np.ndarray:
    """Return a copy of a tensor as a numpy array, C-contiguous and in the same dtype.

    Raises:
        ArgumentError: numpy does not have the dtype.
    """
    if value.dtype == torch.bfloat16:
        raise ArgumentError("dtype: expected one that numpy has, found bfloat16; convert the module first")
    return np.array(value.detach().cpu().numpy(), order="C")


def dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    """Return the dtype that holds all of them exactly."""
    common = tensors[0].dtype
    for one in tensors[1:]:
        common = torch.promote_types(common, one.dtype)
    return common


def check(found: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]]) -> None:
    """Check that there are exactly the expected names, each of the expected shape.

    Raises:
        ArgumentError: It is not so; the one message lists every difference.
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
    """Return the error that lists what is wrong, and what should not be there at all."""
    lines = [*wrong, *(f"no {name}, found {tuple(value.shape)}" for name, value in extra.items())]
    return ArgumentError(f"weights: expected {'; '.join(lines)}")


@torch.no_grad()
def assign(values: Mapping[str, Tensor], module: nn.Module) -> None:
    """Copy tensors into a module's parameters by name, all of them and no others.

    Raises:
        ArgumentError: One is missing, unknown or of another shape; the one message lists them all.
    """
    parameters = dict(module.named_parameters())
    check(values, {name: parameter.shape for name, parameter in parameters.items()})
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def _of_numpy(value: Any) -> Tensor | None:
    """Return what numpy makes of something as a tensor, or None where torch has not its dtype."""
    try:
        array = np.array(value, order="C")  # torch warns of memory that it may not write to
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        if array.dtype.name == "bfloat16":  # numpy has it from an extension that torch does not know
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(array)
    except (TypeError, ValueError):
        return None
