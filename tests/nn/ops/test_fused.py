"""The fused back end is the reference: rung 4 of the ladder of oracles."""

import math
import threading
import warnings

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from stormcell.errors import NotOfferedError
from stormcell.nn import ConvLSTM2d
from stormcell.nn.ops import compiler, engines, fused, gates, pieces, reference, winograd
from stormcell.nn.ops.terms import Form, LSTMWeights, Run

NAMES = ("x", "h", "c", "weight_ih", "weight_hh", "bias", "peephole")
RESULTS = ("output", "h_n", "c_n")
FORM = Form()

HAS_COMPILER = pytest.mark.skipif(compiler.library(torch.float64) is None, reason="no C compiler")
compiled = [pytest.param(way, marks=HAS_COMPILER) for way in ("compiled", "compiled, direct")]


@pytest.fixture(params=[*compiled, "plain"])
def arithmetic(request, monkeypatch):
    """Compiled, or in PyTorch's own operations; with either sort of convolution, whether it pays or not."""
    if request.param == "plain":
        monkeypatch.setattr(gates, "gates", lambda *_, peepholes: gates.Plain(peepholes=peepholes))
    if request.param in ("plain", "compiled, direct"):
        monkeypatch.setattr(winograd, "pays", lambda _: False)
    else:
        monkeypatch.setattr(winograd, "_PAYS", math.inf)


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def arguments(
    steps, batch, inputs, channels, space, kernel, of_x=None, *, bias=True, peephole=True, dtype=torch.float64
):
    c, of_x = 4 * channels, of_x or kernel
    given = {
        "x": numbers(steps, batch, inputs, *space) if inputs else None,
        "h": numbers(batch, channels, *space, seed=2),
        "c": numbers(batch, channels, *space, seed=3),
        # Sums over a kernel of order one, so that gates do not saturate and hide errors.
        "weight_ih": numbers(c, inputs, *of_x, seed=4) / (math.prod(of_x) * inputs) ** 0.5
        if inputs
        else None,
        "weight_hh": numbers(c, channels, *kernel, seed=5) / (math.prod(kernel) * channels) ** 0.5,
        "bias": numbers(c, seed=6) if bias else None,
        "peephole": numbers(3, channels, seed=7) if peephole else None,
    }
    return {name: None if a is None else a.to(dtype).requires_grad_() for name, a in given.items()}


def run(op, given, steps=None):
    x, h, c, *weights = given.values()
    output, (h, c) = op(x, (h, c), LSTMWeights(*weights), FORM, Run(steps or len(x)))
    return output, h, c


def results_and_gradients(op, given, steps):
    found = dict(zip(RESULTS, run(op, given, steps), strict=True))
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
    "shape",  # steps, batch, inputs, channels, space, kernel and, if it is another, that of the input
    [
        (1, 1, 2, 3, (5, 7), (3, 3)),
        (4, 3, 2, 3, (5, 7), (3, 3)),
        (3, 2, 1, 17, (8, 3), (1, 5)),
        (3, 2, 0, 4, (6, 5), (5, 3)),
        (2, 3, 2, 3, (1, 1), (1, 1)),
        (4, 3, 5, 3, (), ()),  # vectors
        (3, 2, 0, 4, (), ()),
        (3, 1, 2, 3, (4,), (1,)),
        (2, 2, 2, 3, (1, 9), (3, 3)),
        (2, 2, 2, 3, (9, 1), (3, 3)),
        (2, 2, 3, 1, (40, 31), (3, 3)),  # more pixels than are summed in a row
        (2, 2, 2, 3, (7, 6), (5, 5)),
        (2, 2, 2, 3, (6, 7), (4, 2)),
        (2, 2, 2, 3, (6, 7), (2, 7), (4, 3)),
        (2, 2, 2, 3, (6, 7), (3, 4), (1, 1)),
        (3, 2, 2, 3, (7,), (3,)),
        (2, 2, 2, 3, (6,), (4,), (3,)),
        (2, 2, 2, 3, (5, 4, 3), (3, 3, 3)),
        (2, 2, 2, 3, (3, 4, 5), (2, 1, 3), (3, 3, 3)),
        (2, 3, 20, 9, (9, 10), (3, 3)),  # channels in several vectors, and a part of one
    ],
)
@pytest.mark.parametrize(("piece", "summed"), [(1, 1), (1 << 30, 1), (1, 2)])
def test_it_is_the_reference(monkeypatch, shape, piece, summed):
    monkeypatch.setattr(pieces, "_PIECE", piece)  # a sample at a time, or all together
    # The weights' gradient step by step, or over two at once, as in bfloat16.
    monkeypatch.setattr(fused, "_steps", lambda count, _: pieces.cut(count, summed))
    monkeypatch.setattr(winograd, "_TILES", 8)  # so that there are several lots
    monkeypatch.setattr(winograd, "_TILES_TO_WEIGHT", 8)
    given, steps = arguments(*shape), shape[0]
    expected = results_and_gradients(reference.conv_lstm, given, steps)
    assert_alike(results_and_gradients(fused.conv_lstm, given, steps), expected, **EXACT)
    with torch.no_grad():
        inferred = dict(zip(RESULTS, run(fused.conv_lstm, given, steps), strict=True))
    assert_alike(inferred, {name: expected[name] for name in RESULTS}, **EXACT)


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("without", ["bias", "peephole"])
def test_without_bias_or_peepholes_too(without):
    given = arguments(3, 2, 2, 3, (5, 4), (3, 3), **{without: False})
    expected = results_and_gradients(reference.conv_lstm, given, 3)
    assert_alike(results_and_gradients(fused.conv_lstm, given, 3), expected, **EXACT)


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("frozen", NAMES)
def test_whatever_needs_no_gradient_gets_none(frozen):
    given = arguments(3, 2, 2, 3, (5, 4), (3, 3))
    given[frozen].requires_grad_(False)
    expected = results_and_gradients(reference.conv_lstm, given, 3)
    assert_alike(results_and_gradients(fused.conv_lstm, given, 3), expected, **EXACT)


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("upstream", ["expanded", "transposed", "of the last state only"])
def test_the_gradient_may_come_in_any_layout(upstream):
    given = arguments(3, 2, 2, 3, (5, 4), (3, 3))

    def gradients(op):
        output, _, c = run(op, given)
        if upstream == "expanded":
            loss = output.sum()
        elif upstream == "transposed":
            loss = (output.transpose(3, 4) * numbers(*output.transpose(3, 4).shape)).sum()
        else:
            loss = c.square().sum()
        return torch.autograd.grad(loss, list(given.values()))

    torch.testing.assert_close(gradients(fused.conv_lstm), gradients(reference.conv_lstm), **EXACT)


@pytest.mark.usefixtures("arithmetic", "poison")
def test_what_comes_in_may_lie_in_memory_as_it_likes():
    given = arguments(3, 2, 2, 3, (5, 4), (3, 3))
    expected = results_and_gradients(reference.conv_lstm, given, 3)
    for name in NAMES:
        a = given[name].detach()
        strided = torch.zeros(*reversed(a.shape), 2, dtype=a.dtype)[..., 0].permute(*reversed(range(a.dim())))
        given[name] = strided.copy_(a).requires_grad_()
    assert_alike(results_and_gradients(fused.conv_lstm, given, 3), expected, **EXACT)


def plain_torch(x, h, c, weight_ih, weight_hh, bias, peephole):
    """The loop people write: one convolution over [x, h], and autocast's choice of the rest."""
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
    return torch.stack(outputs), h, c


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("autocast", [False, True])
def test_it_errs_at_most_twice_as_much_as_plain_torch(autocast):
    shape = (12, 2, 3, 8, (9, 11), (3, 3))
    given = arguments(*shape, dtype=torch.float32)
    exact = {name: a.detach().double().requires_grad_() for name, a in given.items()}
    truth = results_and_gradients(reference.conv_lstm, exact, 12)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = results_and_gradients(fused.conv_lstm, given, 12)
        peer = results_and_gradients(lambda x, state, weights, *_: loop(x, state, weights), given, 12)
    assert found["output"].dtype == (torch.bfloat16 if autocast else torch.float32)
    assert found["c_n"].dtype == torch.float32
    for name, expected in truth.items():
        error = (found[name].double() - expected).norm()
        assert 0 < error <= 2 * (peer[name].double() - expected).norm(), name


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("inputs", [0, 24])
def test_lowered_vectors_err_at_most_twice_as_much_as_the_reference(inputs):
    given = arguments(12, 5, inputs, 32, (), (), dtype=torch.float32)
    exact = {name: a if a is None else a.detach().double().requires_grad_() for name, a in given.items()}
    truth = results_and_gradients(reference.conv_lstm, exact, 12)
    with torch.autocast("cpu", torch.bfloat16):
        found, peer = (results_and_gradients(op, given, 12) for op in (fused.conv_lstm, reference.conv_lstm))
    for name, expected in truth.items():
        error = (found[name].double() - expected).norm()
        assert 0 < error <= 2 * (peer[name].double() - expected).norm(), name


def loop(x, state, weights):
    output, h, c = plain_torch(x, *state, *weights[:4])
    return output, (h, c)


@pytest.mark.usefixtures("arithmetic")
def test_ten_steps_and_ten_more_are_twenty_to_the_bit():
    given = arguments(20, 2, 2, 3, (5, 4), (3, 3), dtype=torch.float32)
    x = given["x"]
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output, h, c = run(fused.conv_lstm, given)
            first, *middle = run(fused.conv_lstm, given | {"x": x[:10]})
            second, *end = run(fused.conv_lstm, given | {"x": x[10:], "h": middle[0], "c": middle[1]})
        torch.testing.assert_close(torch.cat([first, second]), output, rtol=0, atol=0)
        torch.testing.assert_close(end, [h, c], rtol=0, atol=0)


@pytest.mark.usefixtures("arithmetic")
def test_its_gradient_has_a_gradient():
    given = arguments(2, 1, 1, 2, (2, 3), (3, 3))
    assert torch.autograd.gradgradcheck(
        lambda *tensors: run(fused.conv_lstm, dict(zip(NAMES, tensors, strict=True))), tuple(given.values())
    )


@pytest.mark.usefixtures("arithmetic")
def test_a_graph_that_is_kept_gives_the_same_gradient_again():
    given = arguments(3, 2, 2, 3, (5, 4), (3, 3))
    output, _, c = run(fused.conv_lstm, given)
    loss = output.square().sum() + c.sum()
    first = torch.autograd.grad(loss, list(given.values()), retain_graph=True)
    again = torch.autograd.grad(loss, list(given.values()))
    torch.testing.assert_close(again, first, rtol=0, atol=0)


@pytest.mark.usefixtures("arithmetic")
def test_what_is_returned_may_be_written_to():
    given = arguments(3, 2, 2, 3, (5, 4), (3, 3))
    expected = results_and_gradients(reference.conv_lstm, given, 3)

    def and_spoil(*call):
        output, (h, c) = fused.conv_lstm(*call)
        kept = output.clone(), (h.clone(), c.clone())
        for result in (output, h, c):
            result.mul_(0)
        return kept

    assert_alike(results_and_gradients(and_spoil, given, 3), expected, **EXACT)


@pytest.mark.usefixtures("arithmetic")
def test_two_sequences_at_once_do_not_meet():
    given = [arguments(3, 2, 2, 3, (5, 4), (3, 3)), arguments(3, 2, 2, 3, (5, 4), (3, 3))]
    with torch.no_grad():
        given[1]["x"] += 1
    expected = [results_and_gradients(reference.conv_lstm, each, 3) for each in given]
    (one, *_), (other, *_) = (run(fused.conv_lstm, each) for each in given)  # both, before any gradient
    upstream = numbers(*one.shape)
    both = torch.autograd.grad((one * other * upstream).sum(), [given[0]["h"], given[1]["h"]])
    (one, *_), (other, *_) = (run(reference.conv_lstm, each) for each in given)
    torch.testing.assert_close(
        both, torch.autograd.grad((one * other * upstream).sum(), [given[0]["h"], given[1]["h"]]), **EXACT
    )
    found = [None, None]

    def work(n):
        for _ in range(20):
            found[n] = results_and_gradients(fused.conv_lstm, given[n], 3)

    threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each, right in zip(found, expected, strict=True):
        assert_alike(each, right, **EXACT)


@pytest.mark.usefixtures("arithmetic")
def test_checkpoints_let_go_of_what_is_kept_and_change_nothing():
    given = arguments(6, 2, 2, 3, (5, 4), (3, 3))

    def in_parts(x, state, weights, form, run):
        outputs = []
        for part in x.split(2):
            call = part, state, weights, form, run._replace(steps=2)
            output, state = checkpoint(fused.conv_lstm, *call, use_reentrant=False)
            outputs.append(output)
        return torch.cat(outputs), state

    expected = results_and_gradients(fused.conv_lstm, given, 6)
    assert_alike(results_and_gradients(in_parts, given, 6), expected, **EXACT)


def test_a_nan_stays_one():
    given = arguments(2, 1, 1, 3, (4, 4), (1, 1), dtype=torch.float32)
    with torch.no_grad():
        given["x"][0, 0, 0, 1, 2] = float("nan")
        for autocast in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                for result in run(fused.conv_lstm, given):
                    nan = result.isnan().flatten(0, -3).all(0)
                    assert nan.nonzero().tolist() == [[1, 2]]


SMALL = {"in_channels": 2, "hidden_channels": 3, "kernel_size": 3}


OTHER = "another activation, recurrent_padding_mode, cell_clip or zoneout"


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"recurrent_kernel_size": 5}, "a recurrent_kernel_size so unlike the kernel_size"),
        ({"stride": 2}, "stride or dilation"),
        ({"dilation": 2}, "stride or dilation"),
        ({"padding": 2}, "another padding or padding_mode"),
        ({"padding": "valid"}, "another padding or padding_mode"),
        ({"padding_mode": "circular"}, "another padding or padding_mode"),
        ({"recurrent_padding_mode": "circular"}, OTHER),
        ({"peephole": "pixel", "spatial_size": (5, 4)}, "peephole='pixel'"),
        ({"activation": "relu"}, OTHER),
        ({"recurrent_activation": "hard_sigmoid"}, OTHER),
        ({"cell_clip": 1.0}, OTHER),
        ({"zoneout": 0.1}, OTHER),
        ({"norm": "layer"}, "proj_channels or norm"),
        ({"proj_channels": 2}, "proj_channels or norm"),
        ({"input_dropout": 0.1}, "lengths, mask or dropout"),
        ({"recurrent_dropout": 0.1}, "lengths, mask or dropout"),
        ({"dtype": torch.bfloat16}, "dtypes other than float32 and float64"),
    ],
)
def test_what_it_does_not_know_it_refuses_by_name_and_auto_goes_another_way(given, what):
    x = torch.rand(2, 1, 2, 5, 4, dtype=given.get("dtype"))
    message = f"^backend='fused' does not know {what}, only backend='auto' does$"
    with pytest.raises(NotOfferedError, match=message):
        ConvLSTM2d(**SMALL | given, backend="fused")(x)
    auto, plain = ConvLSTM2d(**SMALL | given), ConvLSTM2d(**SMALL | given, backend="reference")
    plain.load_state_dict(auto.state_dict())
    torch.manual_seed(1)
    expected = plain(x)
    torch.manual_seed(1)
    torch.testing.assert_close(auto(x), expected, rtol=0, atol=0)


def test_a_mask_is_refused_too():
    rnn = ConvLSTM2d(**SMALL, backend="fused")
    with pytest.raises(NotOfferedError, match="lengths, mask or dropout"):
        rnn(torch.rand(2, 1, 2, 5, 4), mask=torch.ones(2, 1, dtype=torch.bool))


def test_padding_that_comes_to_the_same_is_known():
    assert ConvLSTM2d(**SMALL, padding=1, backend="fused")(torch.rand(2, 1, 2, 5, 4))[0].shape[2:] == (
        3,
        5,
        4,
    )


def test_autocast_leaves_float64_alone_and_other_types_to_the_reference():
    rnn = ConvLSTM2d(**SMALL, dtype=torch.float64)
    with torch.no_grad():
        rnn.cells[0].peephole.fill_(0.5)
    x = numbers(3, 1, 2, 5, 4)
    expected = rnn(x)
    mixed = ConvLSTM2d(**SMALL)
    mixed.cells[0].peephole = torch.nn.Parameter(torch.full((3, 3), 0.5, dtype=torch.bfloat16))
    plain = ConvLSTM2d(**SMALL, backend="reference")
    plain.load_state_dict(mixed.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(rnn(x), expected, **EXACT)
        # 0.5 is exact in bfloat16, so that only the way can differ.
        torch.testing.assert_close(mixed(x.float()), plain(x.float()), rtol=0, atol=0)


@pytest.mark.usefixtures("arithmetic")
def test_the_gradient_of_a_gradient_through_calls_that_follow_each_other():
    """What a later call was given depends on the weights too, by way of the earlier one."""
    given = arguments(4, 1, 2, 3, (4, 3), (3, 3))
    x, h, c, *weights = given.values()

    def second_order(op):
        state = h, c
        for part in x.split(2):
            output, state = op(part, state, LSTMWeights(*weights), FORM, Run(2))
        first = torch.autograd.grad(output.square().sum(), weights, create_graph=True)
        return first, torch.autograd.grad(sum(g.square().sum() for g in first), weights)

    torch.testing.assert_close(second_order(fused.conv_lstm), second_order(reference.conv_lstm), **EXACT)


@pytest.mark.usefixtures("arithmetic")
def test_many_gradients_at_once():
    given = arguments(2, 1, 1, 2, (2, 2), (3, 3))

    def jacobian(op):
        output, *_ = run(op, given)
        each = torch.eye(output.numel(), dtype=output.dtype)
        return torch.autograd.grad(output.flatten(), list(given.values()), each, is_grads_batched=True)

    torch.testing.assert_close(jacobian(fused.conv_lstm), jacobian(reference.conv_lstm), **EXACT)


def test_tracers_see_what_is_computed():
    rnn, x = ConvLSTM2d(**SMALL), torch.rand(2, 1, 2, 5, 4)
    other = torch.rand_like(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that traces are deprecated, and that this one holds for one size
        traced = torch.jit.trace(rnn, x, check_trace=False)
    torch.testing.assert_close(traced(other), rnn(other))
    torch.testing.assert_close(make_fx(lambda x: rnn(x)[0])(x)(other), rnn(other)[0])


def test_a_default_device_is_not_where_the_output_goes():
    rnn, x = ConvLSTM2d(**SMALL), torch.rand(2, 1, 2, 5, 4)
    with torch.no_grad(), torch.device("meta"):
        output, _ = rnn(x)
    torch.testing.assert_close(output, rnn(x)[0])


def test_no_weights_are_kept_of_every_step():
    rnn = ConvLSTM2d(2, 16, 5)
    x = torch.rand(8, 1, 2, 3, 3)
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output, _ = rnn(x, return_sequence=False)
    weights = sum(p.untyped_storage().nbytes() for p in rnn.parameters())
    assert weights > 4 * 8 * 9 * 6 * 16  # so that a copy of them would be seen
    assert sum(storages.values()) < 2 * weights
    output.sum().backward()


def test_what_is_rounded_is_summed_over_several_steps():
    """As many as do not have more pixels than are summed at once; what is not, step by step."""
    images = torch.empty(2, 16, 16, 7)
    assert fused._steps(3, images) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    many = fused._SUMMED // (2 * 16 * 16)
    assert fused._steps(many + 1, images.bfloat16()) == [slice(0, many), slice(many, many + 1)]
    large = torch.empty(1, fused._SUMMED + 1, 1, 1, dtype=torch.bfloat16)
    assert len(fused._steps(3, large)) == 3


def test_frozen_weights_cost_no_gradient_of_theirs(monkeypatch):
    given = arguments(3, 2, 2, 3, (5, 4), (3, 3))
    expected = results_and_gradients(reference.conv_lstm, given, 3)["gradient of x"]
    for name in ("weight_ih", "weight_hh"):
        given[name].requires_grad_(False)
    computed = lambda *_: pytest.fail("computed what nobody asked for")  # noqa: E731
    monkeypatch.setattr(engines.Direct, "to_weight", computed)
    monkeypatch.setattr(winograd.Winograd, "to_weight", computed)
    found = results_and_gradients(fused.conv_lstm, given, 3)["gradient of x"]
    torch.testing.assert_close(found, expected, **EXACT)


def test_where_it_is_known_auto_takes_it(monkeypatch):
    calls = []
    forward = fused._forward
    monkeypatch.setattr(fused, "_forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
    ConvLSTM2d(**SMALL)(torch.rand(2, 1, 2, 5, 4))
    assert calls
