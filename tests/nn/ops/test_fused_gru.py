"""The fused ConvGRU is the reference: rung 4 of the ladder of oracles."""

import math
import threading
import warnings

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from stormcell.errors import NotOfferedError
from stormcell.nn import ConvGRU2d
from stormcell.nn.activations import leaky_relu
from stormcell.nn.ops import compiler, engines, fused_gru, gru_gates, pieces, reference, winograd
from stormcell.nn.ops.terms import Form, GRUWeights, Run

NAMES = ("x", "h", "weight_ih", "weight_hh", "bias_ih", "bias_hh")
RESULTS = ("output", "h_n")

HAS_COMPILER = pytest.mark.skipif(compiler.library(torch.float64) is None, reason="no C compiler")
compiled = [pytest.param(way, marks=HAS_COMPILER) for way in ("compiled", "compiled, direct")]


@pytest.fixture(params=[*compiled, "plain"])
def arithmetic(request, monkeypatch):
    """Compiled, or in PyTorch's own operations; with either sort of convolution, whether it pays or not."""
    if request.param == "plain":
        monkeypatch.setattr(gru_gates, "gates", lambda _: gru_gates.Plain())
    if request.param in ("plain", "compiled, direct"):
        monkeypatch.setattr(winograd, "pays", lambda _: False)
    else:
        monkeypatch.setattr(winograd, "_PAYS", math.inf)


@pytest.fixture(params=["after", "before"])
def form(request):
    """Where the reset gate acts."""
    return Form(reset=request.param)


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def arguments(steps, batch, inputs, channels, space, kernel, of_h=None, *, bias=True, dtype=torch.float64):
    c, of_h = 3 * channels, of_h or kernel
    given = {
        "x": numbers(steps, batch, inputs, *space) if inputs else None,
        "h": numbers(batch, channels, *space, seed=2),
        # Sums over a kernel of order one, so that gates do not saturate and hide errors.
        "weight_ih": numbers(c, inputs, *kernel, seed=3) / (math.prod(kernel) * inputs) ** 0.5
        if inputs
        else None,
        "weight_hh": numbers(c, channels, *of_h, seed=4) / (math.prod(of_h) * channels) ** 0.5,
        "bias_ih": numbers(c, seed=5) if bias and inputs else None,
        "bias_hh": numbers(c, seed=6) if bias else None,
    }
    return {name: None if a is None else a.to(dtype).requires_grad_() for name, a in given.items()}


SMALL = (3, 2, 2, 3, (5, 4), (3, 3))


def run(op, given, form, steps=None):
    x, h, *weights = given.values()
    output, (h,) = op(x, (h,), GRUWeights(*weights), form, Run(steps or len(x)))
    return output, h


def results_and_gradients(op, given, form, steps=None):
    found = dict(zip(RESULTS, run(op, given, form, steps), strict=True))
    upstream = [numbers(*result.shape, seed=8 + n) for n, result in enumerate(found.values())]
    loss = sum((a.double() * b).sum() for a, b in zip(found.values(), upstream, strict=True))
    asked = {name: a for name, a in given.items() if a is not None and a.requires_grad}
    gradients = torch.autograd.grad(loss, list(asked.values()))
    return found | {f"gradient of {n}": g for n, g in zip(asked, gradients, strict=True)}


def assert_alike(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], msg=lambda m, n=name: f"{n}: {m}", **tolerance
        )


# Sums of some hundred terms of order one, over a few steps, in float64.
EXACT = {"rtol": 1e-11, "atol": 1e-11}


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize(
    "shape",  # steps, batch, inputs, channels, space, kernel and, if it is another, that of the hidden state
    [
        (1, 1, 2, 3, (5, 7), (3, 3)),
        (4, 3, 2, 3, (5, 7), (3, 3)),
        (3, 2, 1, 17, (8, 3), (1, 5)),
        (3, 2, 0, 4, (6, 5), (5, 3)),
        (2, 3, 2, 3, (1, 1), (1, 1)),
        (2, 2, 2, 3, (1, 9), (3, 3)),
        (2, 2, 2, 3, (9, 1), (3, 3)),
        (2, 2, 3, 1, (40, 31), (3, 3)),  # more pixels than are summed in a row
        (2, 2, 2, 3, (7, 6), (5, 5)),
        (2, 2, 2, 3, (6, 7), (4, 2)),
        (2, 2, 2, 3, (6, 7), (4, 3), (2, 7)),
        (2, 2, 2, 3, (6, 7), (1, 1), (3, 4)),
        (3, 2, 2, 3, (7,), (3,)),
        (2, 2, 2, 3, (6,), (3,), (4,)),
        (2, 2, 2, 3, (5, 4, 3), (3, 3, 3)),
        (2, 2, 2, 3, (3, 4, 5), (3, 3, 3), (2, 1, 3)),
        (2, 3, 20, 9, (9, 10), (3, 3)),  # channels in several vectors, and a part of one
    ],
)
@pytest.mark.parametrize("samples", [0, 2, 1 << 30])
def test_it_is_the_reference(monkeypatch, form, shape, samples):
    given, steps = arguments(*shape), shape[0]
    # A sample and a step at a time; two of either, the last alone; or all together.
    monkeypatch.setattr(pieces, "_PIECE", samples * fused_gru._size(given["h"], torch.float64))
    monkeypatch.setattr(winograd, "_TILES", 8)  # so that there are several lots
    monkeypatch.setattr(winograd, "_TILES_TO_WEIGHT", 8)
    expected = results_and_gradients(reference.conv_gru, given, form, steps)
    assert_alike(results_and_gradients(fused_gru.conv_gru, given, form, steps), expected, **EXACT)
    with torch.no_grad():
        inferred = dict(zip(RESULTS, run(fused_gru.conv_gru, given, form, steps), strict=True))
    assert_alike(inferred, {name: expected[name] for name in RESULTS}, **EXACT)


@pytest.mark.usefixtures("arithmetic", "poison")
def test_without_biases_too(form):
    given = arguments(*SMALL, bias=False)
    expected = results_and_gradients(reference.conv_gru, given, form)
    assert_alike(results_and_gradients(fused_gru.conv_gru, given, form), expected, **EXACT)


@pytest.mark.usefixtures("arithmetic", "poison")
def test_without_its_input_a_layer_leaves_the_weights_for_it_alone(form):
    given = arguments(*SMALL) | {"x": None}
    rest = {name: given[name] for name in ("h", "weight_hh", "bias_hh")}

    def gradients(op):
        output, h = run(op, given, form, steps=3)
        loss = (output * numbers(*output.shape)).sum() + h.sum()
        left = torch.autograd.grad(
            loss, [given["weight_ih"], given["bias_ih"]], retain_graph=True, allow_unused=True
        )
        assert left == (None, None)
        return output, h, *torch.autograd.grad(loss, list(rest.values()))

    torch.testing.assert_close(gradients(fused_gru.conv_gru), gradients(reference.conv_gru), **EXACT)


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("frozen", NAMES)
def test_whatever_needs_no_gradient_gets_none(form, frozen):
    given = arguments(*SMALL)
    given[frozen].requires_grad_(False)
    expected = results_and_gradients(reference.conv_gru, given, form)
    assert_alike(results_and_gradients(fused_gru.conv_gru, given, form), expected, **EXACT)


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("upstream", ["expanded", "transposed", "of the last state only"])
def test_the_gradient_may_come_in_any_layout(form, upstream):
    given = arguments(*SMALL)

    def gradients(op):
        output, h = run(op, given, form)
        if upstream == "expanded":
            loss = output.sum()
        elif upstream == "transposed":
            loss = (output.transpose(3, 4) * numbers(*output.transpose(3, 4).shape)).sum()
        else:
            loss = h.square().sum()
        return torch.autograd.grad(loss, list(given.values()))

    torch.testing.assert_close(gradients(fused_gru.conv_gru), gradients(reference.conv_gru), **EXACT)


@pytest.mark.usefixtures("arithmetic", "poison")
def test_what_comes_in_may_lie_in_memory_as_it_likes(form):
    given = arguments(*SMALL)
    expected = results_and_gradients(reference.conv_gru, given, form)
    for name in NAMES:
        a = given[name].detach()
        strided = torch.zeros(*reversed(a.shape), 2, dtype=a.dtype)[..., 0].permute(*reversed(range(a.dim())))
        given[name] = strided.copy_(a).requires_grad_()
    assert_alike(results_and_gradients(fused_gru.conv_gru, given, form), expected, **EXACT)


def plain_torch(x, state, weights, form, _):
    """The loop people write, in autocast's choice of precisions."""
    (h,), (w_x, w_h, b_x, b_h, *_) = state, weights
    c, around = h.shape[1], w_h.shape[-1] // 2
    outputs = []
    for x_t in x:
        x_r, x_z, x_n = functional.conv2d(x_t, w_x, b_x, padding=around).chunk(3, dim=1)
        if form.reset == "after":
            h_r, h_z, h_n = functional.conv2d(h, w_h, b_h, padding=around).chunk(3, dim=1)
        else:
            h_r, h_z = functional.conv2d(h, w_h[: 2 * c], b_h[: 2 * c], padding=around).chunk(2, dim=1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        if form.reset == "after":
            n = torch.tanh(x_n + r * h_n)
        else:
            n = torch.tanh(x_n + functional.conv2d(r * h, w_h[2 * c :], b_h[2 * c :], padding=around))
        h = (1 - z) * n + z * h
        outputs.append(h)
    return torch.stack(outputs), (h,)


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("peer", [plain_torch, reference.conv_gru])
@pytest.mark.parametrize("autocast", [False, True])
def test_it_errs_at_most_twice_as_much_as_plain_torch(form, autocast, peer):
    given = arguments(12, 2, 3, 8, (9, 11), (3, 3), dtype=torch.float32)
    exact = {name: a.detach().double().requires_grad_() for name, a in given.items()}
    truth = results_and_gradients(reference.conv_gru, exact, form)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = results_and_gradients(fused_gru.conv_gru, given, form)
        theirs = results_and_gradients(peer, given, form)
    assert found["output"].dtype == found["h_n"].dtype == torch.float32
    for name, expected in truth.items():
        error = (found[name].double() - expected).norm()
        assert 0 < error <= 2 * (theirs[name].double() - expected).norm(), name


@pytest.mark.usefixtures("arithmetic")
def test_ten_steps_and_ten_more_are_twenty_to_the_bit(form):
    given = arguments(20, 2, 2, 3, (5, 4), (3, 3), dtype=torch.float32)
    x = given["x"]
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output, h = run(fused_gru.conv_gru, given, form)
            first, middle = run(fused_gru.conv_gru, given | {"x": x[:10]}, form)
            second, end = run(fused_gru.conv_gru, given | {"x": x[10:], "h": middle}, form)
        torch.testing.assert_close(torch.cat([first, second]), output, rtol=0, atol=0)
        torch.testing.assert_close(end, h, rtol=0, atol=0)


@pytest.mark.usefixtures("arithmetic")
def test_its_gradient_has_a_gradient(form):
    given = arguments(2, 1, 1, 2, (2, 3), (3, 3))
    assert torch.autograd.gradgradcheck(
        lambda *tensors: run(fused_gru.conv_gru, dict(zip(NAMES, tensors, strict=True)), form),
        tuple(given.values()),
    )


@pytest.mark.usefixtures("arithmetic")
def test_a_graph_that_is_kept_gives_the_same_gradient_again(form):
    given = arguments(*SMALL)
    output, h = run(fused_gru.conv_gru, given, form)
    loss = output.square().sum() + h.sum()
    first = torch.autograd.grad(loss, list(given.values()), retain_graph=True)
    again = torch.autograd.grad(loss, list(given.values()))
    torch.testing.assert_close(again, first, rtol=0, atol=0)


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("needs_gradient", [False, True])
def test_what_is_returned_may_be_written_to(form, needs_gradient):
    given = {name: a.requires_grad_(needs_gradient) for name, a in arguments(*SMALL).items()}
    find = results_and_gradients if needs_gradient else run
    expected = find(reference.conv_gru, given, form)

    def and_spoil(*call):
        output, (h,) = fused_gru.conv_gru(*call)
        kept = output.clone(), (h.clone(),)
        output.mul_(0)
        assert h.any()
        h.mul_(0)
        return kept

    if needs_gradient:
        assert_alike(find(and_spoil, given, form), expected, **EXACT)
    else:
        torch.testing.assert_close(find(and_spoil, given, form), expected, **EXACT)


@pytest.mark.usefixtures("arithmetic")
def test_two_sequences_at_once_do_not_meet(form):
    given = [arguments(*SMALL), arguments(*SMALL)]
    with torch.no_grad():
        given[1]["x"] += 1
    expected = [results_and_gradients(reference.conv_gru, each, form) for each in given]

    def both(op):
        (one, _), (other, _) = (run(op, each, form) for each in given)  # both, before any gradient
        loss = (one * other * numbers(*one.shape)).sum()
        return torch.autograd.grad(loss, [given[0]["h"], given[1]["h"]])

    torch.testing.assert_close(both(fused_gru.conv_gru), both(reference.conv_gru), **EXACT)
    found = [None, None]

    def work(n):
        for _ in range(20):
            found[n] = results_and_gradients(fused_gru.conv_gru, given[n], form)

    threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each, right in zip(found, expected, strict=True):
        assert_alike(each, right, **EXACT)


@pytest.mark.usefixtures("arithmetic")
def test_checkpoints_let_go_of_what_is_kept_and_change_nothing(form):
    given = arguments(6, 2, 2, 3, (5, 4), (3, 3))

    def in_parts(x, state, weights, form, run):
        outputs = []
        for part in x.split(2):
            call = part, state, weights, form, run._replace(steps=2)
            output, state = checkpoint(fused_gru.conv_gru, *call, use_reentrant=False)
            outputs.append(output)
        return torch.cat(outputs), state

    expected = results_and_gradients(fused_gru.conv_gru, given, form)
    assert_alike(results_and_gradients(in_parts, given, form), expected, **EXACT)


def test_a_nan_stays_one(form):
    # Of three channels PyTorch's convolutions in bfloat16 also read, and multiply by zero, a fourth.
    given = arguments(2, 1, 2, 4, (4, 4), (1, 1), dtype=torch.float32)
    with torch.no_grad():
        given["x"][0, 0, 0, 1, 2] = float("nan")
        for autocast in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                for result in run(fused_gru.conv_gru, given, form):
                    nan = result.isnan().flatten(0, -3).all(0)
                    assert nan.nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("way", [*compiled[:1], "plain"])
@pytest.mark.usefixtures("poison")
def test_n_may_be_made_by_a_leaky_relu(way):
    library = compiler.library(torch.float64)
    gates = gru_gates.Plain(leaky=True) if way == "plain" else gru_gates.Compiled(library, leaky=True)
    x, h, old = (numbers(300, n * 5, seed=seed).requires_grad_() for seed, n in enumerate((3, 3, 1)))
    (x_r, x_z, x_n), (h_r, h_z, h_n) = x.chunk(3, dim=1), h.chunk(3, dim=1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    expected = (1 - z) * leaky_relu(x_n + r * h_n) + z * old

    new, kept = torch.empty_like(old), old.new_empty(300, 20)
    with torch.no_grad():
        gates.forward(x, h, old, new, kept)
    torch.testing.assert_close(new, expected.detach(), **EXACT)
    shares = [numbers(300, 5, seed=seed) for seed in (6, 7, 8)]
    asked = torch.autograd.grad(expected, [x, h, old], sum(shares))
    d_x, d_h = torch.empty_like(x), torch.empty_like(h)
    with torch.no_grad():
        sums = gates.backward(kept, old, *shares, d_x, d_h)
    torch.testing.assert_close((d_x, d_h, shares[2]), asked, **EXACT)
    by_hand = torch.cat([asked[0].sum(0), asked[1].sum(0)[10:]]).view(4, 5)
    torch.testing.assert_close(sums, by_hand, **EXACT)


OPTIONS = {"in_channels": 2, "hidden_channels": 3, "kernel_size": 3}
OTHER = "another activation, recurrent_padding_mode or zoneout"


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"stride": 2}, "stride or dilation"),
        ({"dilation": 2}, "stride or dilation"),
        ({"padding": 2}, "another padding or padding_mode"),
        ({"padding": "valid"}, "another padding or padding_mode"),
        ({"padding": 1, "kernel_size": 2}, "another padding or padding_mode"),
        ({"padding_mode": "circular"}, "another padding or padding_mode"),
        ({"recurrent_padding_mode": "circular"}, OTHER),
        ({"activation": "leaky_relu"}, OTHER),
        ({"recurrent_activation": "hard_sigmoid"}, OTHER),
        ({"zoneout": 0.1}, OTHER),
        ({"norm": "layer"}, "norm"),
        ({"norm": "group", "in_channels": 0}, "norm"),
        ({"input_dropout": 0.1}, "lengths, mask or dropout"),
        ({"recurrent_dropout": 0.1}, "lengths, mask or dropout"),
        ({"dtype": torch.bfloat16}, "dtypes other than float32 and float64"),
    ],
)
def test_what_it_does_not_know_it_refuses_by_name_and_auto_goes_another_way(given, what):
    options, dtype = OPTIONS | given, given.get("dtype")
    call = {"x": torch.rand(2, 1, 2, 5, 4, dtype=dtype) if options["in_channels"] else None}
    if call["x"] is None:
        call |= {"state": (torch.rand(1, 3, 5, 4),), "steps": 2}
    message = f"^backend='fused' does not know {what}, only backend='auto' does$"
    with pytest.raises(NotOfferedError, match=message):
        ConvGRU2d(**options, backend="fused")(**call)
    auto, plain = ConvGRU2d(**options), ConvGRU2d(**options, backend="reference")
    plain.load_state_dict(auto.state_dict())
    torch.manual_seed(1)
    expected = plain(**call)
    torch.manual_seed(1)
    torch.testing.assert_close(auto(**call), expected, rtol=0, atol=0)


def test_a_mask_is_refused_too():
    rnn = ConvGRU2d(**OPTIONS, backend="fused")
    with pytest.raises(NotOfferedError, match="lengths, mask or dropout"):
        rnn(torch.rand(2, 1, 2, 5, 4), mask=torch.ones(2, 1, dtype=torch.bool))


def test_padding_that_comes_to_the_same_is_known():
    rnn = ConvGRU2d(**OPTIONS, padding=1, backend="fused")
    assert rnn(torch.rand(2, 1, 2, 5, 4))[0].shape[2:] == (3, 5, 4)


def test_autocast_leaves_float64_alone_and_other_types_to_the_reference():
    rnn = ConvGRU2d(**OPTIONS, dtype=torch.float64)
    x = numbers(3, 1, 2, 5, 4)
    expected = rnn(x)
    mixed = ConvGRU2d(**OPTIONS)
    mixed.cells[0].bias_hh = torch.nn.Parameter(torch.full((9,), 0.5, dtype=torch.bfloat16))
    plain = ConvGRU2d(**OPTIONS, backend="reference")
    plain.load_state_dict(mixed.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(rnn(x), expected, **EXACT)
        # 0.5 is exact in bfloat16, so that only the way can differ.
        torch.testing.assert_close(mixed(x.float()), plain(x.float()), rtol=0, atol=0)


@pytest.mark.usefixtures("arithmetic")
def test_under_autocast_a_layer_takes_what_another_made():
    """The one below may have given bfloat16, and its gradient goes back in it."""
    given = arguments(*SMALL, dtype=torch.float32)
    given |= {name: given[name].detach().bfloat16().requires_grad_() for name in ("x", "h")}
    with torch.autocast("cpu", torch.bfloat16):
        found = results_and_gradients(fused_gru.conv_gru, given, Form())
        expected = results_and_gradients(reference.conv_gru, given, Form())
    # Three or four roundings to bfloat16, 2^-9 each, of what the gates are made of, step by step.
    assert_alike(found, expected, rtol=2**-5, atol=2**-5 * 3)


@pytest.mark.usefixtures("arithmetic")
def test_the_gradient_of_a_gradient_through_calls_that_follow_each_other(form):
    """What a later call was given depends on the weights too, by way of the earlier one."""
    given = arguments(4, 1, 2, 3, (4, 3), (3, 3))
    x, h, *weights = given.values()

    def second_order(op):
        state = (h,)
        for part in x.split(2):
            output, state = op(part, state, GRUWeights(*weights), form, Run(2))
        first = torch.autograd.grad(output.square().sum(), weights, create_graph=True)
        return first, torch.autograd.grad(sum(g.square().sum() for g in first), weights)

    torch.testing.assert_close(second_order(fused_gru.conv_gru), second_order(reference.conv_gru), **EXACT)


def test_a_gradient_to_be_differentiated_is_that_of_the_precision_it_was_computed_in(form):
    given = arguments(*SMALL, dtype=torch.float32)

    def gradient(op, autocast):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output, _ = run(op, given, form)
        return torch.autograd.grad(output.square().sum(), given["x"], create_graph=True)[0]

    found, expected = gradient(fused_gru.conv_gru, True), gradient(reference.conv_gru, True)
    # The same operations, but for the order of sums; without autocast it would be another number.
    assert (found - expected).norm() < (gradient(reference.conv_gru, False) - expected).norm() / 10


@pytest.mark.usefixtures("arithmetic")
def test_many_gradients_at_once(form):
    given = arguments(2, 1, 1, 2, (2, 2), (3, 3))

    def jacobian(op):
        output, _ = run(op, given, form)
        each = torch.eye(output.numel(), dtype=output.dtype)
        return torch.autograd.grad(output.flatten(), list(given.values()), each, is_grads_batched=True)

    torch.testing.assert_close(jacobian(fused_gru.conv_gru), jacobian(reference.conv_gru), **EXACT)


def test_tracers_see_what_is_computed():
    rnn, x = ConvGRU2d(**OPTIONS), torch.rand(2, 1, 2, 5, 4)
    other = torch.rand_like(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that traces are deprecated, and that this one holds for one size
        traced = torch.jit.trace(rnn, x, check_trace=False)
    torch.testing.assert_close(traced(other), rnn(other))
    torch.testing.assert_close(make_fx(lambda x: rnn(x)[0])(x)(other), rnn(other)[0])


def test_a_default_device_is_not_where_the_output_goes():
    rnn, x = ConvGRU2d(**OPTIONS), torch.rand(2, 1, 2, 5, 4)
    with torch.no_grad(), torch.device("meta"):
        output, _ = rnn(x)
    torch.testing.assert_close(output, rnn(x)[0])


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("reset", "numbers_kept"), [("after", 5), ("before", 4)])
def test_of_a_step_only_the_gates_and_the_state_are_kept(reset, numbers_kept, whole):
    rnn = ConvGRU2d(2, 16, 5, reset=reset)
    x = torch.rand(8, 1, 2, 9, 9)
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output, _ = rnn(x, return_sequence=whole)
    weights = sum(p.untyped_storage().nbytes() for p in rnn.parameters())
    image = 4 * 9 * 9 * 16
    assert weights > 8 * image  # so that a copy of them would be seen
    of_steps = 8 * image * numbers_kept  # the first of the states is what was given
    assert sum(storages.values()) == of_steps + 4 * x.numel() + weights
    output.sum().backward()


def test_where_no_gradient_will_be_asked_for_nothing_is_kept(monkeypatch):
    rnn, x = ConvGRU2d(**OPTIONS), torch.rand(2, 1, 2, 5, 4)
    monkeypatch.setattr(fused_gru, "_Kept", lambda *_: pytest.fail("kept what nobody will ask for"))
    with torch.no_grad():
        rnn(x)
    rnn.requires_grad_(False)(x)


@pytest.mark.parametrize(
    ("frozen", "wanted"),
    [
        (("weight_ih", "weight_hh"), []),
        (("weight_ih",), [3] * 3),
        (("weight_hh",), [2] * 3),
    ],
)
def test_frozen_weights_cost_no_gradient_of_theirs(monkeypatch, frozen, wanted):
    given = arguments(*SMALL)
    expected = results_and_gradients(reference.conv_gru, given, Form())["gradient of x"]
    for name in frozen:
        given[name].requires_grad_(False)
    asked = []
    for kind in (engines.Direct, winograd.Winograd):
        to_weight = kind.to_weight

        def counted(self, d_z, seen, to_weight=to_weight):
            asked.append(seen.shape[-1])
            to_weight(self, d_z, seen)

        monkeypatch.setattr(kind, "to_weight", counted)
    found = results_and_gradients(fused_gru.conv_gru, given, Form())["gradient of x"]
    assert asked == wanted
    torch.testing.assert_close(found, expected, **EXACT)


def test_where_it_is_known_auto_takes_it(monkeypatch):
    calls = []
    forward = fused_gru._forward
    monkeypatch.setattr(fused_gru, "_forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
    ConvGRU2d(**OPTIONS)(torch.rand(2, 1, 2, 5, 4))
    assert calls
