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
    """Read the encoder–forecaster of Hzzone/Precipitation-Nowcasting.

    The kernels of its transposed convolutions are two pixels wider than their strides. Its coarsest level in
    the forecaster reads zeros: a ConvLSTM convolves them, and a TrajGRU skips that convolution, so the arrays
    stored for it are not read.
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
    """Read OpenSTL's ConvLSTM, whose patches have their channels innermost, ours outermost."""
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
            f"weights: expected {prefix}conv_last.weight ({rnn.in_channels}, C, 1, 1), as the input has, "
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
    """Return the prefix of all keys, found before a required name, and the arrays by their names after it.

    Raises:
        ArgumentError: The required name is missing, a key has another prefix, or a value is not an array of
            floats.
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(key, str) for key in state_dict):
        raise ArgumentError(f"state_dict: expected arrays by name, found a {type(state_dict).__name__}")
    prefix = next((key.partition(landmark)[0] for key in state_dict if landmark in key), None)
    if prefix is None:
        raise ArgumentError(f"weights: expected {landmark}…, found {', '.join(state_dict) or 'none'}")
    if others := [key for key in state_dict if not key.startswith(prefix)]:
        raise ArgumentError(f"weights: expected the prefix {prefix!r}, found {', '.join(others)}")
    return prefix, {key.removeprefix(prefix): arrays.tensor(value, key) for key, value in state_dict.items()}


def _convolutions(prefix: str, found: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """Check that the convolutions from which sizes are read exist and have square kernels.

    Raises:
        ArgumentError: A convolution is missing or has another shape.
    """
    wrong = []
    for name in names:
        shape = tuple(found[f"{name}.weight"].shape) if f"{name}.weight" in found else None
        if shape is None or len(shape) != 4 or shape[2] != shape[3]:
            wrong.append(f"{prefix}{name}.weight (C_out, C_in, k, k), found {shape or 'none'}")
    if wrong:
        raise arrays.mismatch(wrong, {})


def _layer(prefix: str, found: dict[str, Tensor], stem: str, align_corners: bool) -> Recurrent:
    """Remove the arrays whose names begin with this stem, and return them as a recurrent layer."""
    own = {prefix + key: found.pop(key) for key in list(found) if key.startswith(stem)}
    if not own:
        raise ArgumentError(f"weights: expected {prefix}{stem}…, found none")
    if f"{prefix}{stem}i2h.weight" in own:
        return cast("Recurrent", from_torch("hzzone-trajgru", own, align_corners=align_corners))
    return cast("Recurrent", from_torch("hzzone", own))


def _cell(layer: Recurrent) -> Cell:
    return cast("Cell", layer.cells[0])


def _empty(kind: type[N], dtype: torch.dtype, **arguments: Any) -> N:
    """Return a network on the meta device, so that no initial weights are drawn."""
    with torch.device("meta"):
        return kind(**arguments).to(dtype)


def _filled(
    network: N,
    values: Mapping[str, Tensor],
    theirs: Mapping[str, str],
    prefix: str,
    rest: Mapping[str, Tensor],
) -> N:
    """Copy arrays into a network; errors use the names of the checkpoint.

    Args:
        network: A network on the meta device.
        values: Arrays by their names in our network.
        theirs: Names in the checkpoint by our names.
        prefix: Prefix of the names in ``rest``.
        rest: Arrays of the checkpoint that the network has no parameter for.
    """
    found = {theirs.get(name, name): value for name, value in values.items()}
    found |= {prefix + key: value for key, value in rest.items()}
    expected = {theirs.get(name, name): one.shape for name, one in network.named_parameters()}
    arrays.check(found, expected)
    network.to_empty(device="cpu")
    arrays.assign(values, network)
    return network.eval()
