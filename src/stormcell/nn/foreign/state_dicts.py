"""State dicts of foreign stacks, taken apart into layers."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from stormcell.errors import ArgumentError
from stormcell.nn.foreign.arrays import mismatch

Sizes = dict[str, int]  # by the letter that they have in an array's axes


class Layer(NamedTuple):
    """What a state_dict says of one layer."""

    prefix: str  # what stands before all its names: "module.cell_list.0."
    values: dict[str, Any]  # by the name within the layer


def take_apart(
    state_dict: Mapping[str, Any], names: Iterable[str], stack: str, dead: str
) -> tuple[list[Layer], list[str]]:
    """Sort what a state_dict holds into layers.

    Args:
        state_dict: All its keys may begin alike.
        names: Those of the arrays within a layer.
        stack: What stands before them in a stack, the layer's number being ``{}``; empty where there are
            only single layers.
        dead: A regular expression for what a layer, or the whole, holds and never uses.

    Returns:
        The layers, at least one, and the keys that are none of theirs. A layer's number that is left out
        is an empty layer.

    Raises:
        ArgumentError: It is no mapping from names.
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(key, str) for key in state_dict):
        raise ArgumentError(f"state_dict: expected arrays by name, found a {type(state_dict).__name__}")
    before, _, after = map(re.escape, stack.partition("{}"))
    number = f"(?:{before}(?P<number>0|[1-9][0-9]*){after})?" if stack else "(?P<number>(?!))?"
    pattern = re.compile(
        rf"(?P<prefix>(?:[^.]+\.)*?){number}(?:(?P<name>{'|'.join(map(re.escape, names))})|{dead})"
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
    """Return what the shapes of some arrays tell of each layer's sizes.

    Args:
        layers: Their arrays.
        names: What each layer should hold.
        axes: The axes of those that tell sizes: ``{"conv.weight": "4C, C_in + C, kH, kW"}``. Those whose
            names begin with a ``k`` are odd: all these systems put as much padding on either side of an
            image, which keeps its size with odd kernels only.
        extra: What no layer should hold, for the message.

    Raises:
        ArgumentError: One that tells sizes is missing, or has a shape that it cannot have; the message lists
            whatever is missing or too much.
    """
    sizes: list[Sizes] = []
    wrong, readable = [], True
    for layer in layers:
        told: Sizes = {}
        for name in names:
            known = axes.get(name)
            shape = tuple(layer.values[name].shape) if name in layer.values else None
            if shape is None or (known and not _read(known, shape, told)):
                wrong.append(f"{layer.prefix}{name}{f' ({known})' if known else ''}, found {shape or 'none'}")
                readable = readable and not known
        sizes.append(told)
    if not readable:
        raise mismatch(wrong, extra)
    return sizes


def _read(axes: str, shape: Sequence[int], told: Sizes) -> bool:
    """Read sizes off a shape and add them to those told before; return whether the axes can have it."""
    named = re.findall(r"(\d*)(\w*)( \+ C)?(?:, |$)", axes)[: axes.count(",") + 1]
    if len(named) != len(shape):
        return False
    for (factor, name, plus), n in zip(named, shape, strict=True):
        size, rest = divmod(n - (told["C"] if plus else 0), int(factor or 1))
        if size < 1 or rest or (name.startswith("k") and size % 2 == 0):
            return False
        told.setdefault(name, size)
    return True
