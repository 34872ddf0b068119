"""State dicts of foreign stacks: their layers, and the sizes that the shapes determine."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from stormcell.errors import ArgumentError
from stormcell.nn.foreign.arrays import mismatch

Sizes = dict[str, int]  # by their letters in the axes of an array


class Layer(NamedTuple):
    """The arrays of one layer."""

    prefix: str  # prefix of all names, such as "module.cell_list.0."
    values: dict[str, Any]  # by their names after the prefix


def split_layers(
    state_dict: Mapping[str, Any], names: Iterable[str], stack: str, unused: str
) -> tuple[list[Layer], list[str]]:
    """Split a state dict into layers.

    Args:
        state_dict: Arrays by name; all names may have a common prefix.
        names: Names of the arrays within a layer.
        stack: Prefix of a layer in a stack, with ``{}`` for the layer's number; empty if there are only
            single layers.
        unused: Regular expression of names that the system stores and never uses.

    Returns:
        The layers, at least one, and the names that belong to no layer. A missing number is a layer without
        arrays.

    Raises:
        ArgumentError: ``state_dict`` is not a mapping from names.
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(key, str) for key in state_dict):
        raise ArgumentError(f"state_dict: expected arrays by name, found a {type(state_dict).__name__}")
    before, _, after = map(re.escape, stack.partition("{}"))
    number = f"(?:{before}(?P<number>0|[1-9][0-9]*){after})?" if stack else "(?P<number>(?!))?"
    pattern = re.compile(
        rf"(?P<prefix>(?:[^.]+\.)*?){number}(?:(?P<name>{'|'.join(map(re.escape, names))})|{unused})"
    )
    matches = {key: pattern.fullmatch(key) for key in state_dict}
    prefixes = Counter(match["prefix"] for match in matches.values() if match)
    prefix = max(prefixes, key=prefixes.__getitem__, default="")

    values: dict[int | None, dict[str, Any]] = {}
    unknown = []
    numbered = any(match and match["number"] for match in matches.values())
    for key, match in matches.items():
        if match is None or match["prefix"] != prefix:
            unknown.append(key)
        elif match["name"]:
            layer = int(match["number"]) if match["number"] else None
            if numbered == (layer is None) or (layer or 0) >= len(state_dict):
                unknown.append(key)
            else:
                values.setdefault(layer, {})[match["name"]] = state_dict[key]
    if not numbered and values:
        return [Layer(prefix, values[None])], unknown
    last = max((layer for layer in values if layer is not None), default=0)
    return [Layer(prefix + stack.format(n), values.get(n, {})) for n in range(last + 1)], unknown


def read_sizes(
    layers: Sequence[Layer], names: Sequence[str], axes: Mapping[str, str], extra: Mapping[str, Tensor]
) -> list[Sizes]:
    """Return the sizes of each layer, read from the shapes of some of its arrays.

    Args:
        layers: The layers.
        names: Names of the arrays that each layer should have.
        axes: Axes of the arrays that determine sizes: ``{"conv.weight": "4C, C_in + C, kH, kW"}``. Sizes
            whose letters begin with ``k`` are odd: all these systems pad an image equally on both sides,
            which preserves its size only with odd kernels.
        extra: Arrays that belong to no layer, for the error message.

    Raises:
        ArgumentError: An array that determines sizes is missing or has an impossible shape; the message lists
            all missing and unknown arrays.
    """
    sizes: list[Sizes] = []
    wrong, readable = [], True
    for layer in layers:
        known_sizes: Sizes = {}
        for name in names:
            known = axes.get(name)
            shape = tuple(layer.values[name].shape) if name in layer.values else None
            if shape is None or (known and not _read(known, shape, known_sizes)):
                wrong.append(f"{layer.prefix}{name}{f' ({known})' if known else ''}, found {shape or 'none'}")
                readable = readable and not known
        sizes.append(known_sizes)
    if not readable:
        raise mismatch(wrong, extra)
    return sizes


def _read(axes: str, shape: Sequence[int], known: Sizes) -> bool:
    """Add the sizes in a shape to the known ones; return whether the axes can have this shape."""
    named = re.findall(r"(\d*)(\w*)( \+ C)?(?:, |$)", axes)[: axes.count(",") + 1]
    if len(named) != len(shape):
        return False
    for (factor, name, plus), n in zip(named, shape, strict=True):
        size, rest = divmod(n - (known["C"] if plus else 0), int(factor or 1))
        if size < 1 or rest or (name.startswith("k") and size % 2 == 0):
            return False
        known.setdefault(name, size)
    return True
