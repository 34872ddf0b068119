"""The ConvLSTM on a GPU: its kernels, interpreted where there is no GPU, and what drives them."""

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
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stormcell.nn import ConvLSTM2d
from stormcell.nn.ops import choose, engines, fused, gates, kernels, pieces, reference, winograd
from stormcell.nn.ops.terms import Form, LSTMWeights, Run

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
HAS_TRITON = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
HAS_GPU = pytest.mark.skipif(not ON_GPU, reason="PyTorch sees no GPU")

NAMES = ("x", "h", "c", "weight_ih", "weight_hh", "bias", "peephole")
REALS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def loaded(monkeypatch, *, interpreted):
    """The kernels, to be compiled or to be interpreted: Triton asks for that when it first sees them."""
    monkeypatch.setenv("TRITON_INTERPRET", str(int(interpreted)))
    path = Path(gates.__file__).with_name("triton_gates.py")
    spec = importlib.util.spec_from_file_location("triton_gates", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def triton(monkeypatch):
    """The arithmetic, where several tiles are needed, both ways."""
    module = loaded(monkeypatch, interpreted=not ON_GPU)
    monkeypatch.setattr(module, "_TILE", 64)
    monkeypatch.setattr(module, "_WIDE", 16)
    return module.Triton()


@pytest.fixture
def driven(monkeypatch, triton):
    """The ConvLSTM as it is on a GPU, where there is none."""
    monkeypatch.setattr(gates, "gates", lambda *_, **__: triton)
    monkeypatch.setattr(winograd, "pays", lambda *_: False)


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(DEVICE)


class Image:
    """Pixels so far apart, of a type, with NaN all around them."""

    def __init__(self, values, apart, dtype):
        pixels, channels = values.shape
        self.sea = torch.full((pixels + 2, apart), math.nan, dtype=dtype, device=DEVICE)
        self.pixels = self.sea[1:-1, 1 : channels + 1]
        self.pixels.copy_(values)

    def spoilt(self):
        """Whether something was written beside the pixels."""
        return bool((~self.sea.isnan()).sum() > self.pixels.numel())


@HAS_TRITON
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize(("pixels", "channels"), [(1, 1), (65, 1), (2, 3), (33, 5), (8, 16), (9, 37)])
def test_the_kernels_are_plain(triton, real, pixels, channels):
    """What is true is what plain operations find in float64, given the same numbers."""
    number = torch.promote_types(real, torch.float32)
    types = {"z": real, "c_old": number, "c_new": number, "h": real, "seen": real}
    types |= {"d_output": real, "dh": real, "dc": number, "h_again": real}
    images = {}
    for n, (name, dtype) in enumerate(types.items()):
        wide = 4 * channels if name == "z" else channels
        images[name] = Image(numbers(pixels, wide, seed=n), wide + 2 + n, dtype)  # no two alike
    w = Image(numbers(1, 3 * channels, seed=8), 3 * channels + 2, number).pixels.view(3, channels)

    def computed(step, w, z, c_old, c_new, h, seen, d_output, dh, dc, h_again):
        kept = torch.zeros_like(z)
        step.forward(z, w, gates.Images(c_old, c_new, h, seen), kept)
        assert torch.equal(kept, z)
        assert torch.equal(seen, h)
        sums = step.backward(z, c_old, c_new, w, d_output, dh, dc, h_again)
        return {"c": c_new, "h": h, "h again": h_again, "d_z": z, "d_c": dc, "sums": sums}

    exactly = {name: image.pixels.double().clone() for name, image in images.items()}
    true = computed(gates.Plain(), w.double(), **exactly)
    for name in ("c_new", "h", "seen", "h_again"):
        images[name].pixels.fill_(math.nan)
    found = computed(triton, w, **{name: image.pixels for name, image in images.items()})
    assert not any(image.spoilt() for image in images.values())
    # Some ten roundings, of numbers of up to some ten. What is stored is rounded once more; Triton's
    # interpreter cuts off, by up to a whole unit, to bfloat16.
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
def test_small_numbers_keep_their_digits_and_large_ones_stay_finite(triton, number):
    """With i = 1 and c = 0 the new c is tanh(z_g), also where two formulas for it meet."""
    size = torch.tensor([0, 1e-30, 1e-9, 1e-3, 0.1, 0.374, 0.3749999, 0.375001, 0.376, 1, 5, 20, 1e3, 1e30])
    x = torch.cat([size, -size, torch.tensor([math.inf, -math.inf, math.nan])]).to(DEVICE, number)[:, None]
    z = torch.cat([torch.full_like(x, 100), torch.zeros_like(x), x, x], dim=1)
    c_old, c_new, h = torch.zeros_like(x), torch.empty_like(x), torch.empty_like(x)
    with np.errstate(over="ignore", invalid="ignore"):  # the interpreter's
        w = torch.zeros(3, 1, device=DEVICE, dtype=number)
        triton.forward(z, w, gates.Images(c_old, c_new, h, torch.empty_like(h)))
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
def test_an_image_may_have_more_numbers_than_32_bits_count(triton):
    apart = 1 << 30
    try:
        memory = torch.empty(2 * apart + 4, dtype=torch.bfloat16, device=DEVICE)  # of which little is touched
    except RuntimeError:
        pytest.skip("there are no 4 GB of memory")
    far = memory.as_strided((3, 4), (apart, 1)).copy_(numbers(3, 4))
    c_old, w = numbers(3, 1).float(), numbers(3, 1).float()
    found = []
    for z in (far.contiguous(), far):
        c_new, h = torch.empty_like(c_old), torch.empty_like(c_old, dtype=torch.bfloat16)
        triton.forward(z, w, gates.Images(c_old, c_new, h, torch.empty_like(h)))
        found.append(c_new)
    assert torch.equal(*found)


@HAS_TRITON
@pytest.mark.parametrize("capability", [75, 90])
@pytest.mark.parametrize("channels", [1, 17, 64])
@pytest.mark.parametrize("real", ["fp64", "fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kernel", ["_lstm_forward", "_lstm_backward"])
def test_the_kernels_compile_for_gpus_that_are_not_here(
    monkeypatch, tmp_path, kernel, real, channels, capability
):
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
        if name in ("pixels", "channels") or name.endswith("_apart"):
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
    # Sums must not depend on who comes first.
    assert not re.search(r"^\s*(atom|red)\.", compiled.asm["ptx"], re.MULTILINE)


def arguments(steps, batch, inputs, channels, space, kernel, dtype=torch.float64):
    c = 4 * channels
    given = (
        numbers(steps, batch, inputs, *space),
        numbers(batch, channels, *space, seed=2),
        numbers(batch, channels, *space, seed=3),
        # Sums over a kernel of order one, so that gates do not saturate and hide errors.
        numbers(c, inputs, *kernel, seed=4) / (math.prod(kernel) * inputs) ** 0.5,
        numbers(c, channels, *kernel, seed=5) / (math.prod(kernel) * channels) ** 0.5,
        numbers(c, seed=6),
        numbers(3, channels, seed=7),
    )
    return {name: t.to(dtype).requires_grad_() for name, t in zip(NAMES, given, strict=True)}


def results_and_gradients(op, given):
    x, h, c, *weights = given.values()
    output, (h, c) = op(x, (h, c), LSTMWeights(*weights), Form(), Run(len(x)))
    results = {"output": output, "h_n": h, "c_n": c}
    loss = sum((t.double() * numbers(*t.shape, seed=8 + n)).sum() for n, t in enumerate(results.values()))
    asked = {name: t for name, t in given.items() if t is not None}
    gradients = torch.autograd.grad(loss, list(asked.values()))
    return results | {f"gradient of {name}": d for name, d in zip(asked, gradients, strict=True)}


def plain_torch(x, state, weights, *_):
    """The loop people write: one convolution over [x, h], and autocast's choice of the rest."""
    (h, c), (weight_ih, weight_hh, bias, peephole, *_) = state, weights
    weight = torch.cat([weight_ih, weight_hh], dim=1)
    w_ci, w_cf, w_co = peephole[..., None, None]
    outputs = []
    for x_t in x:
        z = functional.conv2d(torch.cat([x_t, h], dim=1), weight, bias, padding=weight.shape[-1] // 2)
        i, f, g, o = z.chunk(4, dim=1)
        i, f = torch.sigmoid(i + w_ci * c), torch.sigmoid(f + w_cf * c)
        c = f * c + i * torch.tanh(g)
        h = torch.sigmoid(o + w_co * c) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), (h, c)


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
@pytest.mark.usefixtures("driven", "poison")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("without", [None, "bias", "peephole"])
def test_driven_by_the_kernels_it_is_the_reference(shape, without):
    given = arguments(*shape)
    if without:
        given[without] = None
    expected = results_and_gradients(reference.conv_lstm, given)
    found = results_and_gradients(fused.conv_lstm, given)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], **EXACT, msg=lambda m, n=name: f"{n}: {m}")


@HAS_TRITON
@pytest.mark.usefixtures("driven", "poison")
@pytest.mark.parametrize("lowered", [None, torch.bfloat16, torch.float16])
def test_driven_by_the_kernels_it_errs_at_most_twice_as_much_as_plain_torch(lowered):
    given = arguments(8, 2, 3, 8, (9, 11), (3, 3), torch.float32)
    exact = {name: t.detach().double().requires_grad_() for name, t in given.items()}
    truth = results_and_gradients(reference.conv_lstm, exact)
    with torch.autocast(DEVICE.type, lowered, enabled=lowered is not None):
        found = results_and_gradients(fused.conv_lstm, given)
        peer = results_and_gradients(plain_torch, given)
    assert found["output"].dtype == (lowered or torch.float32)
    assert found["c_n"].dtype == torch.float32
    for name, expected in truth.items():
        error = (found[name].double() - expected).norm()
        assert 0 < error <= 2 * (peer[name].double() - expected).norm(), name


@pytest.fixture
def fresh(monkeypatch):
    """Nobody has asked for Triton yet."""
    monkeypatch.delitem(sys.modules, "stormcell.nn.ops.triton_gates", raising=False)
    gates._triton.cache_clear()
    yield
    gates._triton.cache_clear()


def test_on_a_cpu_triton_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(gates, "_triton", lambda _: pytest.fail("asked for Triton"))
    ConvLSTM2d(2, 3, 3, backend="fused")(torch.rand(2, 1, 2, 5, 4))


@pytest.mark.usefixtures("fresh")
def test_without_triton_it_is_plain(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "triton", None)
    with caplog.at_level(logging.WARNING, "stormcell"):
        for _ in range(2):
            assert isinstance(
                gates.gates(torch.float32, torch.device("cuda", 0), peepholes=True), gates.Plain
            )
    (said,) = caplog.messages  # once
    assert said.startswith("ConvLSTM is slower on cuda:0 than it could be: ")
    assert "triton" in said


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("broken", [False, True])
def test_triton_is_tried_before_it_is_trusted(monkeypatch, caplog, broken):
    """It is known not to find a C compiler, and to refuse old GPUs, when it is first to compile something."""

    class Triton(gates.Plain):
        def forward(self, *images):
            super().forward(*images)
            if broken:
                raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable")

    module = types.ModuleType("triton_gates")
    module.Triton = Triton
    monkeypatch.setitem(sys.modules, "stormcell.nn.ops.triton_gates", module)
    device = torch.device("cuda" if ON_GPU else "meta")
    with caplog.at_level(logging.WARNING, "stormcell"):
        found = gates.gates(torch.float32, device, peepholes=True)
    assert isinstance(found, Triton) != broken
    assert isinstance(found, gates.Plain)
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
    """Arguments of which only the properties are known: fake, for there may be no such device."""
    with FakeTensorMode():
        shapes = (3, 2, 2, 5, 4), (2, 3, 5, 4), (2, 3, 5, 4), (12, 2, 3, 3), (12, 3, 3, 3), (12,), (3, 3)
        tensors = (torch.empty(shape, device=device, dtype=dtype) for shape in shapes)
        return dict(zip(NAMES, tensors, strict=True))


def refused(given):
    x, h, c, *weights = given.values()
    return fused.refusal(x, (h, c), LSTMWeights(*weights), Form(), Run(3))


NOTHING_ELSE = "tensors that are not plain"  # as fake ones are


@pytest.fixture
def no_guard(monkeypatch):
    """Asks nothing of a fake tensor that needs its device's library."""
    monkeypatch.setattr(kernels, "wasteful", lambda *_: False)


@pytest.mark.usefixtures("no_guard")
def test_what_it_refuses_of_devices():
    gpu, cpu, meta = on("cuda"), on("cpu"), on("meta")
    assert refused(gpu) == refused(cpu) == NOTHING_ELSE
    assert refused(meta) == "devices other than the CPU and CUDA"
    for name in NAMES:
        assert refused(cpu | {name: meta[name]}) == "devices other than the CPU and CUDA"
        assert refused(cpu | {name: gpu[name]}) == "tensors on several devices"
        assert refused(gpu | {name: on("cuda:1")[name]}) == "tensors on several devices"


def test_another_device_goes_by_the_reference():
    rnn, x = ConvLSTM2d(2, 3, 3, device="meta"), torch.empty(3, 1, 2, 5, 4, device="meta")
    assert rnn(x)[0].shape == (3, 1, 3, 5, 4)


@pytest.mark.usefixtures("no_guard")
def test_what_it_refuses_of_autocast(under_autocast):
    wrong = "autocast other than from float32 to bfloat16, or float16 on CUDA"
    single, double, half = (on("cuda", dtype) for dtype in (torch.float32, torch.float64, torch.float16))
    for dtype in (None, torch.float16, torch.bfloat16):
        under_autocast(dtype)
        assert refused(single) == NOTHING_ELSE
        assert refused(double) == (wrong if dtype else NOTHING_ELSE)
        assert refused(on("cpu")) == NOTHING_ELSE  # it has an autocast of its own
        lowered = refused(single | {"x": half["x"], "h": half["h"]})
        assert lowered == (NOTHING_ELSE if dtype == torch.float16 else "tensors of unlike dtype")
        assert refused(single | {"c": half["c"]}) == "tensors of unlike dtype"
    under_autocast(torch.float64)
    assert refused(single) == wrong
    under_autocast(None)
    with torch.autocast("cpu", torch.float16):
        assert refused(single) == NOTHING_ELSE
        assert refused(on("cpu")) == wrong


class OnOneDevice(TorchDispatchMode):
    """Watches that nothing is made or read elsewhere."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **kwargs or {})
        for each in tree_leaves((args, kwargs, made)):
            assert not isinstance(each, torch.Tensor) or each.device.type == "meta", func
        return made


@pytest.mark.parametrize("lowered", [None, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("without", [(), ("bias", "peephole")])
def test_all_of_it_happens_on_the_device_and_nothing_waits_for_it(monkeypatch, lowered, without):
    """Of tensors without numbers nobody can ask for one, nor copy it to another device."""
    asked, cast, steps = [], [], []

    class Watched(gates.Plain):
        def forward(self, *images):
            steps.append(len(images[0]))
            super().forward(*images)

    def autocast(device, *_, **__):  # which knows no such device
        cast.append(device)
        return contextlib.nullcontext()

    monkeypatch.setattr(gates, "gates", lambda *what, **_: asked.append(what) or Watched())
    monkeypatch.setattr(pieces, "_PIECE", 1)
    monkeypatch.setattr(fused, "lowered", lambda device: lowered if device.type == "meta" else None)
    monkeypatch.setattr(torch, "autocast", autocast)
    given = {
        name: None if name in without else torch.empty(t.shape, device="meta", requires_grad=True)
        for name, t in on("cpu").items()
    }
    tensors = [t for t in given.values() if t is not None]
    with OnOneDevice():
        output, h, c = fused._ConvLSTM.apply(*given.values())
        upstream = torch.ones_like(output), torch.ones_like(c)
        gradients = torch.autograd.grad((output, c), tensors, upstream)
    real = lowered or torch.float32
    assert steps == [2 * 5 * 4] * 3  # the whole batch, at each step
    assert set(asked) == {(real, torch.device("meta"))}
    assert set(cast) == {"meta"}
    assert (output.dtype, h.dtype, c.dtype) == (real, real, torch.float32)
    assert [d.shape for d in gradients] == [t.shape for t in tensors]


@pytest.mark.parametrize("lowered", [torch.float16, torch.bfloat16])
def test_a_graph_that_is_kept_gives_the_same_gradient_again_in_the_precision_it_was_made_in(
    monkeypatch, lowered
):
    monkeypatch.setattr(gates, "gates", lambda *_, peepholes: gates.Plain(peepholes=peepholes))
    given = arguments(3, 2, 2, 3, (5, 4), (3, 3), torch.float32)
    x, h, c, *weights = tensors = list(given.values())
    with torch.autocast(DEVICE.type, lowered):
        output, _ = fused.conv_lstm(x, (h, c), LSTMWeights(*weights), Form(), Run(3))
    loss = output.float().square().sum()
    first = torch.autograd.grad(loss, tensors, retain_graph=True)
    again = torch.autograd.grad(loss, tensors)
    # On a GPU not all of its convolutions add up in the same order each time.
    same = {"rtol": 0, "atol": 0} if not ON_GPU else {"rtol": 0.01, "atol": 0.01}
    torch.testing.assert_close(again, first, **same)


@pytest.mark.parametrize("lowered", [torch.float16, torch.bfloat16])
def test_gradients_of_weights_add_up_in_float32(lowered):
    convolution = engines.Direct(torch.ones(1, 1, 1, 1, device=DEVICE, dtype=lowered))
    one = torch.ones(1, 1, 1, 1, device=DEVICE, dtype=lowered)
    for _ in range(2049):  # the first number that float16 does not have
        convolution.to_weight(one, one)
    assert convolution.d_weight().item() == 2049


@HAS_GPU
@HAS_TRITON
@pytest.mark.parametrize("shape", [*SHAPES, (3, 4, 20, 96, (33, 30), (3, 3))])
def test_on_a_gpu_it_is_the_reference(shape):
    given = arguments(*shape)
    device = given["x"].device
    assert type(gates.gates(torch.float64, device, peepholes=True)).__name__ == "Triton"
    expected = results_and_gradients(reference.conv_lstm, given)
    found = results_and_gradients(choose("conv_lstm", "fused"), given)
    for name in expected:
        assert found[name].device == device
        # Of the weights' gradients each is a sum over all pixels of all steps.
        torch.testing.assert_close(found[name], expected[name], rtol=1e-11, atol=1e-10)


@HAS_GPU
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("lowered", [None, torch.bfloat16, torch.float16])
def test_on_a_gpu_it_errs_at_most_twice_as_much_as_plain_torch(monkeypatch, lowered, plain):
    if plain:
        monkeypatch.setattr(gates, "_triton", lambda _: None)
    given = arguments(12, 4, 3, 32, (33, 30), (3, 3), torch.float32)
    exact = {name: t.detach().double().requires_grad_() for name, t in given.items()}
    truth = results_and_gradients(reference.conv_lstm, exact)
    with torch.autocast("cuda", lowered, enabled=lowered is not None):
        found = results_and_gradients(choose("conv_lstm", "fused"), given)
        peer = results_and_gradients(plain_torch, given)
    assert found["output"].dtype == (lowered or torch.float32)
    for name, expected in truth.items():
        error = (found[name].double() - expected).norm()
        assert error <= 2 * (peer[name].double() - expected).norm(), name


@HAS_GPU
def test_a_cuda_graph_can_hold_it_forwards_and_backwards():
    given = arguments(3, 2, 2, 3, (5, 4), (3, 3))
    x, h, c, *weights = tensors = list(given.values())
    upstream = torch.ones_like(x[:, :, :1]).expand(-1, -1, 3, -1, -1)

    def step():
        output, state = choose("conv_lstm", "fused")(x, (h, c), LSTMWeights(*weights), Form(), Run(3))
        return [output, *state, *torch.autograd.grad(output, tensors, upstream)]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # so that all is compiled
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        held = step()
    with torch.no_grad():
        for tensor in tensors:
            tensor.mul_(0.5)
    graph.replay()
    torch.testing.assert_close(held, step(), **EXACT)
