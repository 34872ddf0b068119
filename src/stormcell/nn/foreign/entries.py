"""Tables of which of our numbers a foreign array holds, each read in both directions."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from stormcell.nn.foreign.arrays import GATES


class Entry(NamedTuple):
    """One array of a foreign layer.

    It holds the rows of these gates, in this order, of these parameters of ours, which lie side by side:
    a kernel over ``[x, h]`` is ``Entry("conv.weight", ("weight_ih", "weight_hh"), "ifog")``. Without gates
    it is the one parameter as it is.
    """

    name: str
    parameters: tuple[str, ...]
    gates: str = ""
    adds: bool = False  # it is added to what an entry before it says


def pack(entry: Entry, ours: Mapping[str, Tensor]) -> Tensor:
    """Return the foreign array, made of our parameters."""
    first, *more = entry.parameters
    if not entry.gates:
        return ours[first].clone()
    parts = [_by_gate(name, ours[name])[_rows(name, entry.gates)] for name in entry.parameters]
    whole = torch.cat(parts, dim=2) if more else parts[0]
    if entry.adds:
        whole = torch.zeros_like(whole)
    return whole if _unstacked(first) else whole.flatten(0, 1)


def unpack(entry: Entry, theirs: Tensor, ours: Mapping[str, Tensor]) -> None:
    """Copy the foreign array, of the shape that :func:`pack` gives it, to its places in our parameters."""
    first, *more = entry.parameters
    if not entry.gates:
        ours[first].copy_(theirs)
        return
    whole = theirs if _unstacked(first) else theirs.reshape(len(entry.gates), -1, *theirs.shape[1:])
    widths = [ours[name].shape[1] for name in entry.parameters] if more else []
    parts = torch.split(whole, widths, dim=2) if more else [whole]
    for name, part in zip(entry.parameters, parts, strict=True):
        target, rows = _by_gate(name, ours[name]), _rows(name, entry.gates)
        target[rows] = target[rows] + part if entry.adds else part.to(target.dtype)


def _by_gate(name: str, parameter: Tensor) -> Tensor:
    """Return a view of a parameter with an axis for the gates before that for their channels."""
    return parameter if _unstacked(name) else parameter.view(len(GATES), -1, *parameter.shape[1:])


def _unstacked(name: str) -> bool:
    """Whether a parameter has an axis for the gates anyway: peepholes have, everything else is stacked."""
    return name == "peephole"


def _rows(name: str, gates: str) -> list[int]:
    """Return which of a parameter's gates these are."""
    order = "ifo" if name == "peephole" else GATES
    return [order.index(gate) for gate in gates]
