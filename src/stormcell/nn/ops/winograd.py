"""Convolutions with fewer multiplications than terms, exact to rounding: see ``native/winograd.c``."""

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stormcell.nn.ops import compiler
from stormcell.nn.ops.gates import Images, native_images
from stormcell.nn.ops.pixels import like, pixels

# How many tiles are worked through together at most, so that they and what they give stay in the caches.
_TILES, _TILES_TO_WEIGHT = 64, 128
_PAYS = 0.75  # for at most so much of the plain way's work
_TRANSFORM = 10  # products that a number's transform costs as much as


def pays(weight: Tensor) -> bool:
    """Tell whether a weight ``(C_out, C_in, *k)`` is known here, and better so than by the plain way."""
    outputs, inputs, *kernel = weight.shape
    if len(kernel) not in (2, 3) or inputs == 0 or weight.device.type != "cpu":
        return False
    library = compiler.library(weight.dtype) if weight.dtype in (torch.float32, torch.float64) else None
    if library is None:
        return False
    wide: int = library.winograd_breadth()
    # Of four products for two pixels, a piece that is not the first and ends in zeros does without one.
    products = math.prod(4 if k < 3 else 4 * (k // 3) + (0, 3, 3)[k % 3] for k in kernel[-2:]) / 4
    products *= math.prod(kernel[:-2])
    transforms = 4 * (inputs * _pieces(kernel) + outputs)
    ours = products * inputs * -(-outputs // wide) * wide + _TRANSFORM * transforms
    return ours <= _PAYS * math.prod(kernel) * inputs * outputs


class _Convolution(ctypes.Structure):
    """The ``convolution`` of ``native/winograd.c``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "planes", "height", "width")),
        *((name, ctypes.c_int64) for name in ("kernel_planes", "kernel_height", "kernel_width")),
        *((name, ctypes.c_int64) for name in ("front", "top", "left", "outputs")),
        ("seen", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("channels", "apart", "tiles", "threads")),
        ("zeros", ctypes.c_void_p),
    )


class _Kernel(ctypes.Structure):
    """The ``kernel`` of ``native/winograd.c``."""

    _fields_ = (
        ("at", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("output", "channel", "plane", "row", "column")),
    )


class Winograd:
    """See :class:`stormcell.nn.ops.engines.Engine`."""

    def __init__(self, weight: Tensor, first: int = 0) -> None:
        library = compiler.library(weight.dtype)
        assert library is not None
        self._library, self._weight, self._first = library, weight, first
        # (C_out, C_in, planes, rows, columns)
        self._volume = weight if weight.dim() == 5 else weight.unsqueeze(2)
        self._rows, self._breadth = library.winograd_rows(), library.winograd_breadth()
        self._threads = torch.get_num_threads()
        self._workspace = weight.new_empty(0)
        self._d_u: Tensor | None = None
        # A pixel of zeros where there is none.
        self._zeros = weight.new_zeros(max(weight.shape[:2]))

    def forward(self, seen: Tensor, bias: Tensor | None) -> Tensor:
        """See :class:`stormcell.nn.ops.engines.Engine`."""
        z = like(seen, len(self._weight))
        self._convolve(seen, self._u, bias, z)
        return z

    def step(self, seen: Tensor, bias: Tensor | None, images: Images, w: Tensor, kept: Tensor | None) -> None:
        """Convolve, and take the step of the ConvLSTM whose gates that gives, pixel by pixel.

        See :meth:`stormcell.nn.ops.lstm_steps.Step.__call__`.
        """
        self._convolve(seen, self._u, bias, kept, ctypes.byref(native_images(images, w)))

    def to_input(self, d_z: Tensor) -> Tensor:
        """See :class:`stormcell.nn.ops.engines.Engine`."""
        d_seen = like(d_z, self._weight.shape[1] - self._first)
        self._convolve(d_z, self._u_to_input, None, d_seen)
        return d_seen

    def to_weight(self, d_z: Tensor, seen: Tensor) -> None:
        """See :class:`stormcell.nn.ops.engines.Engine`."""
        outputs, inputs = self._weight.shape[:2]
        if self._d_u is None:
            self._d_u = self._zeros.new_zeros(16, *self._slabs(outputs, inputs))
        deep, wide = self._d_u.shape[2], self._d_u.shape[1] * self._breadth
        # These may be copies, which are to live as long.
        seen, d_z = _whole(seen), pixels(d_z).contiguous()
        about = self._about(seen, outputs, _TILES_TO_WEIGHT, 1)
        share = about.tiles * (2 * deep + wide)
        self._library.winograd_to_weight(
            ctypes.byref(about),
            _at(d_z),
            _at(self._d_u),
            _at(self._room(share)),
            ctypes.c_int64(share),
        )

    def d_weight(self) -> Tensor:
        """See :class:`stormcell.nn.ops.engines.Engine`."""
        assert self._d_u is not None
        return self._transformed_back(self._d_u)

    @functools.cached_property
    def _u(self) -> Tensor:
        return self._transformed(self._volume)

    @functools.cached_property
    def _u_to_input(self) -> Tensor:
        # What a pixel gave is brought back to it: the same kernel the other way around, each way.
        return self._transformed(self._volume[:, self._first :].transpose(0, 1), turned=True)

    def _convolve(
        self, seen: Tensor, u: Tensor, bias: Tensor | None, z: Tensor | None, images: Any = None
    ) -> None:
        """Convolve by a transformed weight, to ``z``, or where there are images on to those."""
        outputs = len(self._weight) if z is None else z.shape[-1]
        deep, wide = u.shape[2], u.shape[1] * self._breadth
        seen = _whole(seen)
        about = self._about(seen, outputs, _TILES, self._threads)
        share = 16 * about.tiles * (deep + wide) + 4 * outputs
        bias = self._zeros if bias is None else bias.contiguous()
        self._library.winograd_convolve(
            ctypes.byref(about),
            _at(u),
            _at(bias),
            None if z is None else _at(z),
            images,
            _at(self._room(share)),
            ctypes.c_int64(share),
        )

    def _about(self, seen: Tensor, outputs: int, most: int, workers: int) -> _Convolution:
        """Return the shape of the work.

        The tiles are in lots of one size, at most so many in each and as many lots for every worker.
        """
        planes = seen.shape[1] if seen.dim() == 5 else 1
        *images, height, width, channels = seen.shape
        batch = math.prod(images)
        tiles = batch * -(-height // 2) * -(-width // 2)
        lots = -(-tiles // (most * workers)) * workers
        tiles = -(-tiles // (lots * self._rows)) * self._rows
        about = self._about_kernel(outputs, channels)
        about.batch, about.planes, about.height, about.width = batch, planes, height, width
        about.seen, about.apart = seen.data_ptr(), pixels(seen).stride(0)
        about.zeros, about.tiles = self._zeros.data_ptr(), tiles
        return about

    def _room(self, share: int) -> Tensor:
        """Return memory for every thread to work in."""
        if self._workspace.numel() < share * self._threads:
            self._workspace = self._zeros.new_empty(share * self._threads)
        return self._workspace

    def _slabs(self, outputs: int, inputs: int) -> tuple[int, int, int]:
        deep = -(-inputs * _pieces(self._weight.shape[2:]) // self._rows) * self._rows
        return -(-outputs // self._breadth), deep, self._breadth

    def _transformed(self, weight: Tensor, *, turned: bool = False) -> Tensor:
        """Return G g G' of a kernel, (16, slabs, depth, BREADTH); of one turned around if asked for."""
        outputs, inputs = weight.shape[:2]
        u = weight.new_empty(16, *self._slabs(outputs, inputs))
        kernel = _Kernel(weight.data_ptr(), *weight.stride())
        if turned:  # from the last number backwards
            last, strides = weight[0, 0, -1:, -1:, -1:].data_ptr(), weight.stride()
            kernel = _Kernel(last, *strides[:2], *(-stride for stride in strides[2:]))
        about = self._about_kernel(outputs, inputs)
        self._library.winograd_transform(ctypes.byref(about), ctypes.byref(kernel), _at(u))
        return u

    def _transformed_back(self, d_u: Tensor) -> Tensor:
        """Return the gradient of a kernel, by that of what it was transformed to."""
        d_weight = torch.empty_like(self._volume, memory_format=torch.contiguous_format)
        about = self._about_kernel(*d_weight.shape[:2])
        kernel = _Kernel(d_weight.data_ptr(), *d_weight.stride())
        self._library.winograd_transform_back(ctypes.byref(about), _at(d_u), ctypes.byref(kernel))
        return d_weight.view(self._weight.shape)

    def _about_kernel(self, outputs: int, inputs: int) -> _Convolution:
        planes, rows, columns = self._volume.shape[2:]
        return _Convolution(
            kernel_planes=planes,
            kernel_height=rows,
            kernel_width=columns,
            front=planes // 2,
            top=rows // 2,
            left=columns // 2,
            outputs=outputs,
            channels=inputs,
            threads=self._threads,
        )


def _pieces(kernel: Sequence[int]) -> int:
    """Return how many pieces of three by three a kernel is cut into."""
    return math.prod(kernel[:-2]) * math.prod(-(-k // 3) for k in kernel[-2:])


def _whole(images: Tensor) -> Tensor:
    """Return images whose pixels are each in one piece, and as far from the next as any."""
    return pixels(images).view(images.shape)


def _at(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
