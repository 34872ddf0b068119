"""What ``layer.explain`` returns: which back end computes each layer, and why."""

from typing import NamedTuple

from stormcell.nn.ops.backends import Explanation


class LayerExplanation(NamedTuple):
    """How one layer, in one direction, computes a kind of input.

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
