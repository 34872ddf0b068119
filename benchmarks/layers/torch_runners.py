"""Contenders on PyTorch."""

import math
import os
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.layers import arrays, memory, wheel
from benchmarks.layers.arrays import Array
from benchmarks.layers.cases import FLOW_CHANNELS, FLOW_KERNEL, FLOWS
from benchmarks.layers.contenders import WHEEL
from benchmarks.layers.loops import Loop, Place
from benchmarks.layers.runners import Task
from stormcell.nn import ConvGRU2d, ConvLSTM1d, ConvLSTM2d, ConvLSTM3d, TrajGRU2d
from stormcell.nn.ops import shipped_kernels


class OnDevice(ABC):
    """Time and memory, on a CPU or a GPU."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.device = torch.device(task.device)
        torch.set_num_threads(task.threads)
        if task.trains:  # PyTorch's imports at its first gradient are not the contender's memory
            one = torch.zeros(1, device=self.device, requires_grad=True)
            one.sin().backward(one.detach())  # type: ignore[no-untyped-call]

    @abstractmethod
    def step(self) -> Any:
        """See :class:`benchmarks.layers.runners.Runner`."""

    def timed(self, number: int) -> tuple[float, Any]:
        """Return the time per step, by the GPU's own clock on a GPU."""
        if self.device.type == "cpu":
            start = time.perf_counter()
            made = self._steps(number)
            return (time.perf_counter() - start) / number, made
        begun, done = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(self.device)
        begun.record()
        made = self._steps(number)
        done.record()
        torch.cuda.synchronize(self.device)
        return float(begun.elapsed_time(done)) / 1000 / number, made

    def _steps(self, number: int) -> Any:
        for _ in range(number):
            made = None  # frees the results of the step before
            made = self.step()
        return made

    def held(self) -> int | None:
        """Return the memory in use by the process, or on the GPU."""
        if self.device.type == "cpu":
            return memory.held()
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def peak(self) -> int | None:
        """Return its peak."""
        return memory.peak() if self.device.type == "cpu" else torch.cuda.max_memory_allocated(self.device)


class TorchRunner(OnDevice):
    """A module which runs over a sequence, forward and, in training, backward."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.x = torch.from_numpy(arrays.frames(task.case)).to(self.device)
        self.module = self.build().to(self.device).train(task.trains)
        given = arrays.weights(task.case)
        with torch.no_grad():
            for name, (parameter, channels) in self.places().items():
                layer, _, which = name.partition(".")
                part = parameter if channels is None else parameter[:, channels]
                part.copy_(torch.from_numpy(given[int(layer)][which]).reshape(part.shape))
        self.x.requires_grad_(task.trains and task.case.input_gradient)
        self._gradient = torch.from_numpy(arrays.output_gradient(task.case)).to(self.device)

    @abstractmethod
    def build(self) -> nn.Module:
        """Create the module."""

    @abstractmethod
    def places(self) -> dict[str, Place]:
        """Return the weights by name, with the layer first: ``"0.weight_ih"``."""

    def run(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the output and the last state."""
        output, state = self.module(x, state)
        return output, state

    def autocast(self) -> torch.autocast:
        """Return the context of a call."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.task.dtype == "bfloat16")

    def forward(self) -> list[Tensor]:
        """Return the output, in one part per call."""
        with self.autocast():
            if not self.task.case.frame_by_frame:
                return [self.run(self.x, None)[0]]
            state, outputs = None, []
            for frame in torch.split(self.x, 1):
                output, state = self.run(frame, state)
                outputs.append(output)
            return outputs

    def step(self) -> list[Tensor]:
        """Run forward and, in training, backward from a given gradient."""
        if not self.task.trains:
            with torch.no_grad():
                return self.forward()
        self.module.zero_grad()
        self.x.grad = None
        (output,) = self.forward()
        # Converted once, as the upstream gradient is not part of the layer.
        self._gradient = self._gradient.to(output.dtype)
        output.backward(self._gradient)  # type: ignore[no-untyped-call]
        return [output]

    def results(self, made: list[Tensor]) -> dict[str, Array]:
        """Return all results in float32."""
        output = torch.cat([piece.detach() for piece in made])
        results = {"output": output}
        if self.task.trains:
            given = arrays.weights(self.task.case)
            for name, (parameter, channels) in self.places().items():
                layer, _, which = name.partition(".")
                gradient = _found(parameter)
                part = gradient if channels is None else gradient[:, channels]
                results[name] = part.reshape(given[int(layer)][which].shape)
            if self.task.case.input_gradient:
                results["input"] = _found(self.x)
        return {name: tensor.float().cpu().numpy() for name, tensor in results.items()}

    def saved(self) -> int | None:
        """Return the bytes saved by autograd, without weights and input, each memory counted once."""
        if not self.task.trains:
            return None
        known = {t.untyped_storage().data_ptr() for t in (self.x, *self.module.parameters())}
        saved: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            made = self.forward()  # keeps it alive, so that no storage is reused
        del made
        return sum(saved.values())


def _found(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


class Ours(TorchRunner):
    """The layers of this project."""

    def __init__(
        self, task: Task, backend: str = "auto", checkpointed: bool = False, last_output: bool = False
    ) -> None:
        self.backend, self.checkpointed, self.last_output = backend, checkpointed, last_output
        super().__init__(task)
        if checkpointed:  # nor are the imports of the first checkpoint
            checkpoint(torch.sin, torch.zeros(1, requires_grad=True), use_reentrant=False)

    def build(self) -> nn.Module:
        """Return the layer."""
        case = self.task.case
        sizes = (case.in_channels, list(case.hidden_channels), case.kernel_size)
        if case.kind == "conv_gru":
            return ConvGRU2d(*sizes, backend=self.backend)
        if case.kind == "traj_gru":
            return TrajGRU2d(
                *sizes,
                num_flows=FLOWS,
                flow_channels=FLOW_CHANNELS,
                flow_kernel_size=FLOW_KERNEL,
                backend=self.backend,
            )
        kind = (ConvLSTM1d, ConvLSTM2d, ConvLSTM3d)[len(case.size) - 1]
        return kind(*sizes, peephole="channel" if case.peephole else None, backend=self.backend)

    def places(self) -> dict[str, Place]:
        """Return the parameters by name."""
        return {
            name.removeprefix("cells."): (parameter, None)
            for name, parameter in self.module.named_parameters()
        }

    def run(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Run the whole sequence, or parts of about √T steps."""
        if not self.checkpointed:
            output, state = self.module(x, state, return_sequence=not self.last_output)
            return output, state
        outputs = []
        # A step within a part saves four gates, a cell and an output; between parts two states are saved.
        for part in torch.split(x, math.ceil(math.sqrt(len(x) / 3))):
            output, state = checkpoint(self.module, part, state, use_reentrant=False)
            outputs.append(output)
        return torch.cat(outputs), state

    def results(self, made: list[Tensor]) -> dict[str, Array]:
        """Return the results; the last output alone has another name."""
        results = super().results(made)
        return {"last": results["output"]} if self.last_output else results

    def saved(self) -> int | None:
        """Return None for checkpoints, which only the peak describes."""
        return None if self.checkpointed else super().saved()

    def described(self) -> list[str]:
        """Return what computes each part of a step."""
        with self.autocast():
            return str(cast("ConvLSTM2d", self.module).explain(self.x[:1])).splitlines()


class OursFromWheel(Ours):
    """The same with the C kernels of the wheel, in place of those compiled on this machine."""

    def __init__(self, task: Task) -> None:
        shipped_kernels.FOLDER = wheel.kernels(Path(os.environ[WHEEL]))
        super().__init__(task)

    def described(self) -> list[str]:
        """Return what computes each part of a step.

        Raises:
            RuntimeError: The kernels of the wheel were not used.
        """
        said = super().described()
        if not any("compiled kernels: from the wheel" in line for line in said):
            raise RuntimeError("the kernels of the wheel were not used")
        return said


class LoopRunner(TorchRunner):
    """The usual loops."""

    def __init__(self, task: Task, compiled: str | None = None) -> None:
        self.compiled = compiled
        super().__init__(task)

    def build(self) -> nn.Module:
        """Return the loop, eager or compiled."""
        loop = Loop(self.task.case)
        compiled: dict[str | None, list[nn.Module]]
        compiled = {None: [], "step": list(loop.cells), "sequence": [loop]}
        for module in compiled[self.compiled]:
            module.compile(dynamic=False)
        return loop

    def places(self) -> dict[str, Place]:
        """Return the weights of its cells by name."""
        return {
            f"{number}.{name}": place
            for number, cell in enumerate(cast("Loop", self.module).steps())
            for name, place in cell.tensors().items()
        }

    def saved(self) -> int | None:
        """Return None for compiled code, which would have to be compiled again."""
        return None if self.compiled else super().saved()
