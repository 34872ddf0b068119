"""The arithmetic between convolutions on a GPU: each program has a tile of some pixels' channels.

It is that of ``native/lstm.c``. Needs Triton, which PyTorch for CUDA brings along.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from stormcell.nn.ops.gates import Images

_TILE = 1024  # values of each image that a program works on: with more, it runs out of registers
_WIDE = 64  # channels of a pixel among them, at most
_WARPS = 8


class Triton:
    """See :class:`stormcell.nn.ops.gates.Gates`."""

    def forward(self, z: Tensor, w: Tensor, images: Images, kept: Tensor | None = None) -> None:
        """See :class:`stormcell.nn.ops.gates.Gates`."""
        c_old, *written = images
        _launch(_lstm_forward, (c_old, z, *written), w)
        if kept is not None:
            kept.copy_(z)

    def backward(
        self,
        z: Tensor,
        c_old: Tensor,
        c_new: Tensor,
        w: Tensor,
        d_output: Tensor,
        dh: Tensor,
        dc: Tensor,
        h: Tensor,
    ) -> Tensor:
        """See :class:`stormcell.nn.ops.gates.Gates`."""
        pixels, channels = c_old.shape
        # Added up tile by tile: sums that all programs added to would depend on who comes first.
        sums = dc.new_empty(triton.cdiv(pixels, _tile(channels)[0]), 7, channels)
        _launch(_lstm_backward, (c_old, z, c_new, d_output, dh, dc, h), w, sums)
        return sums.sum(0)


def _tile(channels: int) -> tuple[int, int]:
    """Return the pixels and the channels of a tile, both powers of 2."""
    wide = min(_WIDE, triton.next_power_of_2(channels))
    return _TILE // wide, wide


def _launch(kernel: Any, images: tuple[Tensor, ...], *others: Tensor) -> None:
    """Have a kernel go through images, ``(P, C)`` the first of them; it does not wait for that."""
    pixels, channels = images[0].shape
    tall, wide = _tile(channels)
    grid = triton.cdiv(pixels, tall), triton.cdiv(channels, wide)
    located = [each for image in images for each in (image, image.stride(0))]
    with torch.cuda.device_of(images[0]):  # type: ignore[no-untyped-call] # Triton takes the current one
        kernel[grid](pixels, channels, *located, *others, TALL=tall, WIDE=wide, num_warps=_WARPS)


@triton.jit
def _sigmoid(x: tl.tensor) -> tl.tensor:
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _tanh(x: tl.tensor) -> tl.tensor:
    # Near 0, where the quotient's digits cancel, Lambert's continued fraction, x / (1 + x^2 / (3 + x^2 / (5 +
    # ... / 13))): for |x| < 3/8 it is off by less than x^14 / 135135^2, a part in 10^16.
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
    c_old_apart: tl.tensor,
    z: tl.tensor,  # W * X + b
    z_apart: tl.tensor,
    c_new: tl.tensor,
    c_new_apart: tl.tensor,
    h: tl.tensor,
    h_apart: tl.tensor,
    seen: tl.tensor,  # by the next step: h once more
    seen_apart: tl.tensor,
    w: tl.tensor,  # (3, C): the peepholes of i, f, o
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
) -> None:
    p = tl.program_id(0).to(tl.int64) * TALL + tl.arange(0, TALL)[:, None]  # times 4 C, more than 32 bits
    k = tl.program_id(1) * WIDE + tl.arange(0, WIDE)[None, :]
    known = k < channels
    there = (p < pixels) & known
    z += z_apart * p + k
    old = tl.load(c_old + c_old_apart * p + k, there, 0)
    z_i = tl.load(z, there, 0).to(old.dtype)
    z_f = tl.load(z + channels, there, 0).to(old.dtype)
    z_g = tl.load(z + 2 * channels, there, 0).to(old.dtype)
    z_o = tl.load(z + 3 * channels, there, 0).to(old.dtype)

    i = _sigmoid(z_i + tl.load(w + k, known, 0) * old)
    f = _sigmoid(z_f + tl.load(w + channels + k, known, 0) * old)
    new = f * old + i * _tanh(z_g)
    o = _sigmoid(z_o + tl.load(w + 2 * channels + k, known, 0) * new)
    tl.store(c_new + c_new_apart * p + k, new, there)
    out = o * _tanh(new)
    tl.store(h + h_apart * p + k, out, there)
    tl.store(seen + seen_apart * p + k, out, there)


@triton.jit
def _lstm_backward(
    pixels: tl.tensor,
    channels: tl.tensor,
    c_old: tl.tensor,
    c_old_apart: tl.tensor,
    z: tl.tensor,  # W * X + b on entry, on return its gradient
    z_apart: tl.tensor,
    c_new: tl.tensor,
    c_new_apart: tl.tensor,
    d_output: tl.tensor,
    d_output_apart: tl.tensor,
    dh: tl.tensor,  # the gradient of h, from the step after
    dh_apart: tl.tensor,
    dc: tl.tensor,  # that of c, after the step on entry, before it on return
    dc_apart: tl.tensor,
    h: tl.tensor,  # h after this step, once more
    h_apart: tl.tensor,
    w: tl.tensor,  # (3, C)
    sums: tl.tensor,  # (tiles of pixels, 7, C): those of the gradients of biases and peepholes
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
) -> None:
    p = tl.program_id(0).to(tl.int64) * TALL + tl.arange(0, TALL)[:, None]
    k = tl.program_id(1) * WIDE + tl.arange(0, WIDE)[None, :]
    known = k < channels
    there = (p < pixels) & known
    z += z_apart * p + k
    dc += dc_apart * p + k
    sums += tl.program_id(0).to(tl.int64) * 7 * channels + k
    old = tl.load(c_old + c_old_apart * p + k, there, 0)
    new = tl.load(c_new + c_new_apart * p + k, there, 0)
    z_i = tl.load(z, there, 0).to(old.dtype)
    z_f = tl.load(z + channels, there, 0).to(old.dtype)
    z_g = tl.load(z + 2 * channels, there, 0).to(old.dtype)
    z_o = tl.load(z + 3 * channels, there, 0).to(old.dtype)
    w_ci = tl.load(w + k, known, 0)
    w_cf = tl.load(w + channels + k, known, 0)
    w_co = tl.load(w + 2 * channels + k, known, 0)
    d_out = tl.load(d_output + d_output_apart * p + k, there, 0).to(old.dtype)
    d_seen = tl.load(dh + dh_apart * p + k, there, 0).to(old.dtype)

    i = _sigmoid(z_i + w_ci * old)
    f = _sigmoid(z_f + w_cf * old)
    g = _tanh(z_g)
    o = _sigmoid(z_o + w_co * new)
    t = _tanh(new)
    d_h = d_out + d_seen
    dz_o = d_h * t * o * (1 - o)
    d_c = tl.load(dc, there, 0) + d_h * o * (1 - t * t) + w_co * dz_o
    dz_i = d_c * g * i * (1 - i)
    dz_f = d_c * old * f * (1 - f)
    dz_g = d_c * i * (1 - g * g)

    tl.store(dc, d_c * f + w_ci * dz_i + w_cf * dz_f, there)
    tl.store(h + h_apart * p + k, o * t, there)
    tl.store(z, dz_i, there)
    tl.store(z + channels, dz_f, there)
    tl.store(z + 2 * channels, dz_g, there)
    tl.store(z + 3 * channels, dz_o, there)
    # What is not there was read as zeros, whose gradients are zeros.
    tl.store(sums, tl.reduce(dz_i, 0, _plus, keep_dims=True), known)
    tl.store(sums + channels, tl.reduce(dz_f, 0, _plus, keep_dims=True), known)
    tl.store(sums + 2 * channels, tl.reduce(dz_g, 0, _plus, keep_dims=True), known)
    tl.store(sums + 3 * channels, tl.reduce(dz_o, 0, _plus, keep_dims=True), known)
    tl.store(sums + 4 * channels, tl.reduce(dz_i * old, 0, _plus, keep_dims=True), known)
    tl.store(sums + 5 * channels, tl.reduce(dz_f * old, 0, _plus, keep_dims=True), known)
    tl.store(sums + 6 * channels, tl.reduce(dz_o * new, 0, _plus, keep_dims=True), known)
