"""Layouts of whole networks, which whoever has the networks adds: the layers know of none."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from stormcell.errors import ArgumentError


class Network(NamedTuple):
    """How a network is read."""

    read: Callable[..., nn.Module]  # of a state_dict, and the keywords
    keywords: Sequence[str] = ()  # their names


NETWORKS: dict[str, Network] = {}
"""By the layout's name. ``stormcell.models`` adds its own as it is imported: a network stands on the floor
above the layers, so they cannot name it, but a registry turns the dependence round."""


def read_network(layout: str, state_dict: Mapping[str, Any], keywords: Mapping[str, Any]) -> nn.Module:
    """Return the network that a state_dict of one of these layouts holds.

    Raises:
        ArgumentError: A keyword is unknown, or the arrays are not those of this layout.
    """
    network = NETWORKS[layout]
    for name in keywords:
        if name not in network.keywords:
            names = ", ".join(network.keywords) or "none"
            raise ArgumentError(f"{name}: {layout!r} has no such keyword, expected {names}")
    return network.read(state_dict, **keywords)
