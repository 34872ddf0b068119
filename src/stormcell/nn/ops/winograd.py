"""Winograd convolutions: fewer multiplications, equal up to rounding. See ``native/winograd.h``."""

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from stormcell.nn.ops import kernels
from stormcell.nn.ops.kernels import Kernel
from stormcell.nn.ops.layout import as_pixels, empty_images

# Tiles which a thread processes together at most, so that they and their products stay in its caches.
_TILES, _GRADIENT_TILES = 64, 128
_MAX_COST_RATIO = 0.75  # use Winograd below this share of the direct convolution's cost
_TRANSFORM_COST = 10  # of one number, in products


def is_faster(weight: Tensor) -> bool:
    """Return whether Winograd supports a weight ``(C_out, C_in, *k)`` and is faster than PyTorch."""
    share = cost_share(weight)
    return share is not None and share <= _MAX_COST_RATIO


def cost_share(weight: Tensor) -> float | None:
    """Return Winograd's cost, in direct convolutions by this weight; None where it is not supported."""
    outputs, inputs, *kernel = weight.shape
    if len(kernel) not in (2, 3) or inputs == 0 or weight.device.type != "cpu":
        return None
    library = kernels.library(weight.dtype) if weight.dtype in (torch.float32, torch.float64) else None
    if library is None:
        return None
    width: int = library.winograd_breadth()
    # The kernel is cut into pieces of three elements. A full piece needs four products for two pixels; one
    # after the first which ends in zeros needs three.
    products = math.prod(4 if k < 3 else 4 * (k // 3) + (0, 3, 3)[k % 3] for k in kernel[-2:]) / 4
    products *= math.prod(kernel[:-2])
    transforms = 4 * (inputs * _piece_count(kernel) + outputs)
    cost = products * inputs * -(-outputs // width) * width + _TRANSFORM_COST * transforms
    return cost / (math.prod(kernel) * inputs * outputs)


class _Convolution(ctypes.Structure):
    """The ``convolution`` of ``native/winograd.h``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "planes", "height", "width")),
        *((name, ctypes.c_int64) for name in ("kernel_planes", "kernel_height", "kernel_width")),
        *((name, ctypes.c_int64) for name in ("front", "top", "left", "outputs")),
        ("images", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("channels", "pixel_stride", "tiles")),
        ("zeros", ctypes.c_void_p),
    )


class _Kernel(ctypes.Structure):
    """The ``kernel`` of ``native/winograd_kernel.c``."""

    _fields_ = (
        ("at", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("output", "channel", "plane", "row", "column")),
    )


class Winograd:
    """See :class:`stormcell.nn.ops.conv_backends.ConvBackend`."""

    name: ClassVar = "Winograd, compiled"

    def __init__(self, weight: Tensor, first_channel: int = 0) -> None:
        library = kernels.library(weight.dtype)
        assert library is not None
        self._library, self._weight, self._first_channel = library, weight, first_channel
        self._run_convolve = Kernel(library, "winograd_convolve")
        self._run_to_weight = Kernel(library, "winograd_to_weight")
        # (C_out, C_in, planes, rows, columns)
        self._volume = weight if weight.dim() == 5 else weight.unsqueeze(2)
        self._rows, self._breadth = library.winograd_rows(), library.winograd_breadth()
        self._threads = torch.get_num_threads()
        self._workspace = weight.new_empty(0)
        self._d_u: Tensor | None = None
        self._zeros = weight.new_zeros(max(weight.shape[:2]))  # read for pixels outside the image

    def forward(self, images: Tensor, bias: Tensor | None) -> Tensor:
        """See :class:`stormcell.nn.ops.conv_backends.ConvBackend`."""
        z = empty_images(images, len(self._weight))
        self._convolve(images, self._u, bias, z)
        return z

    def forward_with_gates(
        self, images: Tensor, bias: Tensor | None, gates: ctypes.Array[ctypes.c_int64], z: Tensor | None
    ) -> None:
        """Convolve, and compute the gates of a ConvLSTM pixel by pixel while the result is in the caches.

        Args:
            images: (B, *space, C_in + C), input and hidden state.
            bias: (4C,), or None.
            gates: The ``lstm_images`` of ``native/lstm.h``, which the gates read and write.
            z: (B, *space, 4C), where the convolution's result is saved; None not to save it.
        """
        self._convolve(images, self._u, bias, z, ctypes.addressof(gates))

    def input_gradient(self, d_z: Tensor) -> Tensor:
        """See :class:`stormcell.nn.ops.conv_backends.ConvBackend`."""
        d_images = empty_images(d_z, self._weight.shape[1] - self._first_channel)
        self._convolve(d_z, self._u_transposed, None, d_images)
        return d_images

    def add_weight_gradient(self, d_z: Tensor, images: Tensor) -> None:
        """See :class:`stormcell.nn.ops.conv_backends.ConvBackend`."""
        outputs, inputs = self._weight.shape[:2]
        if self._d_u is None:
            self._d_u = self._zeros.new_zeros(16, *self._slabs(outputs, inputs))
        depth, width = self._d_u.shape[2], self._d_u.shape[1] * self._breadth
        # Both may be copies; the names keep them alive during the call.
        images, d_z = _with_pixel_stride(images), as_pixels(d_z).contiguous()
        about = self._describe(images, outputs, _GRADIENT_TILES, 1)
        size = about.tiles * (2 * depth + width)
        depth_parts, none_taken = -(-self._threads // 4), 0
        memory = self._thread_memory(size).data_ptr()
        tensors = d_z.data_ptr(), self._d_u.data_ptr(), memory
        self._run_to_weight(self._threads, ctypes.addressof(about), *tensors, size, depth_parts, none_taken)

    def weight_gradient(self) -> Tensor:
        """See :class:`stormcell.nn.ops.conv_backends.ConvBackend`."""
        assert self._d_u is not None
        d_weight = torch.empty_like(self._volume, memory_format=torch.contiguous_format)
        about = self._describe_kernel(*d_weight.shape[:2])
        kernel = _Kernel(d_weight.data_ptr(), *d_weight.stride())
        Kernel(self._library, "winograd_transform_back")(
            self._d_u.shape[1], ctypes.addressof(about), self._d_u.data_ptr(), ctypes.addressof(kernel)
        )
        return d_weight.view(self._weight.shape)

    @functools.cached_property
    def _u(self) -> Tensor:
        return self._transform(self._volume)

    @functools.cached_property
    def _u_transposed(self) -> Tensor:
        """The input gradient is a convolution by the kernel flipped along every axis."""
        return self._transform(self._volume[:, self._first_channel :].transpose(0, 1), flip=True)

    def _convolve(
        self, images: Tensor, u: Tensor, bias: Tensor | None, z: Tensor | None, gates: int = 0
    ) -> None:
        """Convolve by a transformed weight; write the result to ``z``, or pass it on to the gates."""
        outputs = len(self._weight) if z is None else z.shape[-1]
        depth, width = u.shape[2], u.shape[1] * self._breadth
        images = _with_pixel_stride(images)
        about = self._describe(images, outputs, _TILES, self._threads)
        size = 16 * about.tiles * (depth + width) + 4 * outputs
        bias = self._zeros if bias is None else bias.contiguous()
        memory, none_taken = self._thread_memory(size).data_ptr(), 0
        tensors = u.data_ptr(), bias.data_ptr(), 0 if z is None else z.data_ptr()
        self._run_convolve(self._threads, ctypes.addressof(about), *tensors, gates, memory, size, none_taken)

    def _describe(self, images: Tensor, outputs: int, max_tiles: int, workers: int) -> _Convolution:
        """Describe a convolution for the C code.

        Tiles are processed in lots of equal size, of at most ``max_tiles`` each, and each of the workers gets
        the same number of lots.
        """
        planes = images.shape[1] if images.dim() == 5 else 1
        *leading, height, width, channels = images.shape
        batch = math.prod(leading)
        tiles = batch * -(-height // 2) * -(-width // 2)
        lots = -(-tiles // (max_tiles * workers)) * workers
        about = self._describe_kernel(outputs, channels)
        about.batch, about.planes, about.height, about.width = batch, planes, height, width
        about.images, about.pixel_stride = images.data_ptr(), as_pixels(images).stride(0)
        about.zeros, about.tiles = self._zeros.data_ptr(), -(-tiles // (lots * self._rows)) * self._rows
        return about

    def _describe_kernel(self, outputs: int, inputs: int) -> _Convolution:
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
        )

    def _thread_memory(self, size: int) -> Tensor:
        """Return working memory of this size for every thread."""
        if self._workspace.numel() < size * self._threads:
            self._workspace = self._zeros.new_empty(size * self._threads)
        return self._workspace

    def _slabs(self, outputs: int, inputs: int) -> tuple[int, int, int]:
        """Return the shape of one of the 16 transformed weights: slabs of output channels, depth, breadth."""
        depth = -(-inputs * _piece_count(self._weight.shape[2:]) // self._rows) * self._rows
        return -(-outputs // self._breadth), depth, self._breadth

    def _transform(self, weight: Tensor, *, flip: bool = False) -> Tensor:
        """Return G g G' of a kernel g, flipped or not: ``(16, slabs, depth, breadth)``."""
        outputs, inputs = weight.shape[:2]
        u = weight.new_empty(16, *self._slabs(outputs, inputs))
        kernel = _Kernel(weight.data_ptr(), *weight.stride())
        if flip:  # read from the last element backwards
            last, strides = weight[0, 0, -1:, -1:, -1:].data_ptr(), weight.stride()
            kernel = _Kernel(last, *strides[:2], *(-stride for stride in strides[2:]))
        about = self._describe_kernel(outputs, inputs)
        addresses = ctypes.addressof(about), ctypes.addressof(kernel), u.data_ptr()
        Kernel(self._library, "winograd_transform")(u.shape[1], *addresses)
        return u


def _piece_count(kernel: Sequence[int]) -> int:
    """Return the number of pieces of 3×3 elements which a kernel is cut into."""
    return math.prod(kernel[:-2]) * math.prod(-(-k // 3) for k in kernel[-2:])


def _with_pixel_stride(images: Tensor) -> Tensor:
    """Return images whose pixels are contiguous and at equal distances, as the C code expects them."""
    return as_pixels(images).view(images.shape)
