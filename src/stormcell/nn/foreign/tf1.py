"""Conversion from the recurrent cells of TensorFlow 1: tf.contrib, TensorLayer and tf.compat.v1."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stormcell.errors import ArgumentError
from stormcell.nn import arguments
from stormcell.nn.activations import Activation
from stormcell.nn.conv_lstm import LSTM, ConvLSTM1d, ConvLSTM2d, ConvLSTM3d
from stormcell.nn.foreign import arrays, keras_activations
from stormcell.nn.foreign.arrays import GATES, Entry, pack, unpack
from stormcell.nn.foreign.skip_connection import SkipConvLSTM1d, SkipConvLSTM2d, SkipConvLSTM3d
from stormcell.nn.peephole_lstm import PeepholeLSTM

_LAYERS: dict[int, Callable[..., LSTM]] = {0: PeepholeLSTM, 1: ConvLSTM1d, 2: ConvLSTM2d, 3: ConvLSTM3d}
_SKIPPING: dict[int, Callable[..., LSTM]] = {1: SkipConvLSTM1d, 2: SkipConvLSTM2d, 3: SkipConvLSTM3d}


class _Kind(NamedTuple):
    """The variables of a kind of cell, and its keywords with their defaults."""

    kernel: Entry
    bias: Entry
    axes: Collection[int]  # possible numbers of spatial axes
    shape: str  # of the kernel, for error messages
    keywords: Mapping[str, Any]
    peepholes: tuple[Entry, ...] = ()
    projection: tuple[Entry, ...] = ()


class _Variables(NamedTuple):
    """The given variables, by the endings of their names."""

    scope: str
    names: dict[str, str]
    arrays: dict[str, Tensor]
    extra: dict[str, Tensor]  # unknown variables, by their full names

    def name(self, entry: Entry) -> str:
        """Return the full name of a variable, even if it is missing."""
        return self.names.get(entry.name, self.scope + entry.name)


class _Sizes(NamedTuple):
    """Sizes that the kernel and the projection determine."""

    in_channels: int
    hidden_channels: int
    proj_channels: int
    kernel_size: tuple[int, ...]


def _kind(kernel: str, bias: str, axes: Collection[int], shape: str, **keywords: Any) -> _Kind:
    return _Kind(
        Entry(kernel, ("weight_ih", "weight_hh"), "igfo"),  # TensorFlow's i, j, f, o
        Entry(bias, ("bias",), "igfo"),
        axes,
        shape,
        {"forget_bias": 1.0, **keywords},
    )


_KINDS = {
    "ConvLSTMCell": _kind("kernel", "biases", (1, 2, 3), "*k, C_in + C, 4C", skip_connection=False),
    "BasicConvLSTMCell": _kind("Matrix", "Bias", (2,), "kH, kW, C_in + C, 4C", act=None),
    "LSTMCell": _kind(
        "kernel", "bias", (0,), "C_in + P, 4C", act=None, activation=None, cell_clip=None, proj_clip=None
    )._replace(
        peepholes=tuple(Entry(f"w_{gate}_diag", ("peephole",), gate) for gate in "ifo"),
        projection=(Entry("projection/kernel", ("weight_hr",)),),
    ),
}


def from_tf1(kind: str, variables: Mapping[str, Any], **keywords: Any) -> LSTM:
    """Return a layer that computes the same as a recurrent cell of TensorFlow 1 over a sequence.

    ``"ConvLSTMCell"`` (``tf.contrib.rnn``, and its ``Conv1DLSTMCell``, ``2D`` and ``3D``)
        ``kernel`` ``(*k, C_in + C, 4C)``; optionally ``biases``. Keywords ``forget_bias=1.0`` and
        ``skip_connection=False``. With a skip connection the kernel has ``2 C_in + C`` inputs, and the output
        and the hidden state have ``C + C_in`` channels, because the input is appended to them.
    ``"BasicConvLSTMCell"`` (TensorLayer 1)
        ``Matrix`` ``(kH, kW, C_in + C, 4C)``, ``Bias``. Keywords ``forget_bias=1.0`` and ``act="tanh"``.
    ``"LSTMCell"`` (``tf.compat.v1.nn.rnn_cell``; also its ``BasicLSTMCell``)
        ``kernel`` ``(C_in + P, 4C)``, ``bias``; optionally ``w_i_diag``, ``w_f_diag``, ``w_o_diag``,
        ``(C,)``, and ``projection/kernel`` ``(C, P)``, without which P is C. Keywords ``forget_bias=1.0``,
        ``activation="tanh"`` (or ``act``), ``cell_clip=None`` and ``proj_clip=None``.

    These cells add the forget bias at every step. Here it is part of the bias, which is created if it is
    missing. Their state is ``(c, h)``, ours ``(h, c)``. Our ``lengths`` is the ``sequence_length`` of
    ``dynamic_rnn``.

    Args:
        kind: One of these names.
        variables: Arrays or tensors by name. The names above may follow a common scope and be followed by
            ``:0``.
        **keywords: Settings that the variables do not determine. An activation is a name from TensorFlow or a
            callable from tensor to tensor.

    Returns:
        A ``ConvLSTM1d``, ``2d`` or ``3d`` or a ``PeepholeLSTM`` of one layer, ``batch_first``, in evaluation
        mode and in the arrays' dtype.

    Raises:
        ArgumentError: The kind or a keyword is unknown, or the variables do not fit the kind; the message
            lists every name and shape that differs.

    Examples:
        >>> import numpy as np
        >>> rnn = from_tf1("ConvLSTMCell", {"rnn/conv_lstm_cell/kernel:0": np.zeros((3, 3, 1 + 8, 32))})
        >>> output, (h_n, c_n) = rnn(torch.rand(2, 10, 1, 16, 24, dtype=torch.float64))  # (B, T, C, H, W)
        >>> output.shape, rnn.cells[0].bias.shape
        (torch.Size([2, 10, 8, 16, 24]), torch.Size([32]))
    """
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ArgumentError(f"kind: expected one of {', '.join(map(repr, _KINDS))}, found {kind!r}")
    known = _KINDS[kind]
    given = _keywords(kind, known, keywords)
    found = _sorted(known, variables)
    entries = [known.kernel]
    for some in ((known.bias,), known.peepholes, known.projection):
        if any(entry.name in found.arrays for entry in some):
            entries += some
    sizes = _read(known, found, entries, given.get("skip_connection", False))
    rnn = _make(sizes, entries, given, arrays.dtype(list(found.arrays.values())))
    (cell,) = rnn.cells

    on_meta = dict(cell.named_parameters())
    arrays.check(
        {found.names[ending]: array for ending, array in found.arrays.items()} | found.extra,
        {found.name(entry): _as_theirs(entry, pack(entry, on_meta)).shape for entry in entries},
    )
    rnn.to_empty(device="cpu")
    ours = dict(cell.named_parameters())
    with torch.no_grad():
        if "bias" in ours:
            ours["bias"].zero_()
        for entry in entries:
            unpack(entry, _as_ours(entry, found.arrays[entry.name]), ours)
        if "bias" in ours:
            ours["bias"].view(len(GATES), -1)[GATES.index("f")] += given["forget_bias"]
    return rnn.eval()


def _keywords(kind: str, known: _Kind, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all keywords of a kind, with defaults for those that are not given."""
    for name in given:
        if name not in known.keywords:
            raise ArgumentError(f"{name}: {kind!r} has no such keyword, expected {', '.join(known.keywords)}")
    complete = {**known.keywords, **given}
    forget_bias, skipping = complete["forget_bias"], complete.get("skip_connection", False)
    if not isinstance(forget_bias, Real) or isinstance(forget_bias, bool):
        raise ArgumentError(f"forget_bias: expected a number, found {forget_bias!r}")
    arguments.one_of("skip_connection", skipping, (True, False))
    return complete


def _activation(act: Any = None, activation: Any = None) -> str | Activation:
    """Return the activation from either keyword; TensorFlow reads its values as Keras 2 does."""
    if act is not None and activation is not None:
        raise ArgumentError(
            f"act, activation: expected at most one of them, found {act!r} and {activation!r}"
        )
    value = activation if act is None else act
    if value is None:
        return "tanh"
    return value if callable(value) else keras_activations.read("act", value, keras=2, axis=1)


def _sorted(known: _Kind, variables: Mapping[str, Any]) -> _Variables:
    """Sort variables by the endings of their names.

    Raises:
        ArgumentError: ``variables`` is not a mapping from names, or has the variables of several cells.
    """
    if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
        raise ArgumentError(f"variables: expected arrays by name, found a {type(variables).__name__}")
    entries = (known.kernel, known.bias, *known.peepholes, *known.projection)
    endings = "|".join(re.escape(entry.name) for entry in entries)
    pattern = re.compile(rf"(?P<scope>(?:.*?/)??)(?P<ending>{endings})(?::\d+)?")
    names: dict[str, list[str]] = {}
    scopes, extra = set(), {}
    for name, value in variables.items():
        if match := pattern.fullmatch(name):
            scopes.add(match["scope"])
            names.setdefault(match["ending"], []).append(name)
        else:
            extra[name] = torch.empty(getattr(value, "shape", ()), device="meta")
    if len(scopes) > 1 or any(len(several) > 1 for several in names.values()):
        listed = ", ".join(name for several in names.values() for name in several)
        raise arrays.mismatch([f"the variables of one cell, found {listed}"], extra)
    one = {ending: name for ending, (name,) in names.items()}
    own = {ending: arrays.tensor(variables[name], name) for ending, name in one.items()}
    return _Variables(scopes.pop() if scopes else "", one, own, extra)


def _read(known: _Kind, found: _Variables, entries: Sequence[Entry], skipping: bool) -> _Sizes:
    """Return the sizes that the kernel determines.

    Raises:
        ArgumentError: The kernel is missing or has an impossible shape.
    """
    kernel = found.arrays.get(known.kernel.name)
    if kernel is not None and kernel.dim() - 2 in known.axes:
        *size, inputs, gates = kernel.shape
        hidden, rest = divmod(gates, 4)
        projections = [found.arrays[e.name] for e in known.projection if e.name in found.arrays]
        projected = projections[0].shape[-1] if projections and projections[0].dim() else hidden
        in_channels, odd = divmod(inputs - projected, 2 if skipping else 1)
        if not rest and not odd and hidden and projected and in_channels > 0:
            return _Sizes(in_channels, hidden, projected, tuple(size))
    shape = known.shape.replace("C_in", "2 C_in") if skipping else known.shape
    shapes = {known.kernel: f" ({shape})"}
    raise arrays.mismatch(
        [
            f"{found.name(entry)}{shapes.get(entry, '')}, found "
            f"{tuple(found.arrays[entry.name].shape) if entry.name in found.arrays else 'none'}"
            for entry in entries
            if entry.name not in found.arrays or entry is known.kernel
        ],
        found.extra,
    )


def _make(sizes: _Sizes, entries: Collection[Entry], given: Mapping[str, Any], dtype: torch.dtype) -> LSTM:
    """Return a layer on the meta device, where no initial weights are drawn."""
    parameters = {name for entry in entries for name in entry.parameters}
    axes = len(sizes.kernel_size)
    projected = "weight_hr" in parameters
    return (_SKIPPING if given.get("skip_connection") else _LAYERS)[axes](
        sizes.in_channels,
        sizes.hidden_channels,
        *([sizes.kernel_size] if axes else []),
        bias="bias" in parameters or given["forget_bias"] != 0,
        batch_first=True,
        peephole="channel" if "peephole" in parameters else None,
        activation=_activation(given.get("act"), given.get("activation")),
        cell_clip=given.get("cell_clip"),
        proj_channels=sizes.proj_channels if projected else None,
        proj_clip=given.get("proj_clip")
        if projected
        else None,  # as in TensorFlow, which clips projections only
        device="meta",
        dtype=dtype,
    )


def _as_ours(entry: Entry, array: Tensor) -> Tensor:
    """Move the last axes of a TensorFlow array, input and output channels, to the front and swap them."""
    if "peephole" in entry.parameters:
        return array.unsqueeze(0)
    return array.movedim((-1, -2), (0, 1)) if array.dim() > 1 else array


def _as_theirs(entry: Entry, array: Tensor) -> Tensor:
    """Undo :func:`_as_ours`."""
    if "peephole" in entry.parameters:
        return array.squeeze(0)
    return array.movedim((0, 1), (-1, -2)) if array.dim() > 1 else array
