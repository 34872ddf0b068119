"""The layers together with PyTorch's features; ``kind`` and ``varied`` are in conftest.py."""

import copy
import io
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch.autograd import forward_ad as fwAD
from torch.func import functional_call, grad, jvp, stack_module_state, vmap
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.checkpoint import checkpoint

from stormcell.nn import ConvGRU1d, ConvLSTM2d, PeepholeLSTM, TrajGRU2d


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_same(found, expected):
    """Equal to the bit: the same operations on the same numbers."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


# Float64 sums in another order: 2^-53 times some hundred terms of order one, over a few steps.
EXACT = {"rtol": 1e-12, "atol": 1e-12}


# Precision.


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_layer_computes_in_its_dtype(kind, dtype):
    """The error is measured in units of what the type can tell of numbers below one."""
    rnn, truth = kind.build().to(dtype), kind.build().double()
    truth.load_state_dict(rnn.state_dict())
    x = kind.frames(3, 2).to(dtype)
    output, end = rnn(x)
    assert {t.dtype for t in tree_leaves((output, end))} == {dtype}
    output.sum().backward()
    assert all(p.grad.dtype == dtype and p.grad.isfinite().all() for p in rnn.parameters())
    made = kind.layer(2, 4, **kind.options, dtype=dtype)
    assert {p.dtype for p in made.parameters()} == {dtype}
    # Three steps of two layers, each a few roundings of a few numbers: some tens of them.
    error = (output.double() - truth(x.double())[0]).abs().max()
    assert error < 50 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_lowers_convolutions_but_not_the_accumulating_state(kind, dtype):
    """The accumulating state is c of an LSTM, and h of a GRU. The output of all kinds has one dtype."""
    rnn = kind.build()
    x = kind.frames(3, 2)
    plain, _ = rnn(x)
    with torch.autocast("cpu", dtype):
        output, end = rnn(x)
        loss = output.float().square().sum()
    loss.backward()
    assert {h.dtype for h in (end[0] if kind.lstm else end)} == {dtype if kind.lstm else torch.float32}
    assert {s.dtype for s in (end[1] if kind.lstm else end)} == {torch.float32}
    assert output.dtype == dtype
    assert {p.grad.dtype for p in rnn.parameters()} == {torch.float32}
    assert 0 < (output - plain).abs().max() < 50 * torch.finfo(dtype).eps


def test_autocast_leaves_the_accumulating_state_of_a_cell(kind):
    """A cell returns states: h of an LSTM is also its output, and h of a GRU accumulates."""
    cell, x = kind.build().cells[0], kind.frames(2)
    with torch.autocast("cpu", torch.bfloat16):
        found = cell(x)
        found = cell(x, found)
    if kind.lstm:
        assert [state.dtype for state in found] == [torch.bfloat16, torch.float32]
    else:
        assert found.dtype == torch.float32


def test_autocast_gives_every_back_end_and_option_the_same_output_dtype(varied):
    rnn, x = varied.build(), varied.frames(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert rnn(x)[0].dtype == rnn(x, return_sequence=False)[0].dtype == torch.bfloat16
    rnn.double()
    with torch.autocast("cpu", torch.bfloat16):  # which leaves float64 alone
        assert rnn(x.double())[0].dtype == torch.float64


def test_low_precision_distinguishes_pixels_of_a_wide_image():
    """bfloat16 has no 257: where nothing moves, no pixel may be warped."""
    cell = TrajGRU2d(1, 2, 1, num_flows=1, flow_channels=1, flow_kernel_size=1).cells[0].bfloat16()
    seen = {}
    cell.activation = partial(_see, seen)
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            parameter.fill_(0)
            if name == "weight_hh":
                parameter[4:, :, 0, 0] = torch.eye(2)  # n is what r lets through of h
    h = torch.arange(600.0).reshape(1, 2, 1, 300).bfloat16()
    cell(torch.zeros(1, 1, 1, 300).bfloat16(), h)
    assert_same(seen["n"], h / 2)


def _see(seen, n):
    seen["n"] = n
    return n


# Devices, copies and files.


def test_layer_on_meta_device_returns_shapes(kind):
    rnn = kind.layer(2, [4, 3], **kind.options, device="meta")
    real = kind.build()
    expected = real(kind.frames(2, 2))
    shapes = [t.shape for t in tree_leaves(expected)]
    x = kind.frames(2, 2).to("meta")
    assert_places(rnn(x), "meta", shapes)
    assert_places(rnn(x, tree_map(lambda s: s.to("meta"), kind.start(real))), "meta", shapes)
    with torch.device("meta"):
        assert kind.layer(2, [4, 3], **kind.options).cells[0].weight_hh.is_meta


def assert_places(tree, device, shapes):
    assert [(t.device.type, t.shape) for t in tree_leaves(tree)] == [(device, shape) for shape in shapes]


def test_layer_made_on_meta_device_can_be_filled(varied):
    real, rnn = varied.build(), varied.layer(2, [4, 3], **varied.options, device="meta")
    assert_places(list(rnn.parameters()), "meta", [p.shape for p in real.parameters()])
    rnn.to_empty(device="cpu").load_state_dict(real.state_dict())
    x = varied.frames(2, 2)
    assert_same(rnn.eval()(x), real(x))


def test_mask_without_input_is_moved_to_the_states_device(kind):
    rnn = kind.layer(2, [4, 3], **kind.options, device="meta")
    begin = tree_map(lambda s: s.to("meta"), kind.start(kind.build(), 3))
    mask = torch.ones(4, 3, dtype=torch.bool)
    assert rnn(None, begin, steps=4, mask=mask)[0].device.type == "meta"


def test_copy_and_pickle_compute_the_same(varied):
    rnn = varied.build()
    x = varied.frames(3, 2)
    expected = rnn(x)
    twin = copy.deepcopy(rnn)
    assert_same(twin(x), expected)
    assert str(twin) == str(rnn)
    again = pickle.loads(pickle.dumps(rnn))
    assert_same(again(x), expected)
    assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in rnn.parameters()}
    for parameter in rnn.parameters():
        parameter.data.zero_()
    assert_same(twin(x), expected)


def test_callable_activation_is_pickled(kind):
    rnn = kind.build(activation=torch.nn.functional.softsign, recurrent_activation=partial(_steep, by=2.0))
    x = kind.frames(3, 2)
    assert_same(pickle.loads(pickle.dumps(rnn))(x), rnn(x))


def _steep(x, by):
    return torch.sigmoid(by * x)


def test_state_dict_has_only_the_parameters(varied):
    rnn = varied.build(bidirectional=True)
    names = [name for name, _ in rnn.named_parameters()]
    assert list(rnn.state_dict()) == names
    assert list(rnn.buffers()) == []
    fields = rnn.cells[0].tensors._fields
    assert set(names) <= {f"cells.{k}.{name}" for k in range(4) for name in fields}
    assert all(p.requires_grad for p in rnn.parameters())
    twin = varied.layer(2, [4, 3], **varied.options, bidirectional=True).eval()
    file = io.BytesIO()
    torch.save(rnn.state_dict(), file)
    file.seek(0)
    twin.load_state_dict(torch.load(file, weights_only=True))
    x = varied.frames(2, 2)
    assert_same(twin(x), rnn(x))


def test_mismatched_state_dict_raises():
    rnn = ConvLSTM2d(2, 3, 3, peephole="pixel", norm="layer-pixel", spatial_size=(5, 7))
    weights = rnn.state_dict()
    assert [tuple(weights[f"cells.0.{name}"].shape) for name in ("peephole", "norm_hh", "bias")] == [
        (3, 3, 5, 7),
        (12, 5, 7),
        (12, 5, 7),
    ]
    for name in weights:
        with pytest.raises(RuntimeError, match=f'Missing key.*"{name}"'):
            rnn.load_state_dict({n: w for n, w in weights.items() if n != name})
    with pytest.raises(RuntimeError, match=r"size mismatch for cells\.0\.peephole"):
        ConvLSTM2d(2, 3, 3, peephole="pixel", spatial_size=(6, 7)).load_state_dict(
            {n: w for n, w in weights.items() if "norm" not in n and "bias" not in n}, strict=False
        )
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"cells.0.peephole\""):
        ConvLSTM2d(2, 3, 3, peephole=None).load_state_dict(ConvLSTM2d(2, 3, 3).state_dict())


# Transforms.


def test_functional_call_uses_given_parameters(varied):
    rnn, other = varied.build(), varied.layer(2, [4, 3], **varied.options).eval()
    x, begin = varied.frames(3, 2), varied.start(rnn)
    weights = dict(rnn.named_parameters())
    assert (other(x, begin)[0] - rnn(x, begin)[0]).abs().max() > 0
    assert_same(functional_call(other, weights, (x, begin)), rnn(x, begin))
    found = functional_call(other, weights, (None, begin), {"steps": 2})
    assert_same(found, rnn(None, begin, steps=2))


def test_vmap_gives_gradients_per_sample_and_ensembles(kind):
    """vmap of torch.func gives the gradients of autograd, for samples and for members of an ensemble."""
    rnn = kind.build().double()
    x = kind.frames(2, 3).double()
    weights = {name: p.detach() for name, p in rnn.named_parameters()}

    def loss(weights, sample):
        output, _ = functional_call(rnn, weights, (sample.unsqueeze(1),))
        return output.square().sum()

    found = vmap(grad(loss), in_dims=(None, 1))(weights, x)
    for b in range(3):
        expected = torch.autograd.grad(rnn(x[:, b : b + 1])[0].square().sum(), list(rnn.parameters()))
        for name, value in zip(weights, expected, strict=True):
            torch.testing.assert_close(found[name][b], value, **EXACT)

    members = [kind.build().double() for _ in range(2)]
    members[1].reset_parameters()
    stacked, _ = stack_module_state(members)
    outputs = vmap(lambda weights: functional_call(rnn, weights, (x,))[0])(stacked)
    for output, member in zip(outputs, members, strict=True):
        torch.testing.assert_close(output, member(x)[0], **EXACT)


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch scripts rules of its own
def test_forward_mode_matches_finite_differences(kind):
    rnn, x, towards = kind.build().double(), kind.frames(3, 2).double(), kind.frames(3, 2, seed=2).double()
    with fwAD.dual_level():
        found = fwAD.unpack_dual(rnn(fwAD.make_dual(x, towards))[0]).tangent
    step = 1e-5
    expected = (rnn(x + step * towards)[0] - rnn(x - step * towards)[0]) / (2 * step)
    # The third derivative times 1e-10, and a rounding of 2^-53 divided by the step.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    _, other = jvp(lambda x: rnn(x)[0], (x,), (towards,))
    torch.testing.assert_close(other, found, **EXACT)


# Compilers.


def assert_compiled(rnn, x, call):
    """Outputs and gradients match those of the layer."""
    compiled = torch.compile(rnn.double(), fullgraph=True, backend="aot_eager")
    found, expected = ([*run(x.double(), **call)] for run in (compiled, rnn))
    torch.testing.assert_close(found, expected, **EXACT)
    losses = [sum(t.square().sum() for t in tree_leaves(tree)) for tree in (found, expected)]
    gradients = [torch.autograd.grad(loss, list(rnn.parameters())) for loss in losses]
    torch.testing.assert_close(*gradients, **EXACT)


@pytest.mark.usefixtures("fresh")
def test_layer_compiles_as_one_graph(kind):
    assert_compiled(kind.build(2, 3), kind.frames(2, 3), {})


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("name", ["mask", "lengths"])
@pytest.mark.parametrize("layer", [PeepholeLSTM, partial(ConvGRU1d, kernel_size=3)])
def test_masked_layer_compiles_as_one_graph(layer, name):
    absent = {"mask": [[True, False, True], [True, True, False]], "lengths": [2, 0, 1]}
    rnn = layer(2, 3)
    x = numbers(2, 3, 2, *(5,) * len(rnn.cell.space))
    assert_compiled(rnn, x, {name: torch.tensor(absent[name])})


@pytest.mark.skipif(shutil.which("cc") is None, reason="inductor needs a C++ compiler, and there is no cc")
# torch's compiler uses deprecated functions of torch.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.usefixtures("fresh")
@torch.no_grad()
def test_inductor_computes_the_same():
    rnn = ConvLSTM2d(2, 3, 3)
    x = numbers(2, 2, 2, 5, 7)
    # Float32 sums in another order: 2^-24 times some tens of terms, over two steps.
    torch.testing.assert_close([*torch.compile(rnn, fullgraph=True)(x)], [*rnn(x)], rtol=1e-5, atol=1e-6)


# Memory.


class Meter(TorchDispatchMode):
    """Counts the bytes of all results of operations which are alive."""

    def __init__(self):
        super().__init__()
        self._given, self._made, self.peak = set(), {}, 0

    @property
    def live(self):
        self._made = {ref: size for ref, size in self._made.items() if not ref.expired()}
        return sum(self._made.values())

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self._given |= self._storages((args, kwargs)).keys() - self._made.keys()
        result = function(*args, **(kwargs or {}))
        made = self._storages(result)
        self._made |= {ref: made[ref] for ref in made.keys() - self._given}
        self.peak = max(self.peak, self.live)
        return result

    def _storages(self, tree):
        tensors = (t for t in tree_leaves(tree) if isinstance(t, torch.Tensor))
        return {StorageWeakRef(s): s.nbytes() for s in (t.untyped_storage() for t in tensors)}


@pytest.mark.parametrize("num_layers", [1, 2])
def test_last_output_needs_no_memory_for_the_sequence(kind, num_layers):
    rnn = kind.build(2, 3, num_layers=num_layers)

    @torch.no_grad()
    def peak(steps, kept):
        x = kind.frames(steps, 2)
        with Meter() as meter:
            rnn(x, return_sequence=kept)
        return meter.peak

    assert peak(25, kept=False) == peak(5, kept=False)
    frame = 4 * 2 * 3 * torch.Size(kind.size).numel()  # bytes
    assert peak(25, kept=True) >= peak(5, kept=True) + 20 * frame


def test_checkpoints_in_time_give_the_same_gradients_with_less_memory(kind):
    """For 24 steps in 6 parts only the outputs and the states between the parts are saved."""
    rnn = kind.build(2, 3).double()
    frames = kind.frames(24, 2).double()

    def in_pieces(x, state):
        outputs = []
        for piece in x.split(4):
            output, state = checkpoint(rnn, piece, state, use_reentrant=False)
            outputs.append(output)
        return torch.cat(outputs), state

    def run(forward):
        x, state = frames.clone().requires_grad_(), tree_map(torch.Tensor.double, kind.start(rnn))
        with Meter() as meter:
            output, end = forward(x, state)
            kept = meter.live
            loss = sum(t.square().sum() for t in tree_leaves((output, end)))
            gradients = torch.autograd.grad(loss, [x, *rnn.parameters()])
        return [output, end, *gradients], kept, meter.peak

    expected, kept, peak = run(rnn)
    found, kept_between, peak_in_pieces = run(in_pieces)
    torch.testing.assert_close(found, expected, **EXACT)
    # A step keeps eight images of the state's size or more for its gradient (measured: 4.1 to 14 times).
    assert kept_between < kept / 3
    # The gradients of all frames in and out weigh as much with and without (measured: 2.0 to 4.2 times).
    assert peak_in_pieces < peak / 1.5


# Habits of training loops.


def test_two_calls_before_a_gradient_are_independent(kind):
    rnn = kind.build().double()
    first, second = kind.frames(3, 2).double(), kind.frames(4, 1, seed=2).double()

    def loss(x):
        return rnn(x)[0].square().sum()

    def gradients(value):
        return torch.autograd.grad(value, list(rnn.parameters()))

    apart = [gradients(loss(x)) for x in (first, second)]
    one, other = loss(first), loss(second)
    assert_same([gradients(one), gradients(other)], apart)
    together = gradients(loss(first) + loss(second))
    torch.testing.assert_close(together, tuple(a + b for a, b in zip(*apart, strict=True)), **EXACT)


def test_retained_graph_gives_the_same_gradients_twice(kind):
    rnn = kind.build()
    value = rnn(kind.frames(3, 2))[0].square().sum()
    first = torch.autograd.grad(value, list(rnn.parameters()), retain_graph=True)
    assert_same(torch.autograd.grad(value, list(rnn.parameters())), first)


class Failing:
    """An activation which fails once, some calls after it is armed."""

    left = -1

    def __call__(self, x):
        self.left -= 1
        if self.left == 0:
            raise ArithmeticError
        return torch.tanh(x)


@pytest.mark.parametrize("kept", [True, False])
def test_layer_after_an_error_is_unchanged(kind, kept):
    activation = Failing()
    rnn = kind.build(activation=activation)
    x, begin = kind.frames(6, 2), kind.start(rnn)
    before, expected = tree_map(torch.clone, begin), rnn(x, begin, return_sequence=kept)
    activation.left = 7
    with pytest.raises(ArithmeticError):
        rnn(x, begin, return_sequence=kept)
    assert_same(begin, before)
    assert_same(rnn(x, begin, return_sequence=kept), expected)


def test_call_leaves_its_arguments_unchanged(varied):
    rnn = varied.build(bidirectional=True)
    x, begin, mask = varied.frames(3, 2), varied.start(rnn), torch.tensor([[True, False]] * 3)
    given = tree_map(torch.clone, (x, begin, mask, rnn.state_dict()))
    expected = rnn(x, begin, mask=mask)
    output, end = rnn(x, begin)
    assert_same((x, begin, mask, rnn.state_dict()), given)
    # Nor do results share memory with arguments.
    for tensor in tree_leaves((output, end)):
        tensor.detach().zero_()
    assert_same((x, begin), given[:2])
    assert_same(rnn(x, begin, mask=mask), expected)


def test_threads_share_a_layer(kind):
    rnn = kind.build()
    inputs = [kind.frames(4, 1 + n % 3, seed=n) for n in range(12)]
    alone = [rnn(x) for x in inputs]
    barrier = threading.Barrier(4)

    def work(share):
        barrier.wait()
        return [rnn(x) for x in share]

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(work, [inputs[n::4] for n in range(4)]))
    assert_same([shares[n % 4][n // 4] for n in range(12)], alone)
