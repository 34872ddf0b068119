"""The levels of a multiscale network, read from its arguments."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from stormcell.errors import ArgumentError
from stormcell.nn import ConvGRU2d, ConvLSTM2d, TrajGRU2d
from stormcell.nn.arguments import PerAxis, count, one_of, per_axis
from stormcell.nn.recurrent import Recurrent

CELLS = ("conv_lstm", "conv_gru", "traj_gru")
PADDING = 1  # of every strided convolution


class Level(NamedTuple):
    """One level: the step down to it, its two recurrent layers, and the step back up from it."""

    cell: str
    channels: int
    stride: int
    conv_kernel: int
    kernel: tuple[int, ...]
    recurrent_kernel: tuple[int, ...]
    flows: int
    forecaster_flows: int
    pixels: tuple[int, ...] | None  # size of its images, if it is fixed

    def layer(self, in_channels: int, num_flows: int, *, align_corners: bool, **lstm: Any) -> Recurrent:
        """Return a recurrent layer of this level; ``lstm`` has further arguments of ConvLSTMs."""
        if self.cell == "traj_gru":
            return TrajGRU2d(
                in_channels,
                self.channels,
                self.kernel,
                batch_first=True,
                num_flows=num_flows,
                align_corners=align_corners,
            )
        if self.cell == "conv_gru":
            return ConvGRU2d(
                in_channels,
                self.channels,
                self.kernel,
                batch_first=True,
                recurrent_kernel_size=self.recurrent_kernel,
                activation="leaky_relu",  # as in HKO-7, instead of the hyperbolic tangent
            )
        return ConvLSTM2d(
            in_channels,
            self.channels,
            self.kernel,
            batch_first=True,
            recurrent_kernel_size=self.recurrent_kernel,
            spatial_size=self.pixels,
            **lstm,
        )


def read_levels(
    cell: str | Sequence[str],
    hidden_channels: Sequence[int],
    strides: int | Sequence[int],
    conv_kernel_size: int | Sequence[int],
    kernel_size: PerAxis | list[PerAxis],
    recurrent_kernel_size: PerAxis | list[PerAxis | None] | None,
    num_flows: int | Sequence[int],
    forecaster_num_flows: int | Sequence[int] | None,
    spatial_size: tuple[int, ...] | None,
) -> list[Level]:
    """Return the levels, finest first, from the arguments of the network.

    Raises:
        ArgumentError: An argument has a value it cannot have, or not one value per level.
    """
    if not isinstance(hidden_channels, list | tuple) or not hidden_channels:
        raise ArgumentError(
            f"hidden_channels: expected one for each level, at least one level, found {hidden_channels!r}"
        )
    number = len(hidden_channels)
    steps = [count("strides", stride) for stride in _each("strides", strides, number)]
    back = num_flows if forecaster_num_flows is None else forecaster_num_flows
    columns = zip(
        _each("cell", cell, number),
        hidden_channels,
        steps,
        _each("conv_kernel_size", conv_kernel_size, number),
        _each("kernel_size", kernel_size, number, axes=True),
        _each("recurrent_kernel_size", recurrent_kernel_size, number, axes=True),
        _each("num_flows", num_flows, number),
        _each("forecaster_num_flows", back, number),
        _pixels(spatial_size, steps),
        strict=True,
    )
    return [_level(*column) for column in columns]


def _level(
    cell: str,
    channels: int,
    stride: int,
    conv_kernel: int,
    kernel: PerAxis,
    recurrent_kernel: PerAxis | None,
    flows: int,
    forecaster_flows: int,
    pixels: tuple[int, ...] | None,
) -> Level:
    one_of("cell", cell, CELLS)
    widest = stride + 2 * PADDING  # a wider kernel would shrink images by more than the stride
    if count("conv_kernel_size", conv_kernel, least=1 + 2 * PADDING) > widest:
        raise ArgumentError(
            f"conv_kernel_size: expected 3 to {widest} with a stride of {stride}, found {conv_kernel}"
        )
    over_input = per_axis("kernel_size", kernel, 2)
    return Level(
        cell,
        count("hidden_channels", channels),
        stride,
        conv_kernel,
        over_input,
        over_input if recurrent_kernel is None else per_axis("recurrent_kernel_size", recurrent_kernel, 2),
        count("num_flows", flows),
        count("forecaster_num_flows", forecaster_flows),
        pixels,
    )


def _each(name: str, value: Any, number: int, *, axes: bool = False) -> list[Any]:
    """Return one value per level; a value that is not a list, or a tuple of axes, holds for all levels."""
    if not isinstance(value, list) and (axes or not isinstance(value, tuple)):
        return [value] * number
    if len(value) != number:
        raise ArgumentError(f"{name}: expected one for each of the {number} levels, found {value!r}")
    return list(value)


def _pixels(size: Sequence[int] | None, strides: Sequence[int]) -> list[tuple[int, ...] | None]:
    """Return the size of the images on each level, if the frames have a fixed size."""
    if size is None:
        return [None] * len(strides)
    whole = math.prod(strides)
    padded = [side + -side % whole for side in size]
    return [tuple(side // math.prod(strides[: n + 1]) for side in padded) for n in range(len(strides))]
