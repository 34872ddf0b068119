"""Which convolutions a case cannot do without, and how many operations they are."""

import math
from typing import NamedTuple

from benchmarks.layers.cases import FLOW_CHANNELS, FLOW_KERNEL, FLOWS, Case

FORWARD, TO_INPUT, TO_WEIGHT = PARTS = ("forward", "to_input", "to_weight")


class Convolution(NamedTuple):
    """One convolution of a step. T steps are T of it: the first one too has a state to see."""

    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    in_sequence: bool  # it sees what the step before has made, so there is no doing all steps at once
    asked: int  # of how many of its inputs, the last ones, the gradient is needed


Way = tuple[Convolution, ...]


def ways(case: Case) -> list[list[Way]]:
    """Return for each layer the ways to cut its step into convolutions, any of which will do."""
    return [
        _ways(case, inputs, channels, inputs if number or case.input_gradient else 0)
        for number, (inputs, channels) in enumerate(case.layers)
    ]


def _ways(case: Case, inputs: int, channels: int, asked: int) -> list[Way]:
    kernel = (case.kernel_size,) * len(case.size)
    live = case.frame_by_frame  # then the input too comes step by step
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
    """Return how many multiplications and additions the convolutions of a case are, whatever the way."""
    pixels = case.steps * case.batch * math.prod(case.size)
    total = 0
    for first, *_ in ways(case):
        for c in first:
            channels = c.inputs + (c.asked + c.inputs if mode == "training" else 0)
            total += 2 * pixels * math.prod(c.kernel) * c.outputs * channels
    return total
