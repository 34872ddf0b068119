"""The convolutions of a case alone: a bound for the speed of every implementation.

For each convolution the fastest way is searched: input and state in one convolution or in two, several chunk
sizes, both memory formats, and PyTorch's convolution or the layers' own back ends; separately for the forward
pass, the input gradient and the weight gradient.
"""

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.layers.arrays import Array
from benchmarks.layers.cases import Case
from benchmarks.layers.convolutions import FORWARD, PARTS, TO_INPUT, TO_WEIGHT, Convolution, Way, ways
from benchmarks.layers.runners import Task
from benchmarks.layers.torch_runners import OnDevice
from stormcell.nn.ops.conv_backends import conv_backend

LAYOUTS = ("contiguous", "channels last")


class Pass:
    """One part of one convolution, over all images of a sequence, in chunks."""

    def __init__(self, task: Task, convolution: Convolution, part: str, layout: str, chunk: int) -> None:
        case, c = task.case, convolution
        self.convolution, self.part, self.layout, self.chunk = convolution, part, layout, chunk
        self.total = case.batch * case.steps
        # Chunks cycle through the images of one step, which stay in the caches as in a layer.
        images = max(case.batch, chunk)
        # A line becomes an image of one row: only images have two memory formats.
        kernel, size = ((1, *c.kernel), (1, *case.size)) if len(case.size) == 1 else (c.kernel, case.size)
        inputs = c.asked if part == TO_INPUT else c.inputs
        self.images = _random(task, layout, images, inputs, *size)
        self.weight = _random(task, layout, c.outputs, inputs, *kernel)
        self.gradient = None if part == FORWARD else _random(task, layout, images, c.outputs, *size)
        self.padding = [k // 2 for k in kernel]

    def __call__(self, images: int) -> None:
        """Convolve this number of images."""
        done, around = 0, len(self.images)
        while done < images:
            start = done % around
            end = min(start + self.chunk, around)
            self.convolve(slice(start, end))
            done += end - start

    def convolve(self, chunk: slice) -> Tensor:
        """Convolve a chunk."""
        images, ones, zeros = self.images[chunk], [1] * len(self.padding), [0] * len(self.padding)
        if self.gradient is None:
            return torch.convolution(images, self.weight, None, ones, self.padding, ones, False, zeros, 1)
        wanted = [self.part == TO_INPUT, self.part == TO_WEIGHT, False]
        found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
            self.gradient[chunk],
            images,
            self.weight,
            None,
            ones,
            self.padding,
            ones,
            False,
            zeros,
            1,
            wanted,
        )
        return found[0] if self.part == TO_INPUT else found[1]

    def __str__(self) -> str:
        c = self.convolution
        return f"{self.part} {c.inputs}→{c.outputs}, {self.layout}, {self.chunk} at once"


class Ours(Pass):
    """The same, by the layers' own back end."""

    def __call__(self, images: int) -> None:
        """Convolve this number of images; the weight is prepared once."""
        self.backend = conv_backend(self.weight)
        super().__call__(images)

    def convolve(self, chunk: slice) -> Tensor:
        """Convolve a chunk."""
        images = self.images[chunk].movedim(1, -1)
        if self.gradient is None:
            return self.backend.forward(images, None)
        gradient = self.gradient[chunk].movedim(1, -1)
        if self.part == TO_INPUT:
            return self.backend.input_gradient(gradient)
        self.backend.add_weight_gradient(gradient, images)
        return gradient

    def __str__(self) -> str:
        return f"{super().__str__()}, as the layers do"


class Bare(OnDevice):
    """All convolutions of a case, each in the fastest way found."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        torch.backends.cudnn.benchmark = True
        self._found: dict[tuple[Convolution, str], tuple[float, Pass]] = {}
        parts = PARTS if task.trains else (FORWARD,)
        with torch.no_grad():
            self.passes = [
                one for layer in ways(task.case) for part in parts for one in self._fastest_way(layer, part)
            ]

    def step(self) -> None:
        """Convolve."""
        with torch.no_grad():
            for one in self.passes:
                one(one.total)

    def results(self, made: None) -> dict[str, Array]:  # noqa: ARG002 - not compared
        """Return nothing: the tests check that all ways agree."""
        return {}

    def saved(self) -> int | None:
        """Return None: not measured."""
        return None

    def described(self) -> list[str]:
        """Describe the way of each part."""
        return list(map(str, self.passes))

    def _fastest_way(self, layer: list[Way], part: str) -> list[Pass]:
        """Return the convolutions of a layer's step, split in the fastest way."""
        found = [[self._fastest(c, part) for c in way if part != TO_INPUT or c.asked] for way in layer]
        return [one for _, one in min(found, key=lambda way: sum(seconds for seconds, _ in way))]

    def _fastest(self, convolution: Convolution, part: str) -> tuple[float, Pass]:
        """Return the fastest way for a convolution, and its time per image."""
        key = convolution, part
        if key not in self._found:
            sorts = [*((Pass, layout) for layout in LAYOUTS), (Ours, LAYOUTS[1])]
            candidates = (  # created one by one, as they can be large
                sort(self.task, convolution, part, layout, chunk)
                for sort, layout in sorts
                for chunk in pieces(self.task.case, convolution, part)
            )
            timed = ((self._per_image(one), one) for one in candidates)
            self._found[key] = min(timed, key=lambda pair: pair[0])
        return self._found[key]

    def _per_image(self, one: Pass) -> float:
        images = len(one.images)
        one(images)
        return min(self._timed(one, images) for _ in range(2)) / images

    def _timed(self, one: Pass, images: int) -> float:
        self._wait()
        start = time.perf_counter()
        one(images)
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type != "cpu":
            torch.cuda.synchronize(self.device)


def pieces(case: Case, convolution: Convolution, part: str) -> Iterator[int]:
    """Yield numbers of images per chunk: up to a batch, or all steps if no step depends on another."""
    size = 1
    while size < case.batch:
        yield size
        size *= 2
    yield case.batch
    if case.steps > 1 and (part == TO_WEIGHT or not convolution.in_sequence):
        yield case.batch * case.steps


def _random(task: Task, layout: str, *shape: int) -> Tensor:
    dtype = torch.bfloat16 if task.dtype == "bfloat16" else torch.float32
    last = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    memory_format = last if layout == LAYOUTS[1] else torch.contiguous_format
    random = torch.randn(shape, device=task.device) / math.sqrt(math.prod(shape[1:]))
    return random.to(dtype).contiguous(memory_format=memory_format)
