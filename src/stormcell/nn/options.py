"""The options of the layers: name, type, default and check of each, stated once.

Cells and layers both take these TypedDicts as ``**options``. A layer also takes a list, with one value per
layer; a cell takes a single value. :func:`read_options` checks the values and fills in the defaults, and
:func:`full_signature` writes the options into a cell's signature, where ``help()`` shows them.
"""

import functools
import inspect
import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, NamedTuple, TypedDict, get_args, get_origin, get_type_hints

import torch

from stormcell.nn import arguments
from stormcell.nn.activations import Activation, activation
from stormcell.nn.arguments import PerAxis, PerLayer
from stormcell.nn.ops.backends import BACKENDS
from stormcell.nn.ops.convolution import PADDING_MODES


class Option(NamedTuple):
    """The default of an option, and the function which checks a value.

    The function gets the option's name, the value, and the number of spatial axes, and returns what to store.
    """

    default: Any
    check: Callable[[str, Any, int], Any]


def _one_of(*choices: Any) -> Callable[[str, Any, int], Any]:
    def check(name: str, value: Any, _: int) -> Any:
        arguments.one_of(name, value, choices)
        return value

    return check


def _ignoring_axes(check: Callable[[str, Any], Any]) -> Callable[[str, Any, int], Any]:
    return lambda name, value, _: check(name, value)


def _or_none(check: Callable[[str, Any, int], Any]) -> Callable[[str, Any, int], Any]:
    return lambda name, value, axes: None if value is None else check(name, value, axes)


def _probabilities(*states: str) -> Callable[[str, Any, int], Any]:
    return lambda name, value, _: arguments.probabilities(name, value, states)


def _padding(name: str, value: Any, axes: int) -> str | tuple[int, ...]:
    if isinstance(value, str):
        arguments.one_of(name, value, ("same", "valid"))
        return value
    return arguments.per_axis(name, value, axes, least=0)


def _activation(name: str, value: Any) -> str | Activation:
    activation(name, value)
    given: str | Activation = value
    return given


def _lstm_norm(name: str, value: Any, axes: int) -> str | None:
    per_pixel = ("layer-pixel",) if axes else ()
    arguments.one_of(name, value, ("layer", "group", *per_pixel, None))
    norm: str | None = value
    return norm


def _peephole(name: str, value: Any, axes: int) -> str | None:
    per_pixel = ("pixel",) if axes else ()
    arguments.one_of(name, value, ("channel", *per_pixel, None))
    peephole: str | None = value
    return peephole


_ACTIVATION = _ignoring_axes(_activation)
_PROBABILITY = _ignoring_axes(arguments.probability)
_LIMIT = _ignoring_axes(arguments.limit)
_COUNT = _ignoring_axes(arguments.count)
_UNCHECKED = _ignoring_axes(lambda _, value: value)  # PyTorch checks it


class _Options(TypedDict, total=False):
    """Options of every cell."""

    recurrent_activation: Annotated[PerLayer[str | Activation], Option("sigmoid", _ACTIVATION)]
    backend: Annotated[str, Option("auto", _one_of(*BACKENDS))]
    device: Annotated[torch.device | str | None, Option(None, _UNCHECKED)]
    dtype: Annotated[torch.dtype | None, Option(None, _UNCHECKED)]


class _TanhOptions(_Options, total=False):
    """Options of ConvLSTM, ConvGRU and PeepholeLSTM."""

    activation: Annotated[PerLayer[str | Activation], Option("tanh", _ACTIVATION)]
    input_dropout: Annotated[PerLayer[float], Option(0.0, _PROBABILITY)]
    recurrent_dropout: Annotated[PerLayer[float], Option(0.0, _PROBABILITY)]


class _ConvOptions(_TanhOptions, total=False):
    """Options of the convolutions of ConvLSTM and ConvGRU."""

    stride: Annotated[PerLayer[PerAxis], Option(1, arguments.per_axis)]
    padding: Annotated[PerLayer[PerAxis | str], Option("same", _padding)]
    dilation: Annotated[PerLayer[PerAxis], Option(1, arguments.per_axis)]
    padding_mode: Annotated[PerLayer[str], Option("zeros", _one_of(*PADDING_MODES))]
    recurrent_kernel_size: Annotated[PerLayer[PerAxis | None], Option(None, _or_none(arguments.per_axis))]
    recurrent_padding_mode: Annotated[PerLayer[str], Option("zeros", _one_of(*PADDING_MODES))]


class LSTMOptions(_TanhOptions, total=False):
    """Options of PeepholeLSTM, and those of ConvLSTM which do not concern space."""

    peephole: Annotated[PerLayer[str | None], Option("channel", _peephole)]
    zoneout: Annotated[PerLayer[float | tuple[float, float]], Option(0.0, _probabilities("h", "c"))]
    norm: Annotated[PerLayer[str | None], Option(None, _lstm_norm)]
    cell_clip: Annotated[PerLayer[float | None], Option(None, _LIMIT)]
    proj_channels: Annotated[PerLayer[int | None], Option(None, _or_none(_COUNT))]
    proj_clip: Annotated[PerLayer[float | None], Option(None, _LIMIT)]
    forget_bias: Annotated[PerLayer[float], Option(1.0, _ignoring_axes(arguments.number))]


class ConvLSTMOptions(LSTMOptions, _ConvOptions, total=False):
    """Options of ConvLSTM."""

    spatial_size: Annotated[PerAxis | None, Option(None, _or_none(arguments.per_axis))]


class ConvGRUOptions(_ConvOptions, total=False):
    """Options of ConvGRU."""

    reset: Annotated[PerLayer[str], Option("after", _one_of("after", "before"))]
    zoneout: Annotated[PerLayer[float], Option(0.0, _probabilities("h"))]
    norm: Annotated[PerLayer[str | None], Option(None, _one_of("layer", "group", None))]


class TrajGRUOptions(_Options, total=False):
    """Options of TrajGRU."""

    num_flows: Annotated[PerLayer[int], Option(13, _COUNT)]
    flow_channels: Annotated[PerLayer[int], Option(32, _COUNT)]
    flow_kernel_size: Annotated[PerLayer[PerAxis], Option(5, arguments.per_axis)]
    activation: Annotated[PerLayer[str | Activation], Option("leaky_relu", _ACTIVATION)]
    zoneout: Annotated[PerLayer[float], Option(0.0, _probabilities("h"))]
    align_corners: Annotated[bool, Option(True, _one_of(True, False))]


@functools.cache
def options_of(typed: type) -> dict[str, tuple[Any, Option]]:
    """Return type, and default and check, of each option of a TypedDict."""
    hints = get_type_hints(typed, include_extras=True)
    return {name: (hint.__origin__, hint.__metadata__[0]) for name, hint in hints.items()}


def read_options(owner: type, typed: type, given: Mapping[str, Any], axes: int) -> dict[str, Any]:
    """Return the checked value of every option, given some of them.

    Raises:
        TypeError: ``given`` has an unknown name, as if it were not in the signature of ``owner``.
        ArgumentError: A value is not allowed.
    """
    options = options_of(typed)
    check_names(owner, given, options)
    return {
        name: option.check(name, given.get(name, option.default), axes)
        for name, (_, option) in options.items()
    }


def check_names(owner: type, given: Iterable[str], known: Collection[str]) -> None:
    """Check that every given name is known.

    Raises:
        TypeError: One is not, with Python's own message.
    """
    for name in given:
        if name not in known:
            raise TypeError(f"{owner.__name__}() got an unexpected keyword argument {name!r}")


def full_signature(cell: type, typed: type) -> inspect.Signature:
    """Return the signature of a cell with its options instead of ``**options``."""
    _, *parameters = inspect.signature(cell.__init__).parameters.values()  # type: ignore[misc]
    if not parameters or parameters[-1].kind is not inspect.Parameter.VAR_KEYWORD:
        return inspect.Signature(parameters)
    options = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=_without_list(hint)
        )
        for name, (hint, option) in options_of(typed).items()
    ]
    return inspect.Signature([*parameters[:-1], *options])


def _without_list(hint: Any) -> Any:
    """Return the type of an option of one layer, given that of a stack: ``T`` for ``T | list[T]``."""
    members = [member for member in get_args(hint) if get_origin(member) is not list]
    return functools.reduce(operator.or_, members) if members else hint
