"""Checkpoints of whole networks of other repositories."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.models.base import Network
from stormcell.models.multiscale import MultiscaleForecaster
from stormcell.models.next_frame import NextFrameForecaster
from stormcell.nn.arguments import count, one_of
from stormcell.nn.cells import Cell
from stormcell.nn.foreign import arrays
from stormcell.nn.foreign.torch_layouts import from_torch
from stormcell.nn.recurrent import Recurrent
from stormcell.nn.trajgru import TrajGRUCell2d

N = TypeVar("N", bound=nn.Module)
_KINDS = ("weight", "bias")


def from_checkpoint(layout: str, state_dict: Mapping[str, Any], **keywords: Any) -> Network:
    """Return a network that computes the same as a checkpoint of another repository.

    ``"hzzone-network"`` (the encoder–forecaster of Hzzone/Precipitation-Nowcasting)
        ``encoder.stage{n}.*``, ``encoder.rnn{n}.*``, ``forecaster.rnn{n}.*``, ``forecaster.stage{n}.*``, with
        ConvLSTMs or TrajGRUs; becomes a :class:`~stormcell.models.MultiscaleForecaster`. The keyword
        ``align_corners`` gives the sampling of the TrajGRUs: True (the default), as in PyTorch up to 1.2, or
        False, as in later versions.
    ``"openstl-network"`` (the ConvLSTM of chengtan9907/OpenSTL)
        ``cell_list.{i}.*`` and ``conv_last.weight``; becomes a
        :class:`~stormcell.models.NextFrameForecaster`. The keyword ``patch_size`` is OpenSTL's, 4 by default.

    All keys may have a common prefix, such as the ``module.`` of :class:`torch.nn.DataParallel`.
    :func:`stormcell.nn.foreign.from_torch` reads single layers.

    Args:
        layout: ``"hzzone-network"`` or ``"openstl-network"``.
        state_dict: Arrays or tensors by name.
        **keywords: Settings that the arrays do not determine.

    Returns:
        The network, in evaluation mode and in the arrays' dtype.

    Raises:
        ArgumentError: The layout or a keyword is unknown, or the arrays do not fit the layout; the message
            lists every name and shape that differs.

    Examples:
        >>> import torch
        >>> theirs = {
        ...     "cell_list.0.conv_x.0.weight": torch.rand(4 * 8, 16, 5, 5),
        ...     "cell_list.0.conv_h.0.weight": torch.rand(4 * 8, 8, 5, 5),
        ...     "conv_last.weight": torch.rand(16, 8, 1, 1),
        ... }
        >>> model = from_checkpoint("openstl-network", theirs)
        >>> model(torch.rand(1, 10, 1, 64, 64), steps=10).shape  # (B, T, C, H, W)
        torch.Size([1, 10, 1, 64, 64])
    """
    one_of("layout", layout, list(_READERS))
    read, keyword = _READERS[layout]
    for name in keywords:
        if name != keyword:
            raise ArgumentError(f"{name}: {layout!r} has no such keyword, expected {keyword}")
    return read(state_dict, **keywords)


def _hzzone(state_dict: Mapping[str, Any], *, align_corners: bool = True) -> MultiscaleForecaster:
    """Return the encoder–forecaster that a checkpoint of Hzzone/Precipitation-Nowcasting holds.

    Strides are told from the transposed convolutions, whose kernels are there two pixels wider. The
    coarsest level of the forecaster sees no input there either: a ConvLSTM sees zero frames, a TrajGRU
    drops the convolutions over them, so that what is stored for them is never used and is not read.

    Args:
        state_dict: Arrays or tensors by name.
        align_corners: How TrajGRUs were run: True, as by PyTorch up to 1.2, or False, as since.

    Raises:
        ArgumentError: They are not those of such a network; the message lists what is not.
    """
    prefix, found = _read(state_dict, "encoder.stage1.")
    dtype = arrays.dtype(list(found.values()))
    levels = len({key.split(".")[1] for key in found if key.startswith("encoder.stage")})
    down = [f"encoder.stage{n}.conv{n}_leaky_1" for n in range(1, levels + 1)]
    up = [f"forecaster.stage{n}.deconv{levels + 1 - n}_leaky_1" for n in range(1, levels + 1)]
    smooth, head = f"forecaster.stage1.conv{levels}_leaky_2", f"forecaster.stage1.conv{levels}_3"
    names = {theirs: f"down.{n}" for n, theirs in enumerate(down)}
    names |= {theirs: f"up.{n}" for n, theirs in enumerate(up)} | {smooth: "smooth", head: "head"}
    _convolutions(prefix, found, names)

    layers = {
        (side, n): _layer(prefix, found, f"{side}.rnn{n + 1}.", align_corners)
        for side in ("encoder", "forecaster")
        for n in range(levels)
    }
    first = [_cell(layers["encoder", n]) for n in range(levels)]
    last = [_cell(layers["forecaster", n]) for n in range(levels)]
    strides = [found[f"{theirs}.weight"].shape[-1] - 2 for theirs in up]
    size = getattr(first[0], "spatial_size", None)
    network = _empty(
        MultiscaleForecaster,
        dtype,
        in_channels=found[f"{down[0]}.weight"].shape[1],
        cell=["traj_gru" if isinstance(cell, TrajGRUCell2d) else "conv_lstm" for cell in first],
        hidden_channels=[cell.hidden_channels for cell in first],
        conv_channels=found[f"{down[0]}.weight"].shape[0],
        strides=strides,
        conv_kernel_size=[found[f"{theirs}.weight"].shape[-1] for theirs in down],
        kernel_size=[cell.kernel_size for cell in first],
        num_flows=[getattr(cell, "num_flows", 1) for cell in first],
        forecaster_num_flows=[getattr(cell, "num_flows", 1) for cell in last],
        out_channels=found[f"{head}.weight"].shape[0],
        peephole=None if size is None else "pixel",
        spatial_size=None if size is None else [side * strides[0] for side in size],
        align_corners=align_corners,
    )
    ours = dict(network.named_parameters())
    theirs = {f"{name}.{kind}": f"{stem}.{kind}" for stem, name in names.items() for kind in _KINDS}
    values = {name: found.pop(key) for name, key in theirs.items() if key in found}
    top = f"forecaster.{levels - 1}."
    for (side, n), layer in layers.items():
        for name, value in layer.named_parameters():
            full = f"{side}.{n}.{name}"
            if full in ours or not full.startswith(top):  # the coarsest level has no input
                values[full] = value
            theirs[full] = f"{side}.rnn{n + 1}, as our {name}"
    return _filled(network, values, {name: prefix + key for name, key in theirs.items()}, prefix, found)


def _openstl(state_dict: Mapping[str, Any], *, patch_size: int = 4) -> NextFrameForecaster:
    """Return the network that a checkpoint of OpenSTL's ConvLSTM holds.

    Its patches order their pixels before their channels, ours their channels before their pixels.

    Args:
        state_dict: Arrays or tensors by name.
        patch_size: Side of the patches, in pixels.

    Raises:
        ArgumentError: They are not those of such a network; the message lists what is not.
    """
    prefix, found = _read(state_dict, "cell_list.0.")
    dtype = arrays.dtype(list(found.values()))
    pixels = count("patch_size", patch_size) ** 2
    head = found.pop("conv_last.weight", None)
    if head is None or head.dim() != 4 or head.shape[0] % pixels:
        shape = None if head is None else tuple(head.shape)
        raise ArgumentError(
            f"weights: expected {prefix}conv_last.weight ({pixels}C_in, C, 1, 1), as patch_size is "
            f"{patch_size}, found {shape or 'none'}"
        )
    channels = head.shape[0] // pixels
    rnn = cast("Recurrent", from_torch("openstl", {prefix + key: value for key, value in found.items()}))
    cell = _cell(rnn)
    size = getattr(cell, "spatial_size", None)
    if rnn.in_channels != len(head):
        raise ArgumentError(
            f"weights: expected {prefix}conv_last.weight ({rnn.in_channels}, C, 1, 1), as frames are read, "
            f"found {tuple(head.shape)}"
        )
    network = _empty(
        NextFrameForecaster,
        dtype,
        in_channels=channels,
        hidden_channels=rnn.hidden_channels,
        kernel_size=rnn.kernel_size,
        patch_size=patch_size,
        norm="layer-pixel" if getattr(cell, "norm_hh", None) is not None else None,
        spatial_size=None if size is None else [side * patch_size for side in size],
    )
    values = {f"rnn.{name}": value for name, value in rnn.named_parameters()}
    first = values["rnn.cells.0.weight_ih"]
    values["rnn.cells.0.weight_ih"] = (
        first.unflatten(1, (pixels, channels)).transpose(1, 2).flatten(1, 2)  # type: ignore[no-untyped-call]
    )
    values["head.weight"] = (
        head.unflatten(0, (pixels, channels)).transpose(0, 1).flatten(0, 1)  # type: ignore[no-untyped-call]
    )
    return _filled(network, values, {"head.weight": f"{prefix}conv_last.weight"}, prefix, {})


_READERS: dict[str, tuple[Callable[..., Network], str]] = {  # each with its only keyword
    "hzzone-network": (_hzzone, "align_corners"),
    "openstl-network": (_openstl, "patch_size"),
}


def _read(state_dict: Mapping[str, Any], landmark: str) -> tuple[str, dict[str, Tensor]]:
    """Return what all keys begin with before a name that the network must have, and the arrays without it.

    Raises:
        ArgumentError: There is no such name, a key begins otherwise, or something is no array of floats.
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(key, str) for key in state_dict):
        raise ArgumentError(f"state_dict: expected arrays by name, found a {type(state_dict).__name__}")
    prefix = next((key.partition(landmark)[0] for key in state_dict if landmark in key), None)
    if prefix is None:
        raise ArgumentError(f"weights: expected {landmark}…, found {', '.join(state_dict) or 'none'}")
    if others := [key for key in state_dict if not key.startswith(prefix)]:
        raise ArgumentError(f"weights: expected all to begin with {prefix!r}, found {', '.join(others)}")
    return prefix, {key.removeprefix(prefix): arrays.tensor(value, key) for key, value in state_dict.items()}


def _convolutions(prefix: str, found: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """Check that these convolutions are there, so that sizes can be read off them.

    Raises:
        ArgumentError: One is not.
    """
    wrong = []
    for name in names:
        shape = tuple(found[f"{name}.weight"].shape) if f"{name}.weight" in found else None
        if shape is None or len(shape) != 4 or shape[2] != shape[3]:
            wrong.append(f"{prefix}{name}.weight (C_out, C_in, k, k), found {shape or 'none'}")
    if wrong:
        raise arrays.mismatch(wrong, {})


def _layer(prefix: str, found: dict[str, Tensor], stem: str, align_corners: bool) -> Recurrent:
    """Take out the arrays whose names begin with this stem, and return the recurrent layer they make."""
    own = {prefix + key: found.pop(key) for key in list(found) if key.startswith(stem)}
    if not own:
        raise ArgumentError(f"weights: expected {prefix}{stem}…, found none")
    if f"{prefix}{stem}i2h.weight" in own:
        return cast("Recurrent", from_torch("hzzone-trajgru", own, align_corners=align_corners))
    return cast("Recurrent", from_torch("hzzone", own))


def _cell(layer: Recurrent) -> Cell:
    return cast("Cell", layer.cells[0])


def _empty(kind: type[N], dtype: torch.dtype, **arguments: Any) -> N:
    """Return a network without numbers, of this dtype: random ones would be drawn for nothing."""
    with torch.device("meta"):
        return kind(**arguments).to(dtype)


def _filled(
    network: N,
    values: Mapping[str, Tensor],
    theirs: Mapping[str, str],
    prefix: str,
    rest: Mapping[str, Tensor],
) -> N:
    """Copy values into a network by our names; the message of what does not fit speaks of theirs.

    Args:
        network: Without numbers.
        values: By our names.
        theirs: What the message calls them.
        prefix: What stands before the names of the rest.
        rest: What has no place.
    """
    found = {theirs.get(name, name): value for name, value in values.items()}
    found |= {prefix + key: value for key, value in rest.items()}
    expected = {theirs.get(name, name): one.shape for name, one in network.named_parameters()}
    arrays.check(found, expected)
    network.to_empty(device="cpu")
    arrays.assign(values, network)
    return network.eval()
