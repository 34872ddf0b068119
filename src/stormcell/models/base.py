"""The base class of all networks: each can be rebuilt from its constructor's arguments."""

import functools
import inspect
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, SupportsIndex

from torch import nn

from stormcell.nn import ConvLSTM2d

if TYPE_CHECKING:
    from stormcell.models.model_file import Card


class Network(nn.Module):
    """A network that records its constructor's arguments, so that a model file can describe it.

    A subclass is an ordinary module. If it has an attribute with the name of an argument, the attribute is
    recorded instead of the argument: JSON has no tuples, so a kernel size must be recorded for every layer.
    """

    _given: Mapping[str, Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        construct = cls.__init__

        @functools.wraps(construct)
        def record(self: "Network", *args: Any, **keywords: Any) -> None:
            construct(self, *args, **keywords)
            self._given = _by_name(inspect.signature(construct), self, args, keywords)

        cls.__init__ = record  # type: ignore[assignment]

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments that build the same network, in JSON's types."""
        return {name: _plain(vars(self).get(name, value)) for name, value in self._given.items()}

    @classmethod
    def from_card(cls, card: "Card") -> Self:
        """Return the network that a card describes, with initial weights.

        Raises:
            ArgumentError: An argument is missing, unknown or has a value it cannot have.
        """
        return cls(**card.arguments)

    def record_layers(self, rnn: ConvLSTM2d) -> None:
        """Record channels and kernel sizes for every layer."""
        self.hidden_channels = rnn.hidden_channels
        self.kernel_size = rnn.kernel_size
        self.recurrent_kernel_size = rnn.recurrent_kernel_size

    def lay_out(self) -> None:
        """Store the parameters in the memory layout in which the network runs fastest."""


def _by_name(
    signature: inspect.Signature, network: Network, args: tuple[Any, ...], keywords: dict[str, Any]
) -> dict[str, Any]:
    """Return all arguments of a constructor by name, defaults included."""
    bound = signature.bind(network, *args, **keywords)
    bound.apply_defaults()
    found: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            found |= value
        else:
            found[name] = value
    return found


def _plain(value: Any) -> Any:
    """Return a value in JSON's types."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        return operator.index(value)
    return value
