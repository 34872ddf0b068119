"""Contenders on Keras 3: its own layers, on either back end.

Keras has the channels last and the batch first; input and gradients are laid out so beforehand.
"""

import time
from abc import ABC, abstractmethod
from typing import Any

import keras
import numpy as np

from benchmarks.layers import arrays, memory
from benchmarks.layers.arrays import Array
from benchmarks.layers.runners import Task

_WEIGHTS = ("weight_ih", "weight_hh", "bias")  # in Keras's order; the gates are in ours


class _Keras(ABC):
    """A stack of Keras's layers with the given weights."""

    def __init__(self, task: Task) -> None:
        self.task, case = task, task.case
        keras.config.set_dtype_policy("mixed_bfloat16" if task.dtype == "bfloat16" else "float32")
        kind = getattr(keras.layers, f"ConvLSTM{len(case.size)}D")
        self.layers = []
        for (inputs, channels), given in zip(case.layers, arrays.weights(case), strict=True):
            layer = kind(
                channels,
                case.kernel_size,
                padding="same",
                activation="tanh",
                recurrent_activation="sigmoid",
                return_sequences=True,
                return_state=True,
            )
            layer.build((case.batch, None, *case.size, inputs))
            layer.set_weights([_to_the_back(given[name]) for name in _WEIGHTS])
            self.layers.append(layer)
        self.x = keras.ops.convert_to_tensor(_theirs(arrays.frames(case)))
        dtype = self.layers[-1].compute_dtype
        self.gradient = keras.ops.cast(_theirs(arrays.output_gradient(case)), dtype)

    def forward(self, x: Any, states: Any = None) -> tuple[Any, Any]:
        """Return the output and the states of all layers."""
        last = []
        for number, layer in enumerate(self.layers):
            x, *state = layer(
                x, initial_state=None if states is None else states[number], training=self.task.trains
            )
            last.append(state)
        return x, last

    def frame_by_frame(self, call: Any) -> list[Any]:
        """Return the outputs, frame by frame."""
        states, outputs = None, []
        for t in range(self.task.case.steps):
            output, states = call(self.x[:, t : t + 1], states)
            outputs.append(output)
        return outputs

    def named(self, outputs: list[Any], gradients: list[Any]) -> dict[str, Array]:
        """Return outputs, gradients of the weights per layer, and of the input, with our names."""
        pieces = [_array(output) for output in outputs]
        results = {"output": _ours(np.concatenate(pieces, axis=1))}
        names = [f"{number}.{name}" for number in range(len(self.layers)) for name in _WEIGHTS]
        for name, gradient in zip([*names, "input"], gradients, strict=False):
            array = _array(gradient)
            results[name] = _ours(array) if name == "input" else _to_the_front(array)
        return results

    def variables(self) -> list[Any]:
        """Return the weights, layer by layer."""
        return [variable for layer in self.layers for variable in layer.trainable_variables]

    @abstractmethod
    def step(self) -> Any:
        """See :class:`benchmarks.layers.runners.Runner`."""

    @abstractmethod
    def synchronise(self) -> None:
        """Wait for the device."""

    def timed(self, number: int) -> tuple[float, Any]:
        """Return the elapsed time per step."""
        self.synchronise()
        start = time.perf_counter()
        for _ in range(number):
            made = None  # frees the results of the step before
            made = self.step()
        self.synchronise()
        return (time.perf_counter() - start) / number, made

    def held(self) -> int | None:
        """Return the memory of the process."""
        return memory.held() if self.task.device == "cpu" else None

    def peak(self) -> int | None:
        """Return its peak."""
        return memory.peak() if self.task.device == "cpu" else None

    def saved(self) -> int | None:
        """Return None: unknown."""
        return None


class OnTensorflow(_Keras):
    """In a ``tf.function``, as in Keras's own training loop, with XLA or without."""

    def __init__(self, task: Task, xla: bool = False) -> None:
        import tensorflow as tf  # installed only for this back end

        self.tf = tf
        tf.config.threading.set_intra_op_parallelism_threads(task.threads)
        tf.config.threading.set_inter_op_parallelism_threads(task.threads)
        if task.device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        elif not tf.config.list_physical_devices("GPU"):
            raise RuntimeError("TensorFlow sees no GPU")
        super().__init__(task)
        self._forward = tf.function(self.forward, jit_compile=xla)
        self._train = tf.function(self._gradients, jit_compile=xla)

    def _gradients(self) -> Any:
        watched = [variable.value for variable in self.variables()]
        with self.tf.GradientTape() as tape:
            if self.task.case.input_gradient:
                tape.watch(self.x)
                watched.append(self.x)
            output, _ = self.forward(self.x)
        return [output], tape.gradient(output, watched, output_gradients=self.gradient)

    def step(self) -> Any:
        """Return outputs and gradients."""
        if self.task.trains:
            return self._train()
        outputs = (
            self.frame_by_frame(self._forward)
            if self.task.case.frame_by_frame
            else [self._forward(self.x)[0]]
        )
        return outputs, []

    def results(self, made: Any) -> dict[str, Array]:
        """Return all results in float32."""
        return self.named(*made)

    def synchronise(self) -> None:
        """Wait for the device."""
        self.tf.test.experimental.sync_devices()


class OnTorch(_Keras):
    """Eager, with PyTorch's own gradients."""

    def __init__(self, task: Task) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(task.threads)
        if task.device != "cpu" and not torch.cuda.is_available():
            raise RuntimeError("PyTorch sees no GPU")
        with keras.device(task.device):
            super().__init__(task)
        self.x.requires_grad_(task.trains and task.case.input_gradient)

    def step(self) -> Any:
        """Return the outputs; the variables hold the gradients."""
        with keras.device(self.task.device):
            if self.task.trains:
                for variable in self.variables():
                    variable.value.grad = None
                self.x.grad = None
                output, _ = self.forward(self.x)
                output.backward(self.gradient)
                return [output]
            with self.torch.no_grad():
                if self.task.case.frame_by_frame:
                    return self.frame_by_frame(self.forward)
                return [self.forward(self.x)[0]]

    def results(self, made: Any) -> dict[str, Array]:
        """Return all results in float32."""
        gradients = [variable.value.grad for variable in self.variables()] if self.task.trains else []
        if self.x.requires_grad:
            gradients.append(self.x.grad)
        return self.named([output.detach() for output in made], gradients)

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.task.device != "cpu":
            self.torch.cuda.synchronize()


def _array(tensor: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")))


def _theirs(sequence: Array) -> Array:
    """(T, B, C, *) to (B, T, *, C)."""
    return np.ascontiguousarray(np.moveaxis(sequence.swapaxes(0, 1), 2, -1))


def _ours(sequence: Array) -> Array:
    return np.moveaxis(sequence, -1, 2).swapaxes(0, 1)


def _to_the_back(weights: Array) -> Array:
    """(4C, C_in, *k) to (*k, C_in, 4C)."""
    return weights if weights.ndim == 1 else np.moveaxis(weights, (1, 0), (-2, -1))


def _to_the_front(weights: Array) -> Array:
    return weights if weights.ndim == 1 else np.moveaxis(weights, (-2, -1), (1, 0))
