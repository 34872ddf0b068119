"""The result of ``layer.explain``: which back end computes each layer, and why."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from stormcell.nn.cells import Cell
from stormcell.nn.ops.backends import Explanation


class LayerExplanation(NamedTuple):
    """The computation of one layer, in one direction, for a kind of input.

    Attributes:
        layer: The number of the layer, from 0.
        direction: ``"forward"`` or ``"backward"``.
        how: The back end, the reason if it is not the fused one, and what computes each part of a step.
    """

    layer: int
    direction: str
    how: Explanation


class LayerExplanations(tuple[LayerExplanation, ...]):
    """The explanations of all layers, lowest first, with a readable ``str()``."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return one paragraph per layer."""
        return "\n".join(f"layer {layer}, {direction}: {how}" for layer, direction, how in self)

    __repr__ = __str__


def explain_calls(cells: Sequence[Cell], directions: int, run: Callable[[], Any]) -> LayerExplanations:
    """Explain the calls of these cells, in order, while they are run; random numbers are not used up."""
    explanations: list[LayerExplanation] = []

    def note(cell: Cell, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        layer, direction = divmod(len(explanations), directions)
        how = cell.explain(*args, *kwargs["_sequence"])
        explanations.append(LayerExplanation(layer, ("forward", "backward")[direction], how))

    handles = [cell.register_forward_pre_hook(note, with_kwargs=True) for cell in cells]
    device = cells[0].weight_hh.device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            run()
    finally:
        for handle in handles:
            handle.remove()
    return LayerExplanations(explanations)
