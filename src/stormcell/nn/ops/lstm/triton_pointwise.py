"""The gate arithmetic of a ConvLSTM step on a GPU, in Triton.

Each program computes a tile of pixels and channels, by the arithmetic of ``native/lstm.c``. Triton comes with
PyTorch for CUDA.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any, ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from stormcell.nn.ops.lstm.pointwise import StepImages

_TILE = 1024  # values of each image per program: more do not fit into the registers
_WIDE = 64  # of them channels of one pixel, at most
_WARPS = 8


class TritonPointwise:
    """See :class:`stormcell.nn.ops.lstm.pointwise.Pointwise`."""

    name: ClassVar = "Triton"

    def forward(self, z: Tensor, w: Tensor, images: StepImages, saved: Tensor | None = None) -> None:
        """See :class:`stormcell.nn.ops.lstm.pointwise.Pointwise`."""
        c_old, *written = images
        _launch(_lstm_forward, (c_old, z, *written), w)
        if saved is not None:
            saved.copy_(z)

    def backward(
        self,
        z: Tensor,
        c_old: Tensor,
        c_new: Tensor,
        w: Tensor,
        d_output: Tensor,
        d_h: Tensor,
        d_c: Tensor,
        h: Tensor,
    ) -> Tensor:
        """See :class:`stormcell.nn.ops.lstm.pointwise.Pointwise`."""
        pixels, channels = c_old.shape
        # One partial sum per tile: the result of atomic additions would depend on the order of the programs.
        sums = d_c.new_empty(triton.cdiv(pixels, _tile(channels)[0]), 7, channels)
        _launch(_lstm_backward, (c_old, z, c_new, d_output, d_h, d_c, h), w, sums)
        return sums.sum(0)


def _tile(channels: int) -> tuple[int, int]:
    """Return the pixels and the channels of a tile, both powers of 2."""
    wide = min(_WIDE, triton.next_power_of_2(channels))
    return _TILE // wide, wide


def _launch(kernel: Any, images: tuple[Tensor, ...], *others: Tensor) -> None:
    """Launch a kernel over images without waiting for it; the first image is ``(P, C)``."""
    pixels, channels = images[0].shape
    tall, wide = _tile(channels)
    grid = triton.cdiv(pixels, tall), triton.cdiv(channels, wide)
    pairs = [each for image in images for each in (image, image.stride(0))]
    with torch.cuda.device_of(images[0]):  # type: ignore[no-untyped-call] # Triton uses the current device
        kernel[grid](pixels, channels, *pairs, *others, TALL=tall, WIDE=wide, num_warps=_WARPS)


@triton.jit
def _sigmoid(x: tl.tensor) -> tl.tensor:
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _tanh(x: tl.tensor) -> tl.tensor:
    # Near 0 the digits of the quotient cancel. There Lambert's continued fraction is used, x / (1 + x^2 /
    # (3 + x^2 / (5 + ... / 13))): for |x| < 3/8 its error is below x^14 / 135135^2, a part in 10^16.
    s = x * x
    near = x * (135135 + s * (17325 + s * (378 + s))) / (135135 + s * (62370 + s * (3150 + s * 28)))
    far = 1 - 2 / (tl.exp(2 * x) + 1)
    return tl.where(64 * s < 9, near, far)


@triton.jit
def _plus(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    return a + b


@triton.jit
def _lstm_forward(
    pixels: tl.tensor,
    channels: tl.tensor,
    c_old: tl.tensor,
    c_old_stride: tl.tensor,
    z: tl.tensor,  # W * X + b
    z_stride: tl.tensor,
    c_new: tl.tensor,
    c_new_stride: tl.tensor,
    h: tl.tensor,
    h_stride: tl.tensor,
    next_h: tl.tensor,  # h once more, for the next step
    next_h_stride: tl.tensor,
    w: tl.tensor,  # (3, C): the peepholes of i, f, o
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
) -> None:
    p = tl.program_id(0).to(tl.int64) * TALL + tl.arange(0, TALL)[:, None]  # 64 bits: p is multiplied by 4 C
    k = tl.program_id(1) * WIDE + tl.arange(0, WIDE)[None, :]
    in_channels = k < channels
    inside = (p < pixels) & in_channels
    z += z_stride * p + k
    old = tl.load(c_old + c_old_stride * p + k, inside, 0)
    z_i = tl.load(z, inside, 0).to(old.dtype)
    z_f = tl.load(z + channels, inside, 0).to(old.dtype)
    z_g = tl.load(z + 2 * channels, inside, 0).to(old.dtype)
    z_o = tl.load(z + 3 * channels, inside, 0).to(old.dtype)

    i = _sigmoid(z_i + tl.load(w + k, in_channels, 0) * old)
    f = _sigmoid(z_f + tl.load(w + channels + k, in_channels, 0) * old)
    new = f * old + i * _tanh(z_g)
    o = _sigmoid(z_o + tl.load(w + 2 * channels + k, in_channels, 0) * new)
    tl.store(c_new + c_new_stride * p + k, new, inside)
    out = o * _tanh(new)
    tl.store(h + h_stride * p + k, out, inside)
    tl.store(next_h + next_h_stride * p + k, out, inside)


@triton.jit
def _lstm_backward(
    pixels: tl.tensor,
    channels: tl.tensor,
    c_old: tl.tensor,
    c_old_stride: tl.tensor,
    z: tl.tensor,  # W * X + b on entry, its gradient on return
    z_stride: tl.tensor,
    c_new: tl.tensor,
    c_new_stride: tl.tensor,
    d_output: tl.tensor,
    d_output_stride: tl.tensor,
    d_h: tl.tensor,  # the gradient of h from the next step
    d_h_stride: tl.tensor,
    d_c: tl.tensor,  # the gradient of the new c on entry, of the old c on return
    d_c_stride: tl.tensor,
    h: tl.tensor,  # where the new h is written again
    h_stride: tl.tensor,
    w: tl.tensor,  # (3, C)
    sums: tl.tensor,  # (tiles of pixels, 7, C): gradients of biases and peepholes
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
) -> None:
    p = tl.program_id(0).to(tl.int64) * TALL + tl.arange(0, TALL)[:, None]
    k = tl.program_id(1) * WIDE + tl.arange(0, WIDE)[None, :]
    in_channels = k < channels
    inside = (p < pixels) & in_channels
    z += z_stride * p + k
    d_c += d_c_stride * p + k
    sums += tl.program_id(0).to(tl.int64) * 7 * channels + k
    old = tl.load(c_old + c_old_stride * p + k, inside, 0)
    new = tl.load(c_new + c_new_stride * p + k, inside, 0)
    z_i = tl.load(z, inside, 0).to(old.dtype)
    z_f = tl.load(z + channels, inside, 0).to(old.dtype)
    z_g = tl.load(z + 2 * channels, inside, 0).to(old.dtype)
    z_o = tl.load(z + 3 * channels, inside, 0).to(old.dtype)
    w_ci = tl.load(w + k, in_channels, 0)
    w_cf = tl.load(w + channels + k, in_channels, 0)
    w_co = tl.load(w + 2 * channels + k, in_channels, 0)
    d_out = tl.load(d_output + d_output_stride * p + k, inside, 0).to(old.dtype)
    d_next = tl.load(d_h + d_h_stride * p + k, inside, 0).to(old.dtype)

    i = _sigmoid(z_i + w_ci * old)
    f = _sigmoid(z_f + w_cf * old)
    g = _tanh(z_g)
    o = _sigmoid(z_o + w_co * new)
    t = _tanh(new)
    d_new_h = d_out + d_next
    dz_o = d_new_h * t * o * (1 - o)
    d_new_c = tl.load(d_c, inside, 0) + d_new_h * o * (1 - t * t) + w_co * dz_o
    dz_i = d_new_c * g * i * (1 - i)
    dz_f = d_new_c * old * f * (1 - f)
    dz_g = d_new_c * i * (1 - g * g)

    tl.store(d_c, d_new_c * f + w_ci * dz_i + w_cf * dz_f, inside)
    tl.store(h + h_stride * p + k, o * t, inside)
    tl.store(z, dz_i, inside)
    tl.store(z + channels, dz_f, inside)
    tl.store(z + 2 * channels, dz_g, inside)
    tl.store(z + 3 * channels, dz_o, inside)
    # Pixels outside the image were read as zeros, and zeros have no gradient.
    tl.store(sums, tl.reduce(dz_i, 0, _plus, keep_dims=True), in_channels)
    tl.store(sums + channels, tl.reduce(dz_f, 0, _plus, keep_dims=True), in_channels)
    tl.store(sums + 2 * channels, tl.reduce(dz_g, 0, _plus, keep_dims=True), in_channels)
    tl.store(sums + 3 * channels, tl.reduce(dz_o, 0, _plus, keep_dims=True), in_channels)
    tl.store(sums + 4 * channels, tl.reduce(dz_i * old, 0, _plus, keep_dims=True), in_channels)
    tl.store(sums + 5 * channels, tl.reduce(dz_f * old, 0, _plus, keep_dims=True), in_channels)
    tl.store(sums + 6 * channels, tl.reduce(dz_o * new, 0, _plus, keep_dims=True), in_channels)
