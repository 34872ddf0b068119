"""The fused TrajGRU is the reference: rung 4 of the ladder of oracles."""

import math
import threading
import warnings
from collections import Counter
from functools import partial

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from stormcell.errors import NotOfferedError
from stormcell.nn import TrajGRU2d
from stormcell.nn.activations import leaky_relu
from stormcell.nn.ops import (
    compiler,
    engines,
    fused_traj_gru,
    gru_gates,
    moved,
    pieces,
    reference,
    winograd,
)
from stormcell.nn.ops.terms import Form, Run, TrajGRUWeights

NAMES = ("x", "h", *TrajGRUWeights._fields)
RESULTS = ("output", "h_n")
FORM = Form(leaky_relu)

HAS_COMPILER = pytest.mark.skipif(compiler.library(torch.float64) is None, reason="no C compiler")
compiled = [pytest.param(way, marks=HAS_COMPILER) for way in ("compiled", "compiled, direct")]


@pytest.fixture(params=[*compiled, "plain"])
def arithmetic(request, monkeypatch):
    """Compiled, or in PyTorch's own operations; with either sort of convolution, whether it pays or not."""
    if request.param == "plain":
        monkeypatch.setattr(gru_gates, "gates", lambda _, leaky: gru_gates.Plain(leaky))
        monkeypatch.setattr(moved, "moved", lambda w, corners, real: moved.Sampled(w, real, corners))
    if request.param in ("plain", "compiled, direct"):
        monkeypatch.setattr(winograd, "pays", lambda _: False)
    else:
        monkeypatch.setattr(winograd, "_PAYS", math.inf)


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def arguments(
    steps=3,
    batch=2,
    inputs=2,
    channels=3,
    space=(5, 4),
    kernel=(3, 3),
    flows=3,
    flow_channels=4,
    flow_kernel=(3, 3),
    *,
    bias=True,
    draw=0,
    dtype=torch.float64,
):
    c, f = 3 * channels, flow_channels
    shapes = {
        "weight_ih": (c, inputs, *kernel) if inputs else None,
        "weight_hh": (c, flows * channels, 1, 1),
        "bias_ih": (c,) if bias and inputs else None,
        "bias_hh": (c,) if bias else None,
        "flow_weight_ih": (f, inputs, *flow_kernel) if inputs else None,
        "flow_bias_ih": (f,) if bias and inputs else None,
        "flow_weight_hh": (f, channels, *flow_kernel),
        "flow_bias_hh": (f,) if bias else None,
        "flow_weight": (2 * flows, f, *flow_kernel),
        "flow_bias": (2 * flows,) if bias else None,
    }
    given = {
        "x": numbers(steps, batch, inputs, *space, seed=1 + 100 * draw) if inputs else None,
        "h": numbers(batch, channels, *space, seed=2 + 100 * draw),
    }
    for seed, (name, shape) in enumerate(shapes.items()):
        # Sums of order one: gates do not saturate and hide errors, and flows lead to other pixels and away.
        each = None if shape is None else numbers(*shape, seed=3 + seed + 100 * draw)
        given[name] = each / math.prod(shape[1:]) ** 0.5 if each is not None and len(shape) > 1 else each
    return {name: None if a is None else a.to(dtype).requires_grad_() for name, a in given.items()}


def run(op, given, form=FORM, steps=None):
    x, h, *weights = given.values()
    output, (h,) = op(x, (h,), TrajGRUWeights(*weights), form, Run(steps or len(x)))
    return output, h


def results_and_gradients(op, given, form=FORM, steps=None):
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


def assert_it_is_the_reference(given, form=FORM, steps=None):
    expected = results_and_gradients(reference.traj_gru, given, form, steps)
    assert_alike(results_and_gradients(fused_traj_gru.traj_gru, given, form, steps), expected, **EXACT)
    with torch.no_grad():
        inferred = dict(zip(RESULTS, run(fused_traj_gru.traj_gru, given, form, steps), strict=True))
    assert_alike(inferred, {name: expected[name] for name in RESULTS}, **EXACT)


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize(
    "shape",  # steps, batch, inputs, channels, space, kernel, flows, flow_channels, flow_kernel
    [
        (1, 1, 2, 3, (5, 7), (3, 3), 1, 4, (3, 3)),
        (4, 3, 2, 3, (5, 7), (3, 3), 3, 4, (5, 5)),
        (3, 2, 1, 17, (8, 3), (1, 5), 2, 3, (3, 1)),  # a part of a block of channels
        (2, 2, 1, 32, (4, 5), (3, 3), 2, 3, (3, 3)),  # whole ones
        (3, 2, 0, 4, (6, 5), (5, 3), 4, 1, (3, 3)),
        (2, 3, 2, 3, (1, 1), (1, 1), 2, 3, (1, 1)),
        (2, 2, 2, 3, (1, 9), (3, 3), 2, 3, (3, 3)),
        (2, 2, 2, 3, (9, 1), (3, 3), 2, 3, (3, 3)),
        (2, 2, 3, 1, (20, 31), (3, 3), 3, 5, (3, 3)),
        (2, 2, 2, 3, (6, 7), (4, 2), 2, 3, (2, 4)),
        (2, 2, 2, 3, (6, 7), (1, 1), 2, 3, (4, 3)),
    ],
)
@pytest.mark.parametrize("pixels", [0, 3, 1 << 30])
@pytest.mark.parametrize("align_corners", [True, False])
def test_it_is_the_reference(monkeypatch, shape, pixels, align_corners):
    given, steps = arguments(*shape), shape[0]
    # What is worked through together: a pixel, or a few, of a sample; all of several samples.
    moved = given["weight_hh"].shape[1] * given["h"].itemsize
    monkeypatch.setattr(pieces, "_PIECE", pixels * moved)
    monkeypatch.setattr(winograd, "_TILES", 8)  # so that there are several lots
    monkeypatch.setattr(winograd, "_TILES_TO_WEIGHT", 8)
    assert_it_is_the_reference(given, FORM._replace(align_corners=align_corners), steps)


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("inputs", [0, 2])
def test_without_biases_too(inputs):
    assert_it_is_the_reference(arguments(inputs=inputs, bias=False), steps=3)


@pytest.mark.usefixtures("arithmetic", "poison")
def test_with_the_other_activation_too():
    assert_it_is_the_reference(arguments(), FORM._replace(activation=torch.tanh))


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("absent", [["x"], ["weight_ih", "bias_ih", "flow_weight_ih", "flow_bias_ih"]])
def test_an_input_or_weights_for_it_alone_are_not_used(absent):
    given = arguments()
    for name in ("x", "weight_ih", "bias_ih", "flow_weight_ih", "flow_bias_ih"):
        given[name].requires_grad_(False)
    assert_it_is_the_reference(given | dict.fromkeys(absent), steps=3)


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("frozen", NAMES)
def test_whatever_needs_no_gradient_gets_none(frozen):
    given = arguments()
    given[frozen].requires_grad_(False)
    assert_it_is_the_reference(given)


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("upstream", ["expanded", "transposed", "of the last state only"])
def test_the_gradient_may_come_in_any_layout(upstream):
    given = arguments()

    def gradients(op):
        output, h = run(op, given)
        if upstream == "expanded":
            loss = output.sum()
        elif upstream == "transposed":
            loss = (output.transpose(3, 4) * numbers(*output.transpose(3, 4).shape)).sum()
        else:
            loss = h.square().sum()
        return torch.autograd.grad(loss, list(given.values()))

    torch.testing.assert_close(gradients(fused_traj_gru.traj_gru), gradients(reference.traj_gru), **EXACT)


@pytest.mark.usefixtures("arithmetic", "poison")
def test_what_comes_in_may_lie_in_memory_as_it_likes():
    given = arguments()
    expected = results_and_gradients(reference.traj_gru, given)
    for name in NAMES:
        a = given[name].detach()
        strided = torch.zeros(*reversed(a.shape), 2, dtype=a.dtype)[..., 0].permute(*reversed(range(a.dim())))
        given[name] = strided.copy_(a).requires_grad_()
    assert_alike(results_and_gradients(fused_traj_gru.traj_gru, given), expected, **EXACT)


@pytest.mark.usefixtures("arithmetic", "poison")
def test_the_state_may_be_some_channels_of_what_has_them_last():
    given = arguments()
    h = given["h"].detach()
    wide = torch.cat([h, h], dim=1).contiguous(memory_format=torch.channels_last)
    assert_it_is_the_reference(given | {"h": wide[:, : h.shape[1]].requires_grad_()})


def plain_torch(x, h, align_corners, w):
    """The loop people write, and autocast's choice of everything."""
    convolve = partial(functional.conv2d, padding="same")
    height, width = h.shape[2:]
    row, column = torch.meshgrid(
        torch.arange(height, dtype=h.dtype), torch.arange(width, dtype=h.dtype), indexing="ij"
    )
    outputs = []
    for x_t in x:
        seen = convolve(x_t, w.flow_weight_ih, w.flow_bias_ih) + convolve(h, w.flow_weight_hh, w.flow_bias_hh)
        flow = convolve(functional.leaky_relu(seen, 0.2), w.flow_weight, w.flow_bias)
        moved = []
        for pair in flow.split(2, dim=1):
            place_x = 2 * (column - pair[:, 0]) / max(width - 1, 1) - 1
            place_y = 2 * (row - pair[:, 1]) / max(height - 1, 1) - 1
            grid = torch.stack([place_x, place_y], dim=-1)
            moved.append(functional.grid_sample(h, grid, align_corners=align_corners))
        i_r, i_z, i_n = convolve(x_t, w.weight_ih, w.bias_ih).chunk(3, dim=1)
        h_r, h_z, h_n = convolve(torch.cat(moved, dim=1), w.weight_hh, w.bias_hh).chunk(3, dim=1)
        r, z = torch.sigmoid(i_r + h_r), torch.sigmoid(i_z + h_z)
        n = functional.leaky_relu(i_n + r * h_n, 0.2)
        h = (1 - z) * n + z * h
        outputs.append(h)
    return torch.stack(outputs), h


def loop(x, state, weights, form, _):
    output, h = plain_torch(x, *state, form.align_corners, weights)
    return output, (h,)


@pytest.mark.usefixtures("arithmetic", "poison")
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("autocast", [False, True])
def test_it_errs_at_most_twice_as_much_as_plain_torch(autocast, align_corners):
    form = FORM._replace(align_corners=align_corners)
    ours, theirs = Counter(), Counter()
    for draw in range(20):  # the gradient of a bias is but a few numbers, and how far they are off is luck
        given = arguments(4, 2, 3, 8, (9, 11), (3, 3), 3, 4, (3, 3), draw=draw, dtype=torch.float32)
        exact = {name: a.detach().double().requires_grad_() for name, a in given.items()}
        truth = results_and_gradients(reference.traj_gru, exact, form)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = results_and_gradients(fused_traj_gru.traj_gru, given, form)
            peer = results_and_gradients(loop, given, form)
        assert found["output"].dtype == found["h_n"].dtype == torch.float32  # rounding would pile up in it
        for name, expected in truth.items():
            ours[name] += (found[name].double() - expected).square().sum().item()
            theirs[name] += (peer[name].double() - expected).square().sum().item()
    for name in theirs:
        assert 0 < ours[name] <= 2**2 * theirs[name], name


@pytest.mark.usefixtures("arithmetic")
def test_ten_steps_and_ten_more_are_twenty_to_the_bit():
    given = arguments(20, dtype=torch.float32)
    x = given["x"]
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output, h = run(fused_traj_gru.traj_gru, given)
            first, middle = run(fused_traj_gru.traj_gru, given | {"x": x[:10]})
            second, end = run(fused_traj_gru.traj_gru, given | {"x": x[10:], "h": middle})
        torch.testing.assert_close(torch.cat([first, second]), output, rtol=0, atol=0)
        torch.testing.assert_close(end, h, rtol=0, atol=0)


@pytest.mark.usefixtures("arithmetic")
def test_its_gradient_has_a_gradient():
    given = arguments(2, 1, 1, 1, (2, 3), (1, 1), 1, 2, (1, 1))
    assert torch.autograd.gradgradcheck(
        lambda *tensors: run(fused_traj_gru.traj_gru, dict(zip(NAMES, tensors, strict=True))),
        tuple(given.values()),
    )


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("create_graph", [False, True])
def test_the_way_back_has_the_precision_of_the_way_forward(create_graph):
    given = arguments(dtype=torch.float32)

    def gradients(op, forward, backward):
        with torch.autocast("cpu", torch.bfloat16, enabled=forward):
            output, _ = run(op, given)
        with torch.autocast("cpu", torch.bfloat16, enabled=backward):
            return torch.autograd.grad(output.sum(), list(given.values()), create_graph=create_graph)

    for forward in (False, True):
        found = gradients(fused_traj_gru.traj_gru, forward, not forward)
        expected = gradients(fused_traj_gru.traj_gru, forward, forward)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        if create_graph:  # which is by the reference; weights' gradients it sums in another order
            expected = gradients(reference.traj_gru, forward, forward)
            torch.testing.assert_close(found[:2], expected[:2], rtol=0, atol=0)


@pytest.mark.usefixtures("arithmetic")
def test_a_graph_that_is_kept_gives_the_same_gradient_again():
    given = arguments()
    output, h = run(fused_traj_gru.traj_gru, given)
    loss = output.square().sum() + h.sum()
    first = torch.autograd.grad(loss, list(given.values()), retain_graph=True)
    again = torch.autograd.grad(loss, list(given.values()))
    torch.testing.assert_close(again, first, rtol=0, atol=0)


@pytest.mark.usefixtures("arithmetic")
def test_what_is_returned_may_be_written_to():
    given = arguments()
    expected = results_and_gradients(reference.traj_gru, given)

    def and_spoil(*call):
        output, (h,) = fused_traj_gru.traj_gru(*call)
        kept = output.clone(), (h.clone(),)
        for result in (output, h):
            result.mul_(0)
        return kept

    assert_alike(results_and_gradients(and_spoil, given), expected, **EXACT)


@pytest.mark.usefixtures("arithmetic")
def test_gradients_may_be_written_to():
    """Two biases with one gradient have two tensors of it."""
    given = arguments()
    gradients = torch.autograd.grad(run(fused_traj_gru.traj_gru, given)[0].sum(), list(given.values()))
    expected = [gradient.clone() for gradient in gradients]
    for n, gradient in enumerate(gradients):
        gradient.zero_()
        torch.testing.assert_close(list(gradients[n + 1 :]), expected[n + 1 :], rtol=0, atol=0)


@pytest.mark.usefixtures("arithmetic")
def test_two_sequences_at_once_do_not_meet():
    given = [arguments(), arguments()]
    with torch.no_grad():
        given[1]["x"] += 1
    expected = [results_and_gradients(reference.traj_gru, each) for each in given]

    def of_both(op):
        (one, _), (other, _) = (run(op, each) for each in given)  # both, before any gradient
        return torch.autograd.grad((one * other * numbers(*one.shape)).sum(), [given[0]["h"], given[1]["h"]])

    torch.testing.assert_close(of_both(fused_traj_gru.traj_gru), of_both(reference.traj_gru), **EXACT)
    found = [None, None]

    def work(n):
        for _ in range(20):
            found[n] = results_and_gradients(fused_traj_gru.traj_gru, given[n])

    threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each, right in zip(found, expected, strict=True):
        assert_alike(each, right, **EXACT)


@pytest.mark.usefixtures("arithmetic")
def test_checkpoints_let_go_of_what_is_kept_and_change_nothing():
    given = arguments(6)

    def in_parts(x, state, weights, form, run):
        outputs = []
        for part in x.split(2):
            call = part, state, weights, form, run._replace(steps=2)
            output, state = checkpoint(fused_traj_gru.traj_gru, *call, use_reentrant=False)
            outputs.append(output)
        return torch.cat(outputs), state

    expected = results_and_gradients(fused_traj_gru.traj_gru, given)
    assert_alike(results_and_gradients(in_parts, given), expected, **EXACT)


@pytest.mark.parametrize("where", ["x", "h"])
def test_a_nan_goes_where_it_goes(where):
    given = arguments(2, kernel=(1, 1), flow_kernel=(1, 1))
    with torch.no_grad():
        given[where][..., 0, 1, 2] = float("nan")
        expected, found = (run(op, given)[0] for op in (reference.traj_gru, fused_traj_gru.traj_gru))
    assert 0 < expected.isnan().sum() < expected.numel()
    torch.testing.assert_close(found, expected, equal_nan=True, **EXACT)


SMALL = {"in_channels": 2, "hidden_channels": 3, "kernel_size": 3, "num_flows": 2, "flow_channels": 4}


def moving(**options):
    """A layer whose flows are not zero, where sampling has its kink."""
    torch.manual_seed(1)
    rnn = TrajGRU2d(**SMALL | options)
    with torch.no_grad():
        rnn.cells[0].flow_weight.normal_()
    return rnn


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"activation": "relu"}, "another activation or zoneout"),
        ({"recurrent_activation": "hard_sigmoid"}, "another activation or zoneout"),
        ({"zoneout": 0.1}, "another activation or zoneout"),
        ({"dtype": torch.bfloat16}, "dtypes other than float32 and float64"),
    ],
)
def test_what_it_does_not_know_it_refuses_by_name_and_auto_goes_another_way(given, what):
    x = torch.rand(2, 1, 2, 5, 4, dtype=given.get("dtype"))
    message = f"^backend='fused' does not know {what}, only backend='auto' does$"
    with pytest.raises(NotOfferedError, match=message):
        TrajGRU2d(**SMALL | given, backend="fused")(x)
    auto, plain = moving(**given), TrajGRU2d(**SMALL | given, backend="reference")
    plain.load_state_dict(auto.state_dict())
    torch.manual_seed(1)
    expected = plain(x)
    torch.manual_seed(1)
    torch.testing.assert_close(auto(x), expected, rtol=0, atol=0)


def test_a_mask_is_refused_too():
    rnn = TrajGRU2d(**SMALL, backend="fused")
    with pytest.raises(NotOfferedError, match="lengths, mask or dropout"):
        rnn(torch.rand(2, 1, 2, 5, 4), mask=torch.ones(2, 1, dtype=torch.bool))


@pytest.mark.parametrize("activation", ["leaky_relu", "tanh"])
@pytest.mark.parametrize("align_corners", [True, False])
def test_what_it_does_know_it_does_not_refuse(activation, align_corners):
    options = {"activation": activation, "align_corners": align_corners, "flow_kernel_size": (4, 1)}
    rnn = moving(**options, backend="fused", dtype=torch.float64)
    plain = TrajGRU2d(**SMALL | options, backend="reference", dtype=torch.float64)
    plain.load_state_dict(rnn.state_dict())
    torch.testing.assert_close(rnn(numbers(3, 1, 2, 5, 4)), plain(numbers(3, 1, 2, 5, 4)), **EXACT)


def test_autocast_leaves_float64_alone_and_other_types_to_the_reference():
    rnn, x = moving(dtype=torch.float64), numbers(3, 1, 2, 5, 4)
    expected = rnn(x)
    mixed, plain = moving(), TrajGRU2d(**SMALL, backend="reference")
    for each in (mixed, plain):
        each.load_state_dict(moving().state_dict())
        each.cells[0].flow_bias = torch.nn.Parameter(torch.full((4,), 0.4, dtype=torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(rnn(x), expected, **EXACT)
        torch.testing.assert_close(mixed(x.float()), plain(x.float()), rtol=0, atol=0)


@pytest.mark.usefixtures("arithmetic")
def test_the_gradient_of_a_gradient_through_calls_that_follow_each_other():
    """What a later call was given depends on the weights too, by way of the earlier one."""
    given = arguments(4, 1, 2, 2, (4, 3), (3, 3), 2, 2, (3, 3))
    x, h, *weights = given.values()

    def second_order(op):
        state = (h,)
        for part in x.split(2):
            output, state = op(part, state, TrajGRUWeights(*weights), FORM, Run(2))
        first = torch.autograd.grad(output.square().sum(), weights, create_graph=True)
        return first, torch.autograd.grad(sum(g.square().sum() for g in first), weights)

    # The last squares are of numbers of order a hundred.
    exact = {"rtol": 1e-10, "atol": 1e-8}
    torch.testing.assert_close(
        second_order(fused_traj_gru.traj_gru), second_order(reference.traj_gru), **exact
    )


@pytest.mark.usefixtures("arithmetic")
def test_many_gradients_at_once():
    given = arguments(2, 1, 1, 2, (2, 2), (3, 3), 2, 2, (3, 3))

    def jacobian(op):
        output, _ = run(op, given)
        each = torch.eye(output.numel(), dtype=output.dtype)
        return [
            torch.autograd.grad(output.flatten(), list(given.values()), one, retain_graph=True)
            for one in each
        ], torch.autograd.grad(output.flatten(), list(given.values()), each, is_grads_batched=True)

    one_by_one, _ = jacobian(reference.traj_gru)
    _, found = jacobian(fused_traj_gru.traj_gru)
    expected = tuple(map(torch.stack, zip(*one_by_one, strict=True)))
    torch.testing.assert_close(found, expected, **EXACT)


def test_tracers_see_what_is_computed():
    rnn, x = moving(), torch.rand(2, 1, 2, 5, 4)
    other = torch.rand_like(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that traces are deprecated, and that this one holds for one size
        traced = torch.jit.trace(rnn, x, check_trace=False)
    torch.testing.assert_close(traced(other), rnn(other))
    torch.testing.assert_close(make_fx(lambda x: rnn(x)[0])(x)(other), rnn(other)[0])


@pytest.mark.usefixtures("arithmetic")
def test_a_default_device_is_not_where_the_output_goes():
    rnn, x = moving(), torch.rand(2, 1, 2, 5, 4)
    with torch.no_grad(), torch.device("meta"):
        output, _ = rnn(x)
    torch.testing.assert_close(output, rnn(x)[0])


def test_what_was_moved_is_not_kept():
    rnn = TrajGRU2d(1, 8, 3, num_flows=13, flow_channels=4)
    x = torch.rand(6, 2, 1, 16, 16)
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output, _ = rnn(x)
    weights = sum(p.untyped_storage().nbytes() for p in rnn.parameters())
    pixel = 8 + 4 + 2 * 13 + 4 * 8  # the state, what makes the flows, these, and what makes the gates
    assert sum(storages.values()) <= weights + 4 * x.numel() * (1 + pixel) + 4 * x[0].numel() * 8
    output.sum().backward()


def test_frozen_weights_cost_no_gradient_of_theirs(monkeypatch):
    given = arguments()
    expected = results_and_gradients(reference.traj_gru, given)["gradient of x"]
    for name in NAMES[2:]:
        given[name].requires_grad_(False)
    computed = lambda *_: pytest.fail("computed what nobody asked for")  # noqa: E731
    monkeypatch.setattr(engines.Direct, "to_weight", computed)
    monkeypatch.setattr(winograd.Winograd, "to_weight", computed)
    found = results_and_gradients(fused_traj_gru.traj_gru, given)["gradient of x"]
    torch.testing.assert_close(found, expected, **EXACT)


def test_where_it_is_known_auto_takes_it(monkeypatch):
    calls = []
    forward = fused_traj_gru._forward
    monkeypatch.setattr(fused_traj_gru, "_forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
    TrajGRU2d(**SMALL)(torch.rand(2, 1, 2, 5, 4))
    assert calls
