"""Every fused back end equals its reference: rung 4 of the ladder of oracles.

The fixtures ``recurrence`` and ``implementation`` are in conftest.py, their cases in recurrences.py.
"""

import threading
from collections import Counter

import pytest
import torch
from tests.nn.ops.recurrences import RECURRENCES, Size, numbers
from torch.utils.checkpoint import checkpoint

from stormcell.nn.ops import chunking, conv_backends, driver, winograd
from stormcell.nn.ops.gru import fused as gru
from stormcell.nn.ops.lstm import fused as lstm
from stormcell.nn.ops.types import CallSpec

# Sums of some hundred terms of order one, over a few steps, in float64.
EXACT = {"rtol": 1e-11, "atol": 1e-11}
# Second derivatives: the last squares are of numbers of order a hundred.
EXACT_SECOND = {"rtol": 1e-10, "atol": 1e-8}

pytestmark = pytest.mark.usefixtures("implementation", "nan_memory")


def only(*names):
    return pytest.mark.parametrize("recurrence", names, indirect=True)


GRUS = ("conv_gru after", "conv_gru before")


def assert_close(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], msg=lambda m, n=name: f"{n}: {m}", **tolerance
        )


def assert_matches_reference(recurrence, given, steps=None):
    expected = recurrence.results_and_gradients(recurrence.reference, given, steps)
    found = recurrence.results_and_gradients(recurrence.fused, given, steps)
    assert_close(found, expected, **EXACT)
    with torch.no_grad():
        inferred = recurrence.run(recurrence.fused, given, steps)
    inferred = dict(zip(recurrence.results, inferred, strict=True))
    assert_close(inferred, {name: expected[name] for name in recurrence.results}, **EXACT)


# Steps, batch, input channels, channels, spatial size, kernel size.
SHARED_SIZES = [
    (1, 1, 2, 3, (5, 7), (3, 3)),
    (4, 3, 2, 3, (5, 7), (3, 3)),
    (3, 2, 1, 17, (8, 3), (1, 5)),
    (3, 2, 0, 4, (6, 5), (5, 3)),
    (2, 3, 2, 3, (1, 1), (1, 1)),
    (2, 2, 2, 3, (1, 9), (3, 3)),
    (2, 2, 2, 3, (9, 1), (3, 3)),
    (2, 2, 3, 1, (40, 31), (3, 3)),  # more pixels than are summed in sequence
    (2, 2, 2, 3, (7, 6), (5, 5)),
    (2, 2, 2, 3, (6, 7), (4, 2)),
    (3, 2, 2, 3, (7,), (3,)),
    (2, 2, 2, 3, (5, 4, 3), (3, 3, 3)),
    (2, 3, 20, 9, (9, 10), (3, 3)),  # channels in several vectors and a part of one
]
LSTM_SIZES = [
    *SHARED_SIZES,
    (4, 3, 5, 3, (), ()),  # vectors
    (3, 2, 0, 4, (), ()),
    (3, 1, 2, 3, (4,), (1,)),
    (2, 2, 2, 3, (6, 7), (4, 3), (2, 7)),
    (2, 2, 2, 3, (6, 7), (1, 1), (3, 4)),
    (2, 2, 2, 3, (6,), (3,), (4,)),
    (2, 2, 2, 3, (3, 4, 5), (3, 3, 3), (2, 1, 3)),
]
GRU_SIZES = [
    *SHARED_SIZES,
    (2, 2, 2, 3, (6, 7), (4, 3), (2, 7)),
    (2, 2, 2, 3, (6, 7), (1, 1), (3, 4)),
    (2, 2, 2, 3, (6,), (3,), (4,)),
    (2, 2, 2, 3, (3, 4, 5), (3, 3, 3), (2, 1, 3)),
]
TRAJ_GRU_SIZES = [  # and the number of flows, their channels, and their kernel size
    (1, 1, 2, 3, (5, 7), (3, 3), None, 1, 4, (3, 3)),
    (4, 3, 2, 3, (5, 7), (3, 3), None, 3, 4, (5, 5)),
    (3, 2, 1, 17, (8, 3), (1, 5), None, 2, 3, (3, 1)),  # a part of a block of channels
    (2, 2, 1, 32, (4, 5), (3, 3), None, 2, 3, (3, 3)),  # whole blocks
    (3, 2, 0, 4, (6, 5), (5, 3), None, 4, 1, (3, 3)),
    (2, 3, 2, 3, (1, 1), (1, 1), None, 2, 3, (1, 1)),
    (2, 2, 2, 3, (1, 9), (3, 3), None, 2, 3, (3, 3)),
    (2, 2, 2, 3, (9, 1), (3, 3), None, 2, 3, (3, 3)),
    (2, 2, 3, 1, (20, 31), (3, 3), None, 3, 5, (3, 3)),
    (2, 2, 2, 3, (6, 7), (4, 2), None, 2, 3, (2, 4)),
    (2, 2, 2, 3, (6, 7), (1, 1), None, 2, 3, (4, 3)),
]
SIZES = [("conv_lstm", size) for size in LSTM_SIZES]
SIZES += [(name, size) for name in GRUS for size in GRU_SIZES]
SIZES += [("traj_gru", size) for size in TRAJ_GRU_SIZES]


def chunk_bytes(recurrence, given, chunk):
    """Return the bytes of a chunk: one unit of work, a few units, or all of them."""
    if chunk != "few":
        return 0 if chunk == "one" else 1 << 30
    if recurrence.name == "conv_gru":  # samples and steps
        return 2 * gru._sample_bytes(given["h"], torch.float64)
    if recurrence.name == "traj_gru":  # pixels
        return 3 * given["weight_hh"].shape[1] * given["h"].itemsize
    return 0


@pytest.mark.parametrize(("recurrence", "size"), SIZES, indirect=["recurrence"])
@pytest.mark.parametrize("chunk", ["one", "few", "all"])
def test_results_and_gradients_in_any_size_match_reference(monkeypatch, recurrence, size, chunk):
    given = recurrence.arguments(Size(*size))
    monkeypatch.setattr(chunking, "_CHUNK_BYTES", chunk_bytes(recurrence, given, chunk))
    # The gradient of the ConvLSTM's weights step by step, or for two steps at once, as in bfloat16.
    together = 2 if chunk == "few" else 1
    monkeypatch.setattr(lstm, "_step_groups", lambda steps, _: chunking.chunks(steps, together))
    monkeypatch.setattr(winograd, "_TILES", 8)  # several lots of tiles
    monkeypatch.setattr(winograd, "_GRADIENT_TILES", 8)
    assert_matches_reference(recurrence, given, size[0])


@only("traj_gru")
@pytest.mark.parametrize("size", TRAJ_GRU_SIZES)
@pytest.mark.parametrize("chunk", ["one", "few", "all"])
def test_results_without_aligned_corners_match_reference(monkeypatch, recurrence, size, chunk):
    recurrence = recurrence._replace(variant=recurrence.variant._replace(align_corners=False))
    given = recurrence.arguments(Size(*size))
    monkeypatch.setattr(chunking, "_CHUNK_BYTES", chunk_bytes(recurrence, given, chunk))
    assert_matches_reference(recurrence, given, size[0])


@only("traj_gru")
def test_results_with_tanh_match_reference(recurrence):
    recurrence = recurrence._replace(variant=recurrence.variant._replace(activation=torch.tanh))
    assert_matches_reference(recurrence, recurrence.arguments())


@pytest.mark.parametrize("inputs", [0, 2])
@pytest.mark.parametrize(
    ("recurrence", "without"),
    [*((name, "bias") for name in RECURRENCES), ("conv_lstm", "peephole")],
    indirect=["recurrence"],
)
def test_results_without_bias_or_peephole_match_reference(recurrence, without, inputs):
    given = recurrence.arguments(Size(inputs=inputs), without=(without,))
    assert_matches_reference(recurrence, given, 3)


@pytest.mark.parametrize("absent", ["x", "_ih"])
def test_results_without_input_or_its_weights_match_reference(recurrence, absent):
    given = recurrence.arguments()
    for name in given:
        if name == "x" or name.endswith("_ih"):
            given[name].requires_grad_(False)
            if name.endswith(absent):
                given[name] = None
    assert_matches_reference(recurrence, given, 3)


def test_gradients_of_input_weights_without_input_are_none(recurrence):
    given = recurrence.arguments() | {"x": None}
    output, *_ = recurrence.run(recurrence.fused, given, 3)
    of_input = [given[name] for name in given if name.endswith("_ih")]
    left = torch.autograd.grad(output.sum(), of_input, allow_unused=True)
    assert set(left) == {None}


@pytest.mark.parametrize(
    ("recurrence", "frozen"),
    [(name, tensor) for name, recurrence in RECURRENCES.items() for tensor in recurrence.names],
    indirect=["recurrence"],
)
def test_gradients_of_frozen_tensors_are_left_out(recurrence, frozen):
    given = recurrence.arguments()
    given[frozen].requires_grad_(False)
    assert_matches_reference(recurrence, given)


def test_weight_gradients_of_frozen_weights_are_not_computed(monkeypatch, recurrence):
    given = recurrence.arguments()
    expected = recurrence.results_and_gradients(recurrence.reference, given)["gradient of x"]
    for name in given:
        if "weight" in name:
            given[name].requires_grad_(False)
    fail = lambda *_: pytest.fail("computed a gradient which is not needed")  # noqa: E731
    monkeypatch.setattr(conv_backends.Direct, "add_weight_gradient", fail)
    monkeypatch.setattr(winograd.Winograd, "add_weight_gradient", fail)
    found = recurrence.results_and_gradients(recurrence.fused, given)["gradient of x"]
    torch.testing.assert_close(found, expected, **EXACT)


@only("conv_gru after")
@pytest.mark.parametrize(("frozen", "channels"), [("weight_ih", [3] * 3), ("weight_hh", [2] * 3)])
def test_weight_gradients_of_one_frozen_weight_are_not_computed(monkeypatch, recurrence, frozen, channels):
    given = recurrence.arguments()
    expected = recurrence.results_and_gradients(recurrence.reference, given)["gradient of x"]
    given[frozen].requires_grad_(False)
    calls = []
    for backend in (conv_backends.Direct, winograd.Winograd):
        original = backend.add_weight_gradient

        def counted(self, d_z, images, original=original):
            calls.append(images.shape[-1])
            original(self, d_z, images)

        monkeypatch.setattr(backend, "add_weight_gradient", counted)
    found = recurrence.results_and_gradients(recurrence.fused, given)["gradient of x"]
    assert calls == channels
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("upstream", ["expanded", "transposed", "of the last state only"])
def test_upstream_gradient_in_any_layout_is_accepted(recurrence, upstream):
    given = recurrence.arguments()

    def gradients(op):
        output, *state = recurrence.run(op, given)
        if upstream == "expanded":
            loss = output.sum()
        elif upstream == "transposed":
            loss = (output.transpose(3, 4) * numbers(*output.transpose(3, 4).shape)).sum()
        else:
            loss = state[-1].square().sum()
        return torch.autograd.grad(loss, list(given.values()))

    torch.testing.assert_close(gradients(recurrence.fused), gradients(recurrence.reference), **EXACT)


def test_arguments_in_any_layout_are_accepted(recurrence):
    given = recurrence.arguments()
    expected = recurrence.results_and_gradients(recurrence.reference, given)
    for name in given:
        a = given[name].detach()
        strided = torch.zeros(*reversed(a.shape), 2, dtype=a.dtype)[..., 0].permute(*reversed(range(a.dim())))
        given[name] = strided.copy_(a).requires_grad_()
    assert_close(recurrence.results_and_gradients(recurrence.fused, given), expected, **EXACT)


def test_state_of_some_channels_of_a_channels_last_tensor_is_accepted(recurrence):
    given = recurrence.arguments()
    h = given["h"].detach()
    wide = torch.cat([h, h], dim=1).contiguous(memory_format=torch.channels_last)
    assert_matches_reference(recurrence, given | {"h": wide[:, : h.shape[1]].requires_grad_()})


@pytest.mark.parametrize(
    ("recurrence", "peer", "align_corners"),
    [
        *((name, "loop", True) for name in RECURRENCES),
        *((name, "reference", True) for name in GRUS),
        ("traj_gru", "loop", False),
    ],
    indirect=["recurrence"],
)
@pytest.mark.parametrize("autocast", [False, True])
def test_error_in_low_precision_is_at_most_twice_that_of_peer(recurrence, autocast, peer, align_corners):
    is_traj = recurrence.name == "traj_gru"
    recurrence = recurrence._replace(variant=recurrence.variant._replace(align_corners=align_corners))
    size = Size(4 if is_traj else 12, 2, 3, 8, (9, 11), (3, 3))
    ours, theirs = Counter(), Counter()
    # A TrajGRU's gradients of biases are a few numbers, whose errors depend on chance.
    for draw in range(20 if is_traj else 1):
        given = recurrence.arguments(size, draw=draw, dtype=torch.float32)
        exact = {name: a.detach().double().requires_grad_() for name, a in given.items()}
        truth = recurrence.results_and_gradients(recurrence.reference, exact)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = recurrence.results_and_gradients(recurrence.fused, given)
            other = recurrence.results_and_gradients(getattr(recurrence, peer), given)
        lowered = autocast and recurrence.name == "conv_lstm"
        assert found["output"].dtype == (torch.bfloat16 if lowered else torch.float32)
        assert found[recurrence.results[-1]].dtype == torch.float32  # rounding errors would accumulate in it
        for name, expected in truth.items():
            ours[name] += (found[name].double() - expected).square().sum().item()
            theirs[name] += (other[name].double() - expected).square().sum().item()
    for name in theirs:
        assert 0 < ours[name] <= 2**2 * theirs[name], name


@only("conv_lstm")
@pytest.mark.parametrize("inputs", [0, 24])
def test_error_of_vectors_in_bfloat16_is_at_most_twice_that_of_reference(recurrence, inputs):
    given = recurrence.arguments(Size(12, 5, inputs, 32, (), ()), dtype=torch.float32)
    exact = {name: a if a is None else a.detach().double().requires_grad_() for name, a in given.items()}
    truth = recurrence.results_and_gradients(recurrence.reference, exact, 12)
    with torch.autocast("cpu", torch.bfloat16):
        found = recurrence.results_and_gradients(recurrence.fused, given, 12)
        peer = recurrence.results_and_gradients(recurrence.reference, given, 12)
    for name, expected in truth.items():
        error = (found[name].double() - expected).norm()
        assert 0 < error <= 2 * (peer[name].double() - expected).norm(), name


@pytest.mark.parametrize("autocast", [False, True])
def test_sequence_split_in_two_gives_the_same_bits(recurrence, autocast):
    given = recurrence.arguments(Size(20), dtype=torch.float32)
    x = given["x"]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output, *last = recurrence.run(recurrence.fused, given)
        first, *middle = recurrence.run(recurrence.fused, given | {"x": x[:10]})
        middle = dict(zip(recurrence.states, middle, strict=True))
        second, *end = recurrence.run(recurrence.fused, given | {"x": x[10:]} | middle)
    torch.testing.assert_close(torch.cat([first, second]), output, rtol=0, atol=0)
    torch.testing.assert_close(end, last, rtol=0, atol=0)


def test_second_derivatives_match_finite_differences(recurrence):
    size = Size(2, 1, 1, 2, (2, 3), (3, 3))
    if recurrence.name == "traj_gru":
        size = Size(2, 1, 1, 1, (2, 3), (1, 1), None, 1, 2, (1, 1))
    given = recurrence.arguments(size)

    def run(*tensors):
        return recurrence.run(recurrence.fused, dict(zip(given, tensors, strict=True)))

    assert torch.autograd.gradgradcheck(run, tuple(given.values()))


def test_second_derivatives_through_successive_calls_match_reference(recurrence):
    """The later call's arguments depend on the weights too, through the earlier call."""
    given = recurrence.arguments(Size(4, 1, 2, 2, (4, 3), (3, 3), None, 2, 2, (3, 3)))
    x, *rest = given.values()
    states, weights = rest[: len(recurrence.states)], rest[len(recurrence.states) :]

    def second_order(op):
        state = tuple(states)
        for part in x.split(2):
            output, state = op(part, state, recurrence.weights(*weights), recurrence.variant, CallSpec(2))
        first = torch.autograd.grad(output.square().sum(), weights, create_graph=True)
        return first, torch.autograd.grad(sum(g.square().sum() for g in first), weights)

    torch.testing.assert_close(
        second_order(recurrence.fused), second_order(recurrence.reference), **EXACT_SECOND
    )


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("forward", [False, True])
def test_backward_under_other_autocast_uses_that_of_forward(recurrence, forward, create_graph):
    given = recurrence.arguments(dtype=torch.float32)

    def gradients(op, forward, backward):
        with torch.autocast("cpu", torch.bfloat16, enabled=forward):
            output, *_ = recurrence.run(op, given)
        with torch.autocast("cpu", torch.bfloat16, enabled=backward):
            return torch.autograd.grad(output.sum(), list(given.values()), create_graph=create_graph)

    found = gradients(recurrence.fused, forward, not forward)
    expected = gradients(recurrence.fused, forward, forward)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    if create_graph:  # by the reference; the sums over gradients of weights differ in order
        expected = gradients(recurrence.reference, forward, forward)
        torch.testing.assert_close(found[:2], expected[:2], rtol=1e-6, atol=1e-6)


def test_batched_gradients_match_reference(recurrence):
    given = recurrence.arguments(Size(2, 1, 1, 2, (2, 2), (3, 3), None, 2, 2, (3, 3)))
    tensors = list(given.values())

    def output(op):
        return recurrence.run(op, given)[0].flatten()

    rows = torch.eye(output(recurrence.fused).numel(), dtype=torch.float64)
    found = torch.autograd.grad(output(recurrence.fused), tensors, rows, is_grads_batched=True)
    expected = output(recurrence.reference)
    one_by_one = [torch.autograd.grad(expected, tensors, row, retain_graph=True) for row in rows]
    expected = tuple(map(torch.stack, zip(*one_by_one, strict=True)))
    torch.testing.assert_close(found, expected, **EXACT)


def test_retained_graph_gives_the_same_gradient_again(recurrence):
    given = recurrence.arguments()
    output, *state = recurrence.run(recurrence.fused, given)
    loss = output.square().sum() + state[-1].sum()
    first = torch.autograd.grad(loss, list(given.values()), retain_graph=True)
    again = torch.autograd.grad(loss, list(given.values()))
    torch.testing.assert_close(again, first, rtol=0, atol=0)


@pytest.mark.parametrize("needs_gradient", [False, True])
def test_results_may_be_overwritten(recurrence, needs_gradient):
    given = {name: a.requires_grad_(needs_gradient) for name, a in recurrence.arguments().items()}

    def overwriting(*call):
        output, state = recurrence.fused(*call)
        copies = output.clone(), tuple(s.clone() for s in state)
        for result in (output, *state):
            assert result.any()  # the one before is not the same memory
            result.mul_(0)
        return copies

    if needs_gradient:
        expected = recurrence.results_and_gradients(recurrence.reference, given)
        assert_close(recurrence.results_and_gradients(overwriting, given), expected, **EXACT)
    else:
        expected = recurrence.run(recurrence.reference, given)
        torch.testing.assert_close(recurrence.run(overwriting, given), expected, **EXACT)


def test_gradients_may_be_overwritten(recurrence):
    """Two biases with equal gradients have two tensors for them."""
    given = recurrence.arguments()
    loss = recurrence.run(recurrence.fused, given)[0].sum()
    gradients = torch.autograd.grad(loss, list(given.values()))
    expected = [gradient.clone() for gradient in gradients]
    for n, gradient in enumerate(gradients):
        gradient.zero_()
        torch.testing.assert_close(list(gradients[n + 1 :]), expected[n + 1 :], rtol=0, atol=0)


def test_two_calls_before_a_gradient_do_not_share_memory(recurrence):
    given = [recurrence.arguments(), recurrence.arguments()]
    with torch.no_grad():
        given[1]["x"] += 1

    def of_both(op):
        (one, *_), (other, *_) = (recurrence.run(op, each) for each in given)
        loss = (one * other * numbers(*one.shape)).sum()
        return torch.autograd.grad(loss, [given[0]["h"], given[1]["h"]])

    torch.testing.assert_close(of_both(recurrence.fused), of_both(recurrence.reference), **EXACT)


def test_two_threads_do_not_share_memory(recurrence):
    given = [recurrence.arguments(), recurrence.arguments()]
    with torch.no_grad():
        given[1]["x"] += 1
    expected = [recurrence.results_and_gradients(recurrence.reference, each) for each in given]
    found = [None, None]

    def work(n):
        for _ in range(20):
            found[n] = recurrence.results_and_gradients(recurrence.fused, given[n])

    threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, right in zip(found, expected, strict=True):
        assert_close(ours, right, **EXACT)


def test_checkpointed_parts_match_reference(recurrence):
    given = recurrence.arguments(Size(6))

    def in_parts(x, state, weights, variant, spec):
        outputs = []
        for part in x.split(2):
            call = part, state, weights, variant, spec._replace(steps=2)
            output, state = checkpoint(recurrence.fused, *call, use_reentrant=False)
            outputs.append(output)
        return torch.cat(outputs), state

    expected = recurrence.results_and_gradients(recurrence.reference, given)
    assert_close(recurrence.results_and_gradients(in_parts, given), expected, **EXACT)


@only("conv_lstm", *GRUS)
@pytest.mark.parametrize("autocast", [False, True])
def test_nan_in_input_stays_in_its_pixel(recurrence, implementation, autocast):
    if "Winograd" in implementation:
        pytest.skip("the pixels of a tile share their products")
    # With three channels, PyTorch's bfloat16 convolutions also multiply a fourth one by zero.
    given = recurrence.arguments(Size(2, 1, 2, 4, (4, 4), (1, 1)), dtype=torch.float32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        given["x"][0, 0, 0, 1, 2] = float("nan")
        for result in recurrence.run(recurrence.fused, given):
            nan = result.isnan().flatten(0, -3).all(0)
            assert nan.nonzero().tolist() == [[1, 2]]


@only("traj_gru")
@pytest.mark.parametrize("where", ["x", "h"])
def test_nan_moves_along_flows_as_in_reference(recurrence, implementation, where):
    if "Winograd" in implementation:
        pytest.skip("the pixels of a tile share their products")
    given = recurrence.arguments(Size(2, kernel=(1, 1), flow_kernel=(1, 1)))
    with torch.no_grad():
        given[where][..., 0, 1, 2] = float("nan")
        expected, found = (recurrence.run(op, given)[0] for op in (recurrence.reference, recurrence.fused))
    assert 0 < expected.isnan().sum() < expected.numel()
    torch.testing.assert_close(found, expected, equal_nan=True, **EXACT)


@only(*GRUS, "traj_gru")
def test_bfloat16_input_and_state_under_autocast_are_accepted(recurrence):
    """The layer below may have returned bfloat16, and its gradient must be bfloat16 too."""
    given = recurrence.arguments(dtype=torch.float32)
    given |= {name: given[name].detach().bfloat16().requires_grad_() for name in ("x", "h")}
    with torch.autocast("cpu", torch.bfloat16):
        found = recurrence.results_and_gradients(recurrence.fused, given)
        expected = recurrence.results_and_gradients(recurrence.reference, given)
    assert {name: g.dtype for name, g in found.items()} == {name: g.dtype for name, g in expected.items()}
    if recurrence.name == "conv_gru":
        # Three or four roundings to bfloat16, 2^-9 each, of the arguments of the gates, step by step.
        assert_close(found, expected, rtol=2**-5, atol=2**-5 * 3)


def test_call_without_needed_gradients_saves_nothing(monkeypatch, recurrence):
    given = recurrence.arguments()
    original, saves = driver._forward, []
    monkeypatch.setattr(
        driver, "_forward", lambda *args, save: saves.append(save) or original(*args, save=save)
    )
    with torch.no_grad():
        recurrence.run(recurrence.fused, given)
    recurrence.run(recurrence.fused, {name: a.detach() for name, a in given.items()})
    recurrence.run(recurrence.fused, given)
    assert saves == [False, False, True]
