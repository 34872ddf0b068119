"""PyTorch's convolutions, called so that oneDNN computes them fast.

Images are ``(B, C, *space)``, the stride is 1. On its own PyTorch lays a weight out anew for every call, and
does not use oneDNN for lines or for volumes in float32.
"""

import functools
import os
from typing import Any

import torch
from torch import Tensor


class OneDNNConvolution:
    """The convolution by one weight ``(C_out, C_in, *k)``, which is laid out once.

    The functions for this are not part of PyTorch's public interface. If they or oneDNN are missing, or if
    oneDNN does not support the weight's dtype, PyTorch's own convolution is used.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight
        self._reordered: Tensor | None = None

    def __call__(self, images: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
        """Convolve.

        Args:
            images: (B, C_in, *space).
            bias: (C_out,), or None.
            padding: Zeros on both sides of each axis.

        Returns:
            (B, C_out, *space).
        """
        ones, zeros = [1] * len(padding), [0] * len(padding)
        if not torch.backends.mkldnn.enabled or not _is_supported(images.device, self._weight.dtype):
            weight = self._channels_last
            return torch.convolution(images, weight, bias, ones, padding, ones, False, zeros, 1)
        is_line = len(padding) == 1
        if is_line:
            images, padding = images.unsqueeze(-2), [0, *padding]
        if self._reordered is None:
            weight = self._weight.unsqueeze(-2) if is_line else self._weight
            self._reordered = _reorder(weight, images, padding)
        result = _convolve(images, self._reordered, bias, padding)
        return result.squeeze(-2) if is_line else result

    @functools.cached_property
    def _channels_last(self) -> Tensor:
        return self._weight.movedim(1, -1).contiguous().movedim(-1, 1)


def conv_weight_gradient(d_z: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of a weight, given that of the output; of ``weight`` only the shape is used.

    It has the weight's dtype, or float32 where PyTorch would round its sum after every image.
    """
    if weight.dim() == 3:
        lines = (each.unsqueeze(-2) for each in (d_z, images, weight))
        return conv_weight_gradient(*lines).squeeze(-2)
    dtype, device = weight.dtype, images.device
    if dtype == torch.bfloat16 and device.type == "cpu" and not _sums_bfloat16():
        return conv_weight_gradient(d_z.float(), images.float(), weight.float())
    # In float32, planes are faster. In bfloat16, oneDNN's gradient of volumes is wrong where a kernel is
    # about as deep as the volume.
    wrong = dtype == torch.bfloat16 and device.type == "cpu"
    if weight.dim() == 5 and (wrong or _is_supported(device, dtype)):
        return _plane_by_plane(d_z, images, weight)
    padding = [k // 2 for k in weight.shape[2:]]
    ones, zeros, mask = [1] * len(padding), [0] * len(padding), [False, True, False]
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        d_z, images, weight, None, ones, padding, ones, False, zeros, 1, mask
    )
    return gradients[1]


def _plane_by_plane(d_z: Tensor, volumes: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of a kernel of volumes: each of its planes convolves planes of the volume."""
    depth, planes = volumes.shape[2], weight.shape[2]
    d_weight = torch.zeros_like(weight)
    for plane in range(planes):
        offset = plane - planes // 2  # from an output plane to the input plane that this kernel plane reads
        first, last = max(0, -offset), depth - max(0, offset)
        if first < last:
            inputs = volumes[:, :, first + offset : last + offset].transpose(1, 2).flatten(0, 1)
            outputs = d_z[:, :, first:last].transpose(1, 2).flatten(0, 1)
            d_weight[:, :, plane] = conv_weight_gradient(outputs, inputs, weight[:, :, plane])
    return d_weight


def _reorder(weight: Tensor, images: Tensor, padding: list[int]) -> Tensor:
    reorder = getattr(torch._C._nn, f"mkldnn_reorder_conv{len(padding)}d_weight")
    ones = [1] * len(padding)
    # The images' shape only guides the choice of a layout, which works for images of any size.
    result: Tensor = reorder(weight.contiguous().to_mkldnn(), padding, ones, ones, 1, list(images.shape))
    return result


def _convolve(images: Tensor, reordered: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
    ones = [1] * len(padding)
    convolve: Any = torch.ops.mkldnn._convolution_pointwise
    result: Tensor = convolve(images, reordered, bias, padding, ones, ones, 1, "none", [], "")
    return result


def instruction_limit() -> str | None:
    """Return the newest instructions that the environment allows oneDNN, or None if it allows all."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA")


def _sums_bfloat16() -> bool:
    """Return whether oneDNN computes gradients in bfloat16, whose sums it rounds only at the end."""
    # The function is not part of PyTorch's public interface, and missing where oneDNN is.
    supported: Any = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(torch.backends.mkldnn.enabled and supported is not None and supported())


@functools.cache
def _is_supported(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether oneDNN supports weights of this dtype and PyTorch can reorder them, by trying."""
    if device.type != "cpu" or dtype not in (torch.float32, torch.bfloat16):
        return False
    try:
        for axes in (2, 3):
            one = torch.ones([1] * (axes + 2), dtype=dtype)
            _convolve(one, _reorder(one, one, [0] * axes), None, [0] * axes)
    except (AttributeError, RuntimeError, TypeError):  # a missing function, library or argument
        return False
    return True
