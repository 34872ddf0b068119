"""Contenders on PyTorch."""

import math
import time
from abc import ABC, abstractmethod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.layers import arrays, memory
from benchmarks.layers.arrays import Array
from benchmarks.layers.cases import FLOW_CHANNELS, FLOW_KERNEL, FLOWS
from benchmarks.layers.loops import Loop, Place
from benchmarks.layers.runners import Task
from stormcell.nn import ConvGRU2d, ConvLSTM1d, ConvLSTM2d, ConvLSTM3d, TrajGRU2d


class OnDevice(ABC):
    """Time and memory, on a CPU or a GPU."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.device = torch.device(task.device)
        torch.set_num_threads(task.threads)
        if task.trains:  # what PyTorch imports at its first gradient is no contender's memory
            one = torch.zeros(1, device=self.device, requires_grad=True)
            one.sin().backward(one.detach())  # type: ignore[no-untyped-call]

    @abstractmethod
    def step(self) -> Any:
        """See :class:`benchmarks.layers.runners.Runner`, also below."""

    def timed(self, number: int) -> tuple[float, Any]:
        """A GPU's own clock, where there is one."""
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
            made = None  # what the step before has made is not needed any more
            made = self.step()
        return made

    def held(self) -> int | None:
        """Memory in use: the process's, or the GPU's."""
        if self.device.type == "cpu":
            return memory.held()
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def peak(self) -> int | None:
        """The most of it."""
        return memory.peak() if self.device.type == "cpu" else torch.cuda.max_memory_allocated(self.device)


class TorchRunner(OnDevice):
    """A module that is given a sequence, forwards and, in training, backwards."""

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
        """Make the module."""

    @abstractmethod
    def places(self) -> dict[str, Place]:
        """Return where the weights are, named ``"0.weight_ih"`` with the layer first."""

    def run(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the output and the last state."""
        output, state = self.module(x, state)
        return output, state

    def forward(self) -> list[Tensor]:
        """Return the output, in as many pieces as there are calls."""
        lowered = self.task.dtype == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=lowered):
            if not self.task.case.frame_by_frame:
                return [self.run(self.x, None)[0]]
            state, outputs = None, []
            for frame in torch.split(self.x, 1):
                output, state = self.run(frame, state)
                outputs.append(output)
            return outputs

    def step(self) -> list[Tensor]:
        """Forwards and, in training, backwards from a given gradient."""
        if not self.task.trains:
            with torch.no_grad():
                return self.forward()
        self.module.zero_grad()
        self.x.grad = None
        (output,) = self.forward()
        # Converted once: how an output comes to have a gradient is not the layer's business.
        self._gradient = self._gradient.to(output.dtype)
        output.backward(self._gradient)  # type: ignore[no-untyped-call]
        return [output]

    def results(self, made: list[Tensor]) -> dict[str, Array]:
        """Everything, in float32."""
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
        """What autograd is given to keep, beside weights and input, each memory once."""
        if not self.task.trains:
            return None
        known = {t.untyped_storage().data_ptr() for t in (self.x, *self.module.parameters())}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            made = self.forward()  # holds on to it, lest a storage takes the place of one that is gone
        del made
        return sum(kept.values())


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
        if checkpointed:  # nor is what it imports at its first checkpoint
            checkpoint(torch.sin, torch.zeros(1, requires_grad=True), use_reentrant=False)

    def build(self) -> nn.Module:
        """The layer that a user would make."""
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
        """The parameters, under their own names."""
        return {
            name.removeprefix("cells."): (parameter, None)
            for name, parameter in self.module.named_parameters()
        }

    def run(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Run all of it, or parts of about √T steps each."""
        if not self.checkpointed:
            output, state = self.module(x, state, return_sequence=not self.last_output)
            return output, state
        outputs = []
        # Within a part a step keeps four gates, a cell and an output; between parts there are two states.
        for part in torch.split(x, math.ceil(math.sqrt(len(x) / 3))):
            output, state = checkpoint(self.module, part, state, use_reentrant=False)
            outputs.append(output)
        return torch.cat(outputs), state

    def results(self, made: list[Tensor]) -> dict[str, Array]:
        """The last output has a name of its own."""
        results = super().results(made)
        return {"last": results["output"]} if self.last_output else results

    def saved(self) -> int | None:
        """Of a checkpoint only the peak tells."""
        return None if self.checkpointed else super().saved()


class LoopRunner(TorchRunner):
    """The loops that circulate."""

    def __init__(self, task: Task, compiled: str | None = None) -> None:
        self.compiled = compiled
        super().__init__(task)

    def build(self) -> nn.Module:
        """The loop, eager or compiled."""
        loop = Loop(self.task.case)
        compiled: dict[str | None, list[nn.Module]]
        compiled = {None: [], "step": list(loop.cells), "sequence": [loop]}
        for module in compiled[self.compiled]:
            module.compile(dynamic=False)
        return loop

    def places(self) -> dict[str, Place]:
        """Where its cells say."""
        return {
            f"{number}.{name}": place
            for number, cell in enumerate(cast("Loop", self.module).steps())
            for name, place in cell.tensors().items()
        }

    def saved(self) -> int | None:
        """What compiled code keeps cannot be asked for without compiling it anew."""
        return None if self.compiled else super().saved()
