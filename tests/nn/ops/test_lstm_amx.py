import pytest
import torch
import torch.nn.functional as F
from tests.nn.ops.recurrences import numbers

from stormcell.nn import ConvLSTM2d
from stormcell.nn.ops import kernels, onednn
from stormcell.nn.ops.layout import as_pixels
from stormcell.nn.ops.lstm import amx
from stormcell.nn.ops.lstm.pointwise import StepImages
from stormcell.nn.ops.lstm.step import SplitStep, fastest_step

LAYER = torch.zeros(256, 65, 3, 3, dtype=torch.bfloat16)
needs_amx = pytest.mark.skipif(not amx.is_faster(LAYER), reason="no AMX")


@pytest.fixture(autouse=True)
def fresh():
    """Forget whether there is AMX, before and after."""
    amx._is_supported.cache_clear()
    yield
    amx._is_supported.cache_clear()


def plain(weight, bias, w, xh, c):
    """The gates' arguments and the new state, in float64; images are channels last."""
    padding = [k // 2 for k in weight.shape[2:]]
    z = F.conv2d(xh.double().movedim(-1, 1), weight.double(), bias.double(), padding=padding).movedim(1, -1)
    z_i, z_f, z_g, z_o = z.chunk(4, dim=-1)
    w_i, w_f, w_o = w.double()
    c_new = (z_f + w_f * c).sigmoid() * c + (z_i + w_i * c).sigmoid() * z_g.tanh()
    return z, c_new, (z_o + w_o * c_new).sigmoid() * c_new.tanh()


@needs_amx
@pytest.mark.usefixtures("nan_memory")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("saves", [False, True])
@pytest.mark.parametrize(
    ("batch", "size", "inputs", "channels", "kernel"),
    [
        (2, (5, 32), 1, 16, (3, 3)),
        (1, (4, 16), 0, 32, (3, 3)),  # no input; half of the only pair is no group
        (3, (2, 17), 3, 48, (3, 3)),  # of the second group in a row only one pixel is inside
        (2, (1, 1), 4, 16, (3, 3)),  # too many inputs for a patch
        (1, (7, 40), 31, 16, (5, 3)),
        (2, (3, 9), 1, 16, (3, 5)),
        (1, (6, 5), 2, 64, (1, 1)),
        (1, (2, 33), 1, 16, (5, 7)),
    ],
)
def test_step_matches_equations(batch, size, inputs, channels, kernel, saves, threads):
    depth = inputs + channels
    weight = (numbers(4 * channels, depth, *kernel) / (depth * kernel[0] * kernel[1]) ** 0.5).bfloat16()
    bias, w = numbers(4 * channels, seed=2).float(), numbers(3, channels, seed=3).float()
    xh, c = numbers(batch, *size, depth, seed=4).bfloat16(), numbers(batch, *size, channels, seed=5).float()
    # All images are parts of larger ones.
    c_new, h, next_h = (torch.full((*c.shape[:-1], channels + 3), torch.nan) for _ in range(3))
    h, next_h = h.bfloat16(), next_h.bfloat16()
    images = [c, c_new[..., 2:-1], h[..., 1:-2], next_h[..., 3:]]
    saved = torch.empty(*c.shape[:-1], 4 * channels, dtype=torch.bfloat16) if saves else None
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        step = amx.AMXStep(weight, bias, w)
        assert step(xh, StepImages(*map(as_pixels, images)), saved) is saved
    finally:
        torch.set_num_threads(before)
    z, true_c, true_h = plain(weight, bias, w, xh, c)
    # Sums of up to 705 products below 8 in float32. The numbers in bfloat16 are rounded once more.
    off = 705**0.5 * 2**-24 * 8
    torch.testing.assert_close(images[1].double(), true_c, rtol=0, atol=off)
    torch.testing.assert_close(images[2].double(), true_h, rtol=2**-8, atol=off)
    assert torch.equal(images[2], images[3])
    if saved is not None:
        torch.testing.assert_close(saved.double(), z, rtol=2**-8, atol=off)
    assert all(image.isnan().sum() == 3 * image[..., 0].numel() for image in (c_new, h, next_h))


@needs_amx
@pytest.mark.parametrize("inputs", [1, 20])
def test_layer_with_amx_is_as_close_to_float32_as_without(inputs, monkeypatch):
    torch.manual_seed(1)
    rnn, x = ConvLSTM2d(inputs, [32, 16], 3, peephole="channel"), torch.randn(4, 2, inputs, 9, 21)
    exact = rnn.double()(x.double())[0]
    rnn.float()
    errors = []
    for supported in (True, False):
        monkeypatch.setattr(amx, "_is_supported", lambda supported=supported: supported)
        with torch.autocast("cpu", torch.bfloat16):
            output, _ = rnn(x)
            assert ("convolution of input and state: AMX, compiled" in str(rnn.explain(x))) == supported
        gradients = torch.autograd.grad(output.float().sum(), list(rnn.parameters()))
        errors.append((output.double() - exact).norm())
        assert all(gradient.isfinite().all() for gradient in gradients)
    assert 0 < errors[0] < 1.1 * errors[1]


@needs_amx
@pytest.mark.parametrize(
    "weight",
    [
        LAYER.float(),
        LAYER[:252],  # 63 channels
        torch.zeros(256, 128, 5, 5, dtype=torch.bfloat16),  # too large for the caches
        torch.zeros(64, 17, 3, 3, 3, dtype=torch.bfloat16),
        torch.zeros(64, 17, 3, dtype=torch.bfloat16),
    ],
)
def test_other_weights_are_not_for_amx(weight):
    assert not amx.is_faster(weight)


@needs_amx
def test_amx_is_not_used_where_it_is_missing(monkeypatch):
    def taken():
        amx._is_supported.cache_clear()
        return type(fastest_step(LAYER, None, torch.zeros(3, 64), peepholes=False))

    assert taken() is amx.AMXStep
    with monkeypatch.context() as patch:
        patch.setattr(amx.machine_cache, "processor", lambda: "x86_64 flags : avx512_bf16")
        assert taken() is SplitStep
    with monkeypatch.context() as patch:
        patch.setattr(torch.cpu, "_init_amx", lambda: False)
        assert taken() is SplitStep
    with monkeypatch.context() as patch:
        patch.delattr(torch.cpu, "_init_amx")
        assert taken() is SplitStep
    with monkeypatch.context() as patch:
        patch.setattr(onednn, "instruction_limit", lambda: "AVX512_CORE_BF16")
        assert taken() is not amx.AMXStep
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "library", lambda _: None)
        assert taken() is SplitStep
