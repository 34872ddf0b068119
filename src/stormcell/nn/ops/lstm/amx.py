"""A step of a ConvLSTM in bfloat16 on processors with the matrix unit AMX. See ``native/lstm_amx.c``."""

import ctypes
import functools
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from stormcell.nn.ops import kernels, machine_cache, onednn
from stormcell.nn.ops.kernels import Kernel
from stormcell.nn.ops.layout import addresses, as_pixels
from stormcell.nn.ops.lstm.pointwise import StepImages, native_images

_GROUP, _DEPTH = 16, 32  # the pixels of a tile, and the channels of each
_MAX_WEIGHT_BYTES = 1 << 20  # weights are read for every 32 pixels: they must stay in the second-level cache


def is_faster(weight: Tensor) -> bool:
    """Return whether the step supports a weight ``(4C, C_in + C, *k)`` and is the fastest here."""
    is_plane = weight.dim() == 4 and weight.device.type == "cpu"
    if weight.dtype != torch.bfloat16 or not is_plane or len(weight) % (4 * _GROUP):
        return False
    is_small = _depth(weight) * len(weight) * weight.itemsize <= _MAX_WEIGHT_BYTES
    return is_small and hasattr(kernels.library(weight.dtype), "lstm_amx") and _is_supported()


class AMXStep:
    """See :class:`stormcell.nn.ops.lstm.step.Step`."""

    name: ClassVar = "AMX, compiled"

    def __init__(self, weight: Tensor, bias: Tensor | None, w: Tensor) -> None:
        library = kernels.library(weight.dtype)
        assert library is not None
        outputs, inputs, rows, columns = weight.shape
        patched = _patched(weight)
        self._run, self._w = Kernel(library, "lstm_amx"), w
        self._sizes = rows, columns, patched, inputs - patched, outputs // 4
        self._weights = _tiles(weight)
        self._bias = w.new_zeros(outputs) if bias is None else bias.to(w.dtype).contiguous()
        self._threads = torch.get_num_threads()
        copied = rows * (_GROUP + columns - 1) * _padded(inputs - patched) + _GROUP * _DEPTH
        arguments = 2 * _GROUP * outputs  # of the gates of two groups
        self._share = 2 * copied + 2 * arguments * (w.itemsize // weight.itemsize)
        self._workspace = weight.new_zeros(self._threads * self._share)

    def __call__(self, xh: Tensor, images: StepImages, saved: Tensor | None) -> Tensor | None:
        """See :class:`stormcell.nn.ops.lstm.step.Step`."""
        native, pixels = native_images(images, self._w), as_pixels(xh)
        self._run(
            self._threads,
            *xh.shape[:3],
            *self._sizes,
            *addresses(pixels),
            *(self._weights.data_ptr(), self._bias.data_ptr(), ctypes.addressof(native)),
            *addresses(None if saved is None else as_pixels(saved)),
            *(self._workspace.data_ptr(), self._share, self._threads),
        )
        return saved


@functools.cache
def _is_supported() -> bool:
    """Return whether there is AMX with bfloat16, and both user and system let this process use it."""
    if onednn.instruction_limit() is not None or "amx_bf16" not in machine_cache.processor().split():
        return False
    request = getattr(torch.cpu, "_init_amx", None)  # not part of PyTorch's public interface
    return request is not None and bool(request())


def _tiles(weight: Tensor) -> Tensor:
    """Return the weight in the order in which tiles are read.

    Returns:
        (C / 16, 2, products, 2, 16, 16, 2): groups of 16 channels, pairs of gates, products of 32 input
        channels, the two gates, pairs of input channels, the 16 channels, and the input channels of a pair.
    """
    patched, outputs = _patched(weight), len(weight)
    patch = weight[:, :patched].movedim(1, -1).reshape(outputs, -1)
    others = weight[:, patched:].movedim(1, -1)
    others = F.pad(others, (0, _padded(others.shape[-1]) - others.shape[-1])).reshape(outputs, -1)
    products = torch.cat([others, F.pad(patch, (0, _padded(patch.shape[1]) - patch.shape[1]))], dim=1)
    split = products.reshape(2, 2, outputs // (4 * _GROUP), _GROUP, -1, _DEPTH // 2, 2)
    return split.permute(2, 0, 4, 1, 5, 3, 6).contiguous()


def _patched(weight: Tensor) -> int:
    """Return the number of input channels that are put side by side for the whole kernel."""
    inputs = weight.shape[1] - len(weight) // 4
    return inputs if inputs * weight[0, 0].numel() <= _DEPTH else 0


def _depth(weight: Tensor) -> int:
    """Return the number of products for one output."""
    patched = _patched(weight)
    return weight[0, 0].numel() * _padded(weight.shape[1] - patched) + (_DEPTH if patched else 0)


def _padded(channels: int) -> int:
    return -(-channels // _DEPTH) * _DEPTH
