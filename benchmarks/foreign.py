"""``python -m benchmarks.foreign``: compare imported layers with the systems that need TensorFlow.

The tests run Keras 3 on PyTorch. Keras 2 (``tf_keras``) and the LSTMCell of TensorFlow 1, in
``tf.compat.v1``, need TensorFlow, which the tests do not install. This command compares imported layers with
them, with random weights. The exit status is 1 if a difference exceeds the rounding of their computation.
"""

import argparse
import itertools
import os
import random
import sys
from typing import Any

# TensorFlow reads these when it is imported.
os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

import numpy as np
import torch

from stormcell.nn import foreign

# Keras 2 has some constants, and all of a Bidirectional, in float32.
LIMITS = {"Keras 2": 1e-5, "Keras 2, exactly": 1e-11, "TensorFlow 1": 1e-12}
SIZES = {1: (7,), 2: (7, 8), 3: (7, 7, 7)}


def main() -> int:
    """Compare with both; return 1 if something differs, 2 if TensorFlow is not installed."""
    parser = argparse.ArgumentParser(prog="benchmarks.foreign", description=__doc__)
    parser.add_argument("--layers", type=int, default=200, help="number of Keras 2 layers to draw")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        import tensorflow
        import tf_keras
    except ModuleNotFoundError as error:
        print(f'{error.name} is not installed: pip install "stormcell[bench]"', file=sys.stderr)
        return 2
    draw = random.Random(arguments.seed)
    numbers = np.random.default_rng(arguments.seed)
    worst: dict[str, list[float]] = {name: [] for name in LIMITS}
    for _ in range(arguments.layers):
        name, difference, what = keras_2(tensorflow, tf_keras, draw, numbers)
        worst[name].append(difference)
        if not difference <= LIMITS[name]:
            print(f"differs by {difference:.1e}: {what}")
    for difference, what in tensorflow_1(tensorflow, numbers):
        worst["TensorFlow 1"].append(difference)
        if not difference <= LIMITS["TensorFlow 1"]:
            print(f"differs by {difference:.1e}: {what}")
    for name, differences in worst.items():
        print(f"{name}: {len(differences)} layers, at most {max(differences):.1e}, limit {LIMITS[name]:.0e}")
    return int(any(not max(differences) <= LIMITS[name] for name, differences in worst.items()))


def keras_2(
    tensorflow: Any, keras: Any, draw: random.Random, numbers: np.random.Generator
) -> tuple[str, float, str]:
    """Draw a layer of Keras 2, run it and its import, and return the largest difference."""
    axes = draw.choice([1, 2, 3])
    strides = 1 if axes == 3 else draw.choice([1, 1, 2])
    config = {
        "filters": draw.choice([2, 3]),
        "kernel_size": tuple(draw.choice([1, 2, 3, 4]) for _ in range(axes)),
        "padding": draw.choice(["same", "valid"]),
        "strides": strides,
        "dilation_rate": draw.choice([1, 1, 2]) if strides == 1 else 1,
        "activation": draw.choice(["tanh", "relu", "sigmoid", "softsign", "gelu", "elu"]),
        "recurrent_activation": draw.choice(["hard_sigmoid", "sigmoid"]),
        "use_bias": draw.random() < 0.8,
        "return_sequences": draw.random() < 0.6,
        "dropout": draw.choice([0.0, 0.0, 0.1]),  # no effect in evaluation mode
    }
    both = draw.random() < 0.4
    config["go_backwards"] = not both and draw.random() < 0.3
    layer = getattr(keras.layers, f"ConvLSTM{axes}D")(**config, dtype="float64")
    if both:
        config["merge_mode"] = draw.choice(["concat", "sum", "ave", "mul", None])
        layer = keras.layers.Bidirectional(layer, merge_mode=config["merge_mode"])
    x = numbers.normal(size=(3, 4, *SIZES[axes], 2))
    mask = numbers.random((3, 4)) < 0.6 if draw.random() < 0.5 else None
    theirs = None if mask is None else tensorflow.constant(mask)
    layer(tensorflow.constant(x), mask=theirs)  # creates the weights
    layer.set_weights([0.5 * numbers.normal(size=w.shape) for w in layer.get_weights()])
    expected = layer(tensorflow.constant(x), mask=theirs)

    module = foreign.from_keras(layer.get_config(), layer.get_weights())
    with torch.no_grad():
        ours = None if mask is None else torch.from_numpy(mask)
        found, _ = module(torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 2))), mask=ours)
    channels = 2 if config["return_sequences"] else 1
    pairs = zip(_tuple(found), _tuple(expected), strict=True)
    difference = max(_difference(np.moveaxis(a.numpy(), channels, -1), b.numpy()) for a, b in pairs)
    exactly = not both and config["activation"] != "gelu"
    return "Keras 2, exactly" if exactly else "Keras 2", difference, f"{config}, mask {mask}"


def tensorflow_1(tensorflow: Any, numbers: np.random.Generator) -> list[tuple[float, str]]:
    """Run every variant of LSTMCell and its import, and return the largest difference of each."""
    v1 = tensorflow.compat.v1
    choices = {
        "use_peepholes": [True, False],
        "cell_clip": [None, 0.3],
        "num_proj": [None, 3],
        "proj_clip": [None, 0.2],
        "forget_bias": [1.0, 0.3],
        "lengths": [None, [4, 2, 0]],
    }
    found = []
    for values in itertools.product(*choices.values()):
        config = dict(zip(choices, values, strict=True))
        lengths = config.pop("lengths")
        hidden = config["num_proj"] or 5
        x, h, c = (numbers.normal(size=size) for size in ((3, 4, 2), (3, hidden), (3, 5)))
        with tensorflow.Graph().as_default(), v1.Session() as session:
            cell = v1.nn.rnn_cell.LSTMCell(5, **config, dtype=tensorflow.float64)
            state = v1.nn.rnn_cell.LSTMStateTuple(tensorflow.constant(c), tensorflow.constant(h))
            fetched = v1.nn.dynamic_rnn(
                cell, tensorflow.constant(x), sequence_length=lengths, initial_state=state
            )
            variables = {v.name: 0.7 * numbers.normal(size=v.shape) for v in v1.trainable_variables()}
            for variable in v1.trainable_variables():
                variable.load(variables[variable.name], session)
            output, (c_n, h_n) = session.run(fetched)
        clips = {name: config[name] for name in ("cell_clip", "proj_clip") if config[name]}
        module = foreign.from_tf1("LSTMCell", variables, forget_bias=config["forget_bias"], **clips)
        with torch.no_grad():
            ours, (h, c) = module(
                torch.from_numpy(x), ((torch.from_numpy(h),), (torch.from_numpy(c),)), lengths=lengths
            )
        pairs = ((ours, output), (h[0], h_n), (c[0], c_n))
        difference = max(_difference(a.numpy(), b) for a, b in pairs)
        found.append((difference, f"LSTMCell {config}, lengths {lengths}"))
    return found


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative to the largest expected number if that is above 1."""
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


if __name__ == "__main__":
    sys.exit(main())
