"""The convolutions which a case needs, and their number of operations."""

import math
from typing import NamedTuple

from benchmarks.layers.cases import FLOW_CHANNELS, FLOW_KERNEL, FLOWS, Case

FORWARD, TO_INPUT, TO_WEIGHT = PARTS = ("forward", "to_input", "to_weight")


class Convolution(NamedTuple):
    """One convolution of a step; T steps need T of them, as there is also an initial state."""

    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    in_sequence: bool  # it depends on the step before, so that steps cannot be computed at once
    asked: int  # gradients are needed for this number of input channels, the last ones


Way = tuple[Convolution, ...]


def ways(case: Case) -> list[list[Way]]:
    """Return, for each layer, the equivalent ways to split its step into convolutions."""
    return [
        _ways(case, inputs, channels, inputs if number or case.input_gradient else 0)
        for number, (inputs, channels) in enumerate(case.layers)
    ]


def _ways(case: Case, inputs: int, channels: int, asked: int) -> list[Way]:
    kernel = (case.kernel_size,) * len(case.size)
    live = case.frame_by_frame  # then the input also arrives step by step
    if case.kind == "conv_lstm":
        fused = Convolution(inputs + channels, 4 * channels, kernel, True, asked + channels)
        of_x = Convolution(inputs, 4 * channels, kernel, live, asked)
        of_h = Convolution(channels, 4 * channels, kernel, True, channels)
        return [(fused,), (of_x, of_h)]
    of_x = Convolution(inputs, 3 * channels, kernel, live, asked)
    if case.kind == "conv_gru":
        return [(of_x, Convolution(channels, 3 * channels, kernel, True, channels))]
    flow, one = (FLOW_KERNEL,) * len(kernel), (1,) * len(kernel)
    return [
        (
            of_x,
            Convolution(inputs, FLOW_CHANNELS, flow, live, asked),
            Convolution(channels, FLOW_CHANNELS, flow, True, channels),
            Convolution(FLOW_CHANNELS, 2 * FLOWS, flow, True, FLOW_CHANNELS),
            Convolution(FLOWS * channels, 3 * channels, one, True, FLOWS * channels),
        )
    ]


def operations(case: Case, mode: str) -> int:
    """Return the number of multiplications and additions of a case's direct convolutions."""
    pixels = case.steps * case.batch * math.prod(case.size)
    total = 0
    for first, *_ in ways(case):
        for c in first:
            channels = c.inputs + (c.asked + c.inputs if mode == "training" else 0)
            total += 2 * pixels * math.prod(c.kernel) * c.outputs * channels
    return total
