"""The same weights, input and gradient for all contenders, with the names and layouts of our layers."""

import math

import numpy as np

from benchmarks.layers.cases import FLOW_CHANNELS, FLOW_KERNEL, FLOWS, Case

Array = np.ndarray


def weights(case: Case) -> list[dict[str, Array]]:
    """Return the weights of each layer, which give the arguments of the gates a variance of about 1."""
    random = np.random.default_rng([0, *case.hidden_channels])
    layers = []
    for inputs, channels in case.layers:
        layer = {}
        for name, shape in _shapes(case, inputs, channels).items():
            drawn = random.standard_normal(shape, np.float32)
            layer[name] = drawn / np.float32(math.sqrt(math.prod(shape[1:]))) if len(shape) > 2 else drawn / 4
        if case.kind == "conv_lstm":
            layer["bias"][channels : 2 * channels] += 1  # the forget gate's
        layers.append(layer)
    return layers


def frames(case: Case) -> Array:
    """Return the input, ``(T, B, C_in, *space)``."""
    shape = (case.steps, case.batch, case.in_channels, *case.size)
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def output_gradient(case: Case) -> Array:
    """Return the upstream gradient of the output, ``(T, B, C, *space)``."""
    shape = (case.steps, case.batch, case.hidden_channels[-1], *case.size)
    return np.random.default_rng(2).standard_normal(shape, np.float32)


def _shapes(case: Case, inputs: int, channels: int) -> dict[str, tuple[int, ...]]:
    kernel = (case.kernel_size,) * len(case.size)
    if case.kind == "conv_lstm":
        shapes = {
            "weight_ih": (4 * channels, inputs, *kernel),
            "weight_hh": (4 * channels, channels, *kernel),
            "bias": (4 * channels,),
        }
        return shapes | ({"peephole": (3, channels)} if case.peephole else {})
    gates: dict[str, tuple[int, ...]] = {"bias_ih": (3 * channels,), "bias_hh": (3 * channels,)}
    gates["weight_ih"] = (3 * channels, inputs, *kernel)
    if case.kind == "conv_gru":
        return gates | {"weight_hh": (3 * channels, channels, *kernel)}
    flow = (FLOW_KERNEL,) * len(case.size)
    return gates | {
        "weight_hh": (3 * channels, FLOWS * channels, 1, 1),
        "flow_weight_ih": (FLOW_CHANNELS, inputs, *flow),
        "flow_bias_ih": (FLOW_CHANNELS,),
        "flow_weight_hh": (FLOW_CHANNELS, channels, *flow),
        "flow_bias_hh": (FLOW_CHANNELS,),
        "flow_weight": (2 * FLOWS, FLOW_CHANNELS, *flow),
        "flow_bias": (2 * FLOWS,),
    }
