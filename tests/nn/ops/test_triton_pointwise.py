"""The ConvLSTM on a GPU: its Triton kernels, interpreted if there is no GPU, and the driver around them."""

import contextlib
import importlib.util
import logging
import math
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.nn.ops.recurrences import RECURRENCES, Size
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stormcell.nn import ConvLSTM2d
from stormcell.nn.ops import chunking, conv_backends, driver, support
from stormcell.nn.ops.lstm import fused as lstm
from stormcell.nn.ops.lstm import pointwise, step
from stormcell.nn.ops.types import CallSpec, LSTMWeights, Variant

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
HAS_TRITON = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
HAS_GPU = pytest.mark.skipif(not ON_GPU, reason="PyTorch sees no GPU")

LSTM = RECURRENCES["conv_lstm"]
NAMES = ("x", "h", "c", "weight_ih", "weight_hh", "bias", "peephole")
REALS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def loaded(monkeypatch, *, interpreted):
    """The kernels, compiled or interpreted: Triton decides that when it loads them."""
    monkeypatch.setenv("TRITON_INTERPRET", str(int(interpreted)))
    path = Path(pointwise.__file__).with_name("triton_pointwise.py")
    spec = importlib.util.spec_from_file_location("triton_pointwise", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def triton(monkeypatch):
    """The gate arithmetic, with tiles so small that several are needed along both axes."""
    module = loaded(monkeypatch, interpreted=not ON_GPU)
    monkeypatch.setattr(module, "_TILE", 64)
    monkeypatch.setattr(module, "_WIDE", 16)
    return module.TritonPointwise()


@pytest.fixture
def driven(monkeypatch, triton):
    """The fused ConvLSTM with the kernels of a GPU, also if there is none."""
    for module in (lstm, step):
        monkeypatch.setattr(module, "fastest_pointwise", lambda *_, **__: triton)
    monkeypatch.setattr(conv_backends, "is_faster", lambda *_: False)


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(DEVICE)


class Image:
    """Pixels at some distance from each other, with NaN all around them."""

    def __init__(self, values, stride, dtype):
        pixels, channels = values.shape
        self.sea = torch.full((pixels + 2, stride), math.nan, dtype=dtype, device=DEVICE)
        self.pixels = self.sea[1:-1, 1 : channels + 1]
        self.pixels.copy_(values)

    def spoilt(self):
        """Whether something was written outside the pixels."""
        return bool((~self.sea.isnan()).sum() > self.pixels.numel())


@HAS_TRITON
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize(("pixels", "channels"), [(1, 1), (65, 1), (2, 3), (33, 5), (8, 16), (9, 37)])
def test_kernels_match_torch_pointwise(triton, real, pixels, channels):
    """The truth is what PyTorch's operations compute in float64, given the same numbers."""
    number = torch.promote_types(real, torch.float32)
    types = {"z": real, "c_old": number, "c_new": number, "h": real, "next_h": real}
    types |= {"d_output": real, "d_h": real, "d_c": number, "h_again": real}
    images = {}
    for n, (name, dtype) in enumerate(types.items()):
        wide = 4 * channels if name == "z" else channels
        images[name] = Image(numbers(pixels, wide, seed=n), wide + 2 + n, dtype)  # no two alike
    w = Image(numbers(1, 3 * channels, seed=8), 3 * channels + 2, number).pixels.view(3, channels)

    def computed(step, w, z, c_old, c_new, h, next_h, d_output, d_h, d_c, h_again):
        saved = torch.zeros_like(z)
        step.forward(z, w, pointwise.StepImages(c_old, c_new, h, next_h), saved)
        assert torch.equal(saved, z)
        assert torch.equal(next_h, h)
        sums = step.backward(z, c_old, c_new, w, d_output, d_h, d_c, h_again)
        return {"c": c_new, "h": h, "h again": h_again, "d_z": z, "d_c": d_c, "sums": sums}

    exactly = {name: image.pixels.double().clone() for name, image in images.items()}
    true = computed(pointwise.TorchPointwise(), w.double(), **exactly)
    for name in ("c_new", "h", "next_h", "h_again"):
        images[name].pixels.fill_(math.nan)
    found = computed(triton, w, **{name: image.pixels for name, image in images.items()})
    assert not any(image.spoilt() for image in images.values())
    # Some ten roundings of numbers up to some ten. Stored numbers are rounded once more; Triton's interpreter
    # truncates to bfloat16, which is an error of up to one unit.
    exact = 100 * torch.finfo(number).eps
    stored = exact + torch.finfo(real).eps
    tolerances = {"h": stored, "h again": stored, "d_z": stored, "sums": pixels * exact}
    for name, expected in true.items():
        tolerance = tolerances.get(name, exact)
        torch.testing.assert_close(
            found[name].double(), expected, rtol=tolerance, atol=exact, msg=lambda m, n=name: f"{n}: {m}"
        )


@HAS_TRITON
@pytest.mark.parametrize("number", [torch.float64, torch.float32])
def test_kernels_keep_digits_of_small_numbers_and_stay_finite(triton, number):
    """With i = 1 and c = 0 the new c is tanh(z_g), also where two formulas for it meet."""
    size = torch.tensor([0, 1e-30, 1e-9, 1e-3, 0.1, 0.374, 0.3749999, 0.375001, 0.376, 1, 5, 20, 1e3, 1e30])
    x = torch.cat([size, -size, torch.tensor([math.inf, -math.inf, math.nan])]).to(DEVICE, number)[:, None]
    z = torch.cat([torch.full_like(x, 100), torch.zeros_like(x), x, x], dim=1)
    c_old, c_new, h = torch.zeros_like(x), torch.empty_like(x), torch.empty_like(x)
    with np.errstate(over="ignore", invalid="ignore"):  # the interpreter's
        w = torch.zeros(3, 1, device=DEVICE, dtype=number)
        triton.forward(z, w, pointwise.StepImages(c_old, c_new, h, torch.empty_like(h)))
    truth = x.double().tanh()
    # A handful of roundings; a GPU's exponential function is off by two units.
    few = {"rtol": 8 * torch.finfo(number).eps, "atol": 0, "equal_nan": True}
    torch.testing.assert_close(c_new.double(), truth, **few)
    small = x.abs().nan_to_num() < 20  # the sigmoid's own digits are lost where it underflows
    expected = x.double().sigmoid() * truth.tanh()
    few["rtol"] *= 8  # an error of the exponent is one of the result
    torch.testing.assert_close(h.double()[small], expected[small], **few)
    assert torch.equal(h.isnan(), x.isnan())


@HAS_TRITON
def test_kernels_index_images_beyond_32_bits(triton):
    stride = 1 << 30
    try:
        memory = torch.empty(2 * stride + 4, dtype=torch.bfloat16, device=DEVICE)  # hardly touched
    except RuntimeError:
        pytest.skip("there are no 4 GB of memory")
    far = memory.as_strided((3, 4), (stride, 1)).copy_(numbers(3, 4))
    c_old, w = numbers(3, 1).float(), numbers(3, 1).float()
    found = []
    for z in (far.contiguous(), far):
        c_new, h = torch.empty_like(c_old), torch.empty_like(c_old, dtype=torch.bfloat16)
        triton.forward(z, w, pointwise.StepImages(c_old, c_new, h, torch.empty_like(h)))
        found.append(c_new)
    assert torch.equal(*found)


@HAS_TRITON
@pytest.mark.parametrize("capability", [75, 90])
@pytest.mark.parametrize("channels", [1, 17, 64])
@pytest.mark.parametrize("real", ["fp64", "fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kernel", ["_lstm_forward", "_lstm_backward"])
def test_kernels_compile_for_other_gpus(monkeypatch, tmp_path, kernel, real, channels, capability):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler import compile as compiled_for

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    module = loaded(monkeypatch, interpreted=False)
    tall, wide = module._tile(channels)
    number = "fp64" if real == "fp64" else "fp32"
    kernel = getattr(module, kernel)
    signature, constants, known = {}, {"TALL": tall, "WIDE": wide}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in ("pixels", "channels") or name.endswith("_stride"):
            signature[name] = "i32"
            if channels == 1 and name != "pixels":  # which Triton takes for a constant
                constants[name] = 1
            elif channels % 16 == 0:
                known[(place,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = f"*{number if name in ('c_old', 'c_new', 'dc', 'w', 'sums') else real}"
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel, signature, constants, known)
    target = GPUTarget("cuda", capability, 32)
    compiled = compiled_for(source, target=target, options={"num_warps": module._WARPS})
    assert compiled.asm["cubin"]
    # The order of the programs must not change sums.
    assert not re.search(r"^\s*(atom|red)\.", compiled.asm["ptx"], re.MULTILINE)


def arguments(*size, dtype=torch.float64):
    given = LSTM.arguments(Size(*size), dtype=dtype)
    return {name: a.detach().to(DEVICE).requires_grad_() for name, a in given.items()}


# Sums of some hundred terms of order one, over a few steps, in float64.
EXACT = {"rtol": 1e-11, "atol": 1e-11}

SHAPES = [  # steps, batch, inputs, channels, space, kernel
    (1, 1, 2, 3, (5, 7), (3, 3)),
    (3, 2, 1, 17, (5, 4), (1, 5)),
    (2, 2, 2, 3, (6, 7), (4, 2)),
    (3, 2, 2, 3, (7,), (3,)),
    (2, 2, 2, 1, (5, 4, 3), (3, 3, 3)),
]


@HAS_TRITON
@pytest.mark.usefixtures("driven", "nan_memory")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("without", [None, "bias", "peephole"])
def test_fused_lstm_with_kernels_matches_reference(shape, without):
    given = arguments(*shape)
    if without:
        given[without] = None
    expected = LSTM.results_and_gradients(LSTM.reference, given)
    found = LSTM.results_and_gradients(LSTM.fused, given)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], **EXACT, msg=lambda m, n=name: f"{n}: {m}")


@HAS_TRITON
@pytest.mark.usefixtures("driven", "nan_memory")
@pytest.mark.parametrize("lowered", [None, torch.bfloat16, torch.float16])
def test_error_of_fused_lstm_with_kernels_is_at_most_twice_that_of_loop(lowered):
    given = arguments(8, 2, 3, 8, (9, 11), (3, 3), dtype=torch.float32)
    exact = {name: t.detach().double().requires_grad_() for name, t in given.items()}
    truth = LSTM.results_and_gradients(LSTM.reference, exact)
    with torch.autocast(DEVICE.type, lowered, enabled=lowered is not None):
        found = LSTM.results_and_gradients(LSTM.fused, given)
        peer = LSTM.results_and_gradients(LSTM.loop, given)
    assert found["output"].dtype == (lowered or torch.float32)
    assert found["c_n"].dtype == torch.float32
    for name, expected in truth.items():
        error = (found[name].double() - expected).norm()
        assert 0 < error <= 2 * (peer[name].double() - expected).norm(), name


@pytest.fixture
def fresh(monkeypatch):
    """Triton was not used yet in this process."""
    monkeypatch.delitem(sys.modules, "stormcell.nn.ops.lstm.triton_pointwise", raising=False)
    step._triton.cache_clear()
    yield
    step._triton.cache_clear()


def test_fused_lstm_on_cpu_does_not_use_triton(monkeypatch):
    monkeypatch.setattr(step, "_triton", lambda _: pytest.fail("Triton was used"))
    ConvLSTM2d(2, 3, 3, backend="fused")(torch.rand(2, 1, 2, 5, 4))


@pytest.mark.usefixtures("fresh")
def test_pointwise_without_triton_warns_once_and_uses_torch(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "triton", None)
    with caplog.at_level(logging.WARNING, "stormcell"):
        for _ in range(2):
            assert isinstance(
                step.fastest_pointwise(torch.float32, torch.device("cuda", 0), peepholes=True),
                pointwise.TorchPointwise,
            )
    (said,) = caplog.messages  # once
    assert said.startswith("ConvLSTM runs slower on cuda:0, without Triton: ")
    assert "triton" in said


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("broken", [False, True])
def test_pointwise_with_broken_triton_warns_and_uses_torch(monkeypatch, caplog, broken):
    """Triton may find no C compiler, or reject an old GPU, but only when it first compiles something."""

    class TritonPointwise(pointwise.TorchPointwise):
        def forward(self, *images):
            super().forward(*images)
            if broken:
                raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable")

    module = types.ModuleType("triton_pointwise")
    module.TritonPointwise = TritonPointwise
    monkeypatch.setitem(sys.modules, "stormcell.nn.ops.lstm.triton_pointwise", module)
    device = torch.device("cuda" if ON_GPU else "meta")
    with caplog.at_level(logging.WARNING, "stormcell"):
        found = step.fastest_pointwise(torch.float32, device, peepholes=True)
    assert isinstance(found, TritonPointwise) != broken
    assert isinstance(found, pointwise.TorchPointwise)
    assert [said.partition(": ")[2] for said in caplog.messages] == ["Failed to find C compiler."] * broken


@pytest.fixture
def under_autocast():
    """Autocast of a GPU, whether there is one or not."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")

    def turn_on(dtype):
        torch.set_autocast_enabled("cuda", dtype is not None)
        torch.set_autocast_dtype("cuda", dtype or before[1])

    yield turn_on
    torch.set_autocast_enabled("cuda", before[0])
    torch.set_autocast_dtype("cuda", before[1])


def on(device, dtype=torch.float32):
    """Arguments without numbers: fake tensors, as the device may not exist."""
    with FakeTensorMode():
        shapes = (3, 2, 2, 5, 4), (2, 3, 5, 4), (2, 3, 5, 4), (12, 2, 3, 3), (12, 3, 3, 3), (12,), (3, 3)
        tensors = (torch.empty(shape, device=device, dtype=dtype) for shape in shapes)
        return dict(zip(NAMES, tensors, strict=True))


def unsupported(given):
    x, h, c, *weights = given.values()
    call = x, (h, c), LSTMWeights(*weights), Variant(), CallSpec(3)
    return support.unsupported(lstm.LSTM, support.input_kind(lstm.LSTM, *call))


NOTHING_ELSE = "subclasses of torch.Tensor"  # as fake tensors are


def test_unsupported_devices_are_named():
    gpu, cpu, meta = on("cuda"), on("cpu"), on("meta")
    assert unsupported(gpu) == unsupported(cpu) == NOTHING_ELSE
    assert unsupported(meta) == "devices other than the CPU and CUDA"
    for name in NAMES:
        assert unsupported(cpu | {name: meta[name]}) == "devices other than the CPU and CUDA"
        assert unsupported(cpu | {name: gpu[name]}) == "tensors on several devices"
        assert unsupported(gpu | {name: on("cuda:1")[name]}) == "tensors on several devices"


def test_layer_on_another_device_uses_reference():
    rnn, x = ConvLSTM2d(2, 3, 3, device="meta"), torch.empty(3, 1, 2, 5, 4, device="meta")
    assert rnn(x)[0].shape == (3, 1, 3, 5, 4)


def test_unsupported_autocast_is_named(under_autocast):
    wrong = "autocast other than from float32 to bfloat16, or float16 on CUDA"
    single, double, half = (on("cuda", dtype) for dtype in (torch.float32, torch.float64, torch.float16))
    for dtype in (None, torch.float16, torch.bfloat16):
        under_autocast(dtype)
        assert unsupported(single) == NOTHING_ELSE
        assert unsupported(double) == (wrong if dtype else NOTHING_ELSE)
        assert unsupported(on("cpu")) == NOTHING_ELSE  # the CPU has its own autocast
        lowered = unsupported(single | {"x": half["x"], "h": half["h"]})
        assert lowered == (NOTHING_ELSE if dtype == torch.float16 else "tensors of different dtypes")
        assert unsupported(single | {"c": half["c"]}) == "tensors of different dtypes"
    under_autocast(torch.float64)
    assert unsupported(single) == wrong
    under_autocast(None)
    with torch.autocast("cpu", torch.float16):
        assert unsupported(single) == NOTHING_ELSE
        assert unsupported(on("cpu")) == wrong


class OnOneDevice(TorchDispatchMode):
    """Checks that every tensor is on the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **kwargs or {})
        for each in tree_leaves((args, kwargs, result)):
            assert not isinstance(each, torch.Tensor) or each.device.type == "meta", func
        return result


@pytest.mark.parametrize("lowered", [None, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("without", [(), ("bias", "peephole")])
def test_fused_lstm_on_device_stays_there_and_never_waits(monkeypatch, lowered, without):
    """Tensors of the meta device have no numbers, so that reading one or copying it elsewhere fails."""
    asked, cast, steps = [], [], []

    class Watched(pointwise.TorchPointwise):
        def forward(self, *images):
            steps.append(len(images[0]))
            super().forward(*images)

    def autocast(device, *_, **__):  # the real one does not support the meta device
        cast.append(device)
        return contextlib.nullcontext()

    for module in (lstm, step):
        monkeypatch.setattr(module, "fastest_pointwise", lambda *what, **_: asked.append(what) or Watched())
    monkeypatch.setattr(chunking, "_CHUNK_BYTES", 1)
    monkeypatch.setattr(driver, "autocast_dtype", lambda device: lowered if device.type == "meta" else None)
    monkeypatch.setattr(torch, "autocast", autocast)
    given = {
        name: None if name in without else torch.empty(t.shape, device="meta", requires_grad=True)
        for name, t in on("cpu").items()
    }
    tensors = [t for t in given.values() if t is not None]
    with OnOneDevice():
        output, h, c = LSTM.run(LSTM.fused, given, 3)
        upstream = torch.ones_like(output), torch.ones_like(c)
        gradients = torch.autograd.grad((output, c), tensors, upstream)
    real = lowered or torch.float32
    assert steps == [2 * 5 * 4] * 3  # the whole batch at once
    assert set(asked) == {(real, torch.device("meta"))}
    assert set(cast) == {"meta"}
    assert (output.dtype, h.dtype, c.dtype) == (real, real, torch.float32)
    assert [d.shape for d in gradients] == [t.shape for t in tensors]


@pytest.mark.parametrize("lowered", [torch.float16, torch.bfloat16])
def test_retained_graph_under_autocast_gives_the_same_gradient_again(monkeypatch, lowered):
    for module in (lstm, step):
        monkeypatch.setattr(
            module,
            "fastest_pointwise",
            lambda *_, peepholes: pointwise.TorchPointwise(peepholes=peepholes),
        )
    given = arguments(3, 2, 2, 3, (5, 4), (3, 3), dtype=torch.float32)
    tensors = list(given.values())
    with torch.autocast(DEVICE.type, lowered):
        output, *_ = LSTM.run(LSTM.fused, given)
    loss = output.float().square().sum()
    first = torch.autograd.grad(loss, tensors, retain_graph=True)
    again = torch.autograd.grad(loss, tensors)
    # On a GPU some convolutions add up in another order each time.
    same = {"rtol": 0, "atol": 0} if not ON_GPU else {"rtol": 0.01, "atol": 0.01}
    torch.testing.assert_close(again, first, **same)


@pytest.mark.parametrize("lowered", [torch.float16, torch.bfloat16])
def test_weight_gradients_are_summed_in_float32(lowered):
    convolution = conv_backends.Direct(torch.ones(1, 1, 1, 1, device=DEVICE, dtype=lowered))
    one = torch.ones(1, 1, 1, 1, device=DEVICE, dtype=lowered)
    for _ in range(2049):  # float16 cannot represent this number
        convolution.add_weight_gradient(one, one)
    assert convolution.weight_gradient().item() == 2049


@HAS_GPU
@HAS_TRITON
@pytest.mark.parametrize("shape", [*SHAPES, (3, 4, 20, 96, (33, 30), (3, 3))])
def test_fused_lstm_on_gpu_matches_reference(shape):
    given = arguments(*shape)
    device = given["x"].device
    assert type(step.fastest_pointwise(torch.float64, device, peepholes=True)).__name__ == "TritonPointwise"
    expected = LSTM.results_and_gradients(LSTM.reference, given)
    found = LSTM.results_and_gradients(LSTM.fused, given)
    for name in expected:
        assert found[name].device == device
        # The gradients of the weights are sums over all pixels of all steps.
        torch.testing.assert_close(found[name], expected[name], rtol=1e-11, atol=1e-10)


@HAS_GPU
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("lowered", [None, torch.bfloat16, torch.float16])
def test_error_of_fused_lstm_on_gpu_is_at_most_twice_that_of_loop(monkeypatch, lowered, plain):
    if plain:
        monkeypatch.setattr(step, "_triton", lambda _: None)
    given = arguments(12, 4, 3, 32, (33, 30), (3, 3), dtype=torch.float32)
    exact = {name: t.detach().double().requires_grad_() for name, t in given.items()}
    truth = LSTM.results_and_gradients(LSTM.reference, exact)
    with torch.autocast("cuda", lowered, enabled=lowered is not None):
        found = LSTM.results_and_gradients(LSTM.fused, given)
        peer = LSTM.results_and_gradients(LSTM.loop, given)
    assert found["output"].dtype == (lowered or torch.float32)
    for name, expected in truth.items():
        error = (found[name].double() - expected).norm()
        assert error <= 2 * (peer[name].double() - expected).norm(), name


@HAS_GPU
def test_cuda_graph_captures_fused_lstm_forward_and_backward():
    given = arguments(3, 2, 2, 3, (5, 4), (3, 3))
    tensors = list(given.values())
    upstream = torch.ones_like(given["x"][:, :, :1]).expand(-1, -1, 3, -1, -1)

    def call():
        results = LSTM.run(LSTM.fused, given)
        return [*results, *torch.autograd.grad(results[0], tensors, upstream)]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # until everything is compiled
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        held = call()
    with torch.no_grad():
        for tensor in tensors:
            tensor.mul_(0.5)
    graph.replay()
    torch.testing.assert_close(held, call(), **EXACT)
