"""Conversion from and to the ConvLSTMs and TrajGRUs of PyTorch repositories."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.nn.activations import ACTIVATIONS
from stormcell.nn.cells import Cell
from stormcell.nn.conv_lstm_cell import ConvLSTMCell2d
from stormcell.nn.foreign import arrays
from stormcell.nn.foreign.arrays import Entry, effective, evaluating, original_class, pack, unpack
from stormcell.nn.foreign.state_dicts import Layer, read_sizes, split_layers
from stormcell.nn.foreign.torch_tables import LAYOUTS, WeightLayout, one_convolution
from stormcell.nn.foreign.winsolider import InPlaceReLUConvLSTMCell2d
from stormcell.nn.recurrent import Recurrent

NETWORKS = ("hzzone-network", "openstl-network")  # layouts of whole networks


def from_torch(layout: str, state_dict: Mapping[str, Any], **keywords: Any) -> nn.Module:
    """Return a layer that computes the same as a layer of one of the PyTorch repositories.

    ``"ndrplz"`` (ndrplz/ConvLSTM_pytorch)
        ``cell_list.{i}.conv.weight``; optionally ``cell_list.{i}.conv.bias``. The keyword ``gate_order``
        is the order of the gates: ``"ifog"``, but ``"fiog"`` in some cells that derive from it.
    ``"automan000"`` (automan000/Convolutional_LSTM_PyTorch)
        ``cell{i}.Wx{i,f,c,o}.weight``, ``.bias``, ``cell{i}.Wh{i,f,c,o}.weight``; optionally
        ``cell{i}.Wc{i,f,o}``. Their module reads the same frame at every step:
        ``frame.unsqueeze(1).expand(-1, steps, -1, -1, -1)``.
    ``"winsolider"`` (Winsolider/ConvLSTM)
        The same. With the keyword ``nonlinearity="relu"`` a ReLU replaces both hyperbolic tangents, and
        overwrites the cell state after the output gate has read it.
    ``"hzzone"`` (the ConvLSTM of Hzzone/Precipitation-Nowcasting)
        ``_conv.weight``, ``_conv.bias``; optionally ``Wc{i,f,o}``.
    ``"hzzone-trajgru"`` (its TrajGRU)
        ``i2h``, ``i2f_conv1``, ``h2f_conv1``, ``flows_conv`` and ``ret``, each with ``.weight`` and
        ``.bias``. The keyword ``align_corners`` is True (the default) if the model was run on PyTorch up to
        1.2, and False for later versions.
    ``"openstl"`` (chengtan9907/OpenSTL)
        ``cell_list.{i}.conv_x.0.weight``, ``cell_list.{i}.conv_h.0.weight``; optionally its LayerNorm,
        ``conv_x.1.*`` and ``conv_h.1.*``. ``conv_o.*`` and ``conv_last.*``, which are outside the recurrence,
        are ignored.

    :func:`stormcell.models.from_checkpoint` reads whole networks.

    The arrays of a single cell, without a layer's number, become a stack of one layer. All names may have a
    common prefix, such as the ``module.`` of :class:`torch.nn.DataParallel`.

    Args:
        layout: One of these names.
        state_dict: Arrays or tensors by name.
        **keywords: Settings that the arrays do not determine.

    Returns:
        A ``ConvLSTM2d`` or ``TrajGRU2d``, ``batch_first``, in evaluation mode and in the arrays' dtype.

    Raises:
        ArgumentError: The layout or a keyword is unknown, or the arrays do not fit the layout; the message
            lists every name and shape that differs.

    Examples:
        >>> import torch
        >>> rnn = from_torch("ndrplz", {"cell_list.0.conv.weight": torch.rand(32, 3 + 8, 3, 3)})
        >>> output, (h_n, c_n) = rnn(torch.rand(2, 10, 3, 16, 24))  # (B, T, C, H, W)
        >>> output.shape
        torch.Size([2, 10, 8, 16, 24])
    """
    known = _known(layout)
    given = _keywords(layout, known, keywords)
    if "gate_order" in given:
        known = known._replace(entries=one_convolution("conv", given.pop("gate_order")))
    taken, unknown = split_layers(state_dict, [e.name for e in known.entries], known.stack, known.unused)
    layers = [
        Layer(prefix, {name: arrays.tensor(value, prefix + name) for name, value in values.items()})
        for prefix, values in taken
    ]
    found = {layer.prefix + name: value for layer in layers for name, value in layer.values.items()}
    extra = {key: torch.empty(getattr(state_dict[key], "shape", ()), device="meta") for key in unknown}

    entries = _expected_entries(known, layers)
    sizes = read_sizes(layers, [entry.name for entry in entries], known.axes, extra)
    parameters = {name for entry in entries for name in entry.parameters}
    # On the meta device no initial weights are drawn, so that the caller's random generator is unchanged.
    module = known.make(sizes, parameters, device="meta", dtype=arrays.dtype(list(found.values())), **given)
    expected: dict[str, Sequence[int]] = {}
    for layer, cell in zip(layers, _cells(module), strict=True):
        ours = dict(cell.named_parameters())
        expected |= {layer.prefix + entry.name: pack(entry, ours).shape for entry in entries}
    arrays.check(found | extra, expected)

    module.to_empty(device="cpu")
    with torch.no_grad():
        for layer, cell in zip(layers, _cells(module), strict=True):
            ours = dict(cell.named_parameters())
            for entry in entries:
                unpack(entry, layer.values[entry.name], ours)
    return module.eval()


def to_torch(layout: str, module: Recurrent | Cell) -> dict[str, Tensor]:
    """Return a layer's weights with the names and layout of one of the PyTorch repositories.

    This is the exact inverse of :func:`from_torch`. OpenSTL's arrays outside the recurrence are missing, so
    load with ``strict=False``. The weights of a pruned or parametrized layer are those that it computes with
    in evaluation mode.

    Args:
        layout: One of the layouts of :func:`from_torch`; ``"ndrplz"`` is written with its gate order
            ``"ifog"``.
        module: A layer, or a cell for the arrays of a single cell.

    Returns:
        Copies on the CPU, by name.

    Raises:
        ArgumentError: The layout is unknown, or cannot represent a setting that changes the module's output
            in evaluation mode; the message names all such settings.

    Examples:
        >>> from stormcell.nn import ConvLSTM2d
        >>> rnn = ConvLSTM2d(3, 8, 3, peephole=None)
        >>> {name: tuple(array.shape) for name, array in to_torch("ndrplz", rnn).items()}
        {'cell_list.0.conv.weight': (32, 11, 3, 3), 'cell_list.0.conv.bias': (32,)}
    """
    known = _known(layout)
    found = original_class(_cells(module)[0]) if isinstance(module, Recurrent | Cell) else type(module)
    if found not in known.cells:
        expected = known.cells[0].__name__
        raise ArgumentError(f"module: layout {layout!r} requires a {expected}, found a {found.__name__}")
    with evaluating(module):
        if misfits := dict(_misfits(known, module)):
            listed = "; ".join(f"{name}: {difference}" for name, difference in misfits.items())
            raise ArgumentError(f"module: layout {layout!r} requires {listed}")
        layers = [effective(cell) for cell in _cells(module)]
    state_dict = {}
    for number, layer in enumerate(layers):
        ours = {name: value.cpu() for name, value in layer.items()}
        prefix = "" if isinstance(module, Cell) else known.stack.format(number)
        for entry in known.entries:
            missing = set(entry.parameters) - ours.keys()
            if missing == set(entry.parameters) and missing.issubset(known.optional):
                continue
            if missing:
                listed = ", ".join(sorted(missing))
                raise ArgumentError(f"module: layout {layout!r} requires {listed}, found none")
            state_dict[prefix + entry.name] = pack(entry, ours)
    return state_dict


def _known(layout: str) -> WeightLayout:
    if isinstance(layout, str) and layout in LAYOUTS:
        return LAYOUTS[layout]
    names = ", ".join(map(repr, LAYOUTS))
    hint = "; stormcell.models.from_checkpoint reads it" if layout in NETWORKS else ""
    raise ArgumentError(f"layout: expected one of {names}, found {layout!r}{hint}")


def _keywords(layout: str, known: WeightLayout, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all keywords of a layout, with defaults for those that are not given."""
    for name, value in given.items():
        if name not in known.keywords:
            names = ", ".join(known.keywords) or "none"
            raise ArgumentError(f"{name}: {layout!r} has no such keyword, expected {names}")
        if value not in known.keywords[name]:
            choices = ", ".join(map(repr, known.keywords[name]))
            raise ArgumentError(f"{name}: expected one of {choices}, found {value!r}")
    return {name: given.get(name, choices[0]) for name, choices in known.keywords.items()}


def _expected_entries(known: WeightLayout, layers: Sequence[Layer]) -> list[Entry]:
    """Return the entries that each layer should have: optional ones if any layer has one of them."""
    optional = [entry for entry in known.entries if set(known.optional).intersection(entry.parameters)]
    if any(entry.name in layer.values for entry in optional for layer in layers):
        optional = []
    return [entry for entry in known.entries if entry not in optional]


def _misfits(known: WeightLayout, module: Recurrent | Cell) -> Iterator[tuple[str, str]]:
    """Yield the arguments that a layout cannot represent, with the possible values and the value found."""
    cells = _cells(module)
    if isinstance(module, Recurrent) and module.bidirectional:
        yield "bidirectional", "False, found True"
    if len(cells) > 1 and not known.stack:
        yield "num_layers", f"1, found {len(cells)}"
    for name in ("bias", "peephole", "norm"):
        found = [_argument(cell, name) for cell in cells]
        if len(set(found)) > 1:
            yield name, f"one value for all layers, found {found}"
    for cell in cells:
        ones = (1,) * len(cell.space)
        allowed: dict[str, Sequence[Any]] = {
            "stride": [ones],
            "padding": ["same", tuple(k // 2 for k in cell.kernel_size)],
            "dilation": [ones],
            "padding_mode": ["zeros"],
            "recurrent_padding_mode": ["zeros"],
            "activation": ["relu" if isinstance(cell, InPlaceReLUConvLSTMCell2d) else "tanh"],
            "recurrent_activation": ["sigmoid"],
            "zoneout": [(0,) * len(cell.states)],
            "norm": [None],
            "cell_clip": [None],
            "proj_channels": [None],
            **known.holds,
        }
        if isinstance(cell, ConvLSTMCell2d):
            allowed["recurrent_kernel_size"] = [cell.kernel_size]
        if "norm_hh" in known.optional:  # the bias belongs to the norm
            allowed["bias"] = [cell.norm is not None]
        for name, values in allowed.items():
            argument = _argument(cell, name)
            if argument not in values:
                yield name, f"{' or '.join(map(repr, values))}, found {argument!r}"
        for name in ("kernel_size", "flow_kernel_size"):
            if any(k % 2 == 0 for k in getattr(cell, name, ())):
                yield name, f"odd sizes, found {getattr(cell, name)}"
        if cell.in_channels == 0:
            yield "in_channels", "1 or more, found 0"


def _argument(cell: Cell, name: str) -> Any:
    """Return the value of a cell's argument; some names belong to parameters."""
    value = getattr(cell, name, None)
    if name == "bias":
        return any("bias" in parameter for parameter in effective(cell))
    if name == "peephole" and value is not None:
        return "channel" if value.dim() == 2 else "pixel"
    if name.endswith("activation"):
        return next((known for known, function in ACTIVATIONS.items() if function is value), value)
    return value


def _cells(module: Recurrent | Cell) -> Sequence[Cell]:
    return [module] if isinstance(module, Cell) else cast("Sequence[Cell]", module.cells)
