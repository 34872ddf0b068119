"""Whether this processor is fast in bfloat16, found out by trying.

A processor can have instructions for bfloat16 and still convolve slower in it than in float32: those with
AVX512-BF16 but without AMX do.
"""

import functools
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import torch
from torch import Tensor

from stormcell.nn.ops import machine_cache, onednn

_LEAST_GAIN = 1.2  # by which one way must be faster to be preferred to the usual one
_TRIALS = 5


class Probe(NamedTuple):
    """The time of one small convolution, in seconds, in each kind of numbers."""

    float32: float
    bfloat16: float

    @property
    def prefers_bfloat16(self) -> bool:
        """Whether a network of convolutions is faster in bfloat16, by enough to give up precision."""
        return self.bfloat16 * _LEAST_GAIN < self.float32

    def prefers_float32(self, share: float) -> bool:
        """Whether bfloat16 images are convolved faster in float32, by enough to convert them.

        Args:
            share: The cost of the convolution in float32, in direct convolutions in float32: below 1 if it
                needs fewer products.
        """
        return share * self.float32 * _LEAST_GAIN < self.bfloat16


@functools.cache
def measured() -> Probe:
    """Return the times on this machine: measured in milliseconds at first use, and stored on disk."""
    name = f"bfloat16-{_key()}.json"
    with suppress(OSError, ValueError, TypeError):  # no file yet, no folder, or not what was written
        return Probe(**json.loads((machine_cache.folder() / name).read_text()))
    probe = _measure()
    with suppress(OSError), machine_cache.replacing(machine_cache.folder() / name) as path:
        path.write_text(json.dumps(probe._asdict()))
    return probe


def _key() -> str:
    """Return a name for what the times depend on."""
    parts = "one thread", torch.__version__, machine_cache.processor(), onednn.instruction_limit()
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def _measure() -> Probe:
    images, weight = torch.rand(1, 48, 32, 32), torch.rand(192, 48, 3, 3)
    images = images.contiguous(memory_format=torch.channels_last)
    kinds = (images, weight), (images.bfloat16(), weight.bfloat16())

    def seconds(images: Tensor, weight: Tensor) -> float:
        began = time.perf_counter()
        torch.conv2d(images, weight, padding=1)
        return time.perf_counter() - began

    with _one_thread(), torch.inference_mode(), torch.autocast("cpu", enabled=False):
        trials = [[seconds(*kind) for kind in kinds] for _ in range(_TRIALS)]
    return Probe(*map(min, zip(*trials, strict=True)))  # other programs only make it longer


_lock = threading.Lock()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch use one thread: several wait for each other if another program uses a processor's core.

    On a machine that was shared, each of ten convolutions of a millisecond so took 20, in both kinds of
    numbers, and the wrong choice was stored.
    """
    with _lock:  # else another caller could read one thread, and set it at the end
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
