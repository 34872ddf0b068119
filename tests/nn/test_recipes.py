"""The recipes of docs/recipes.md do what the page says, also with other numbers."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stormcell.nn import ConvGRU2d, ConvLSTM2d, ConvLSTMCell2d

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text("utf-8")
PREAMBLE, *SECTIONS = re.split(r"^###? (.+)\n", PAGE, flags=re.MULTILINE)

# The same sums in another order: float64 rounds to 1e-16, and they are of some hundred numbers of order one.
SAME = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture
def recipe(request, tmp_path, monkeypatch) -> dict[str, Any]:
    """The names defined by a section's code, run after the page's imports in an empty folder."""
    monkeypatch.chdir(tmp_path)
    sections = dict(zip(SECTIONS[::2], SECTIONS[1::2], strict=True))
    names: dict[str, Any] = {}
    for code in code_of(PREAMBLE) + code_of(sections[request.param]):
        exec(compile(code, f"docs/recipes.md, {request.param}", "exec"), names)
    return names


def code_of(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(title: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("recipe", [title], indirect=True)


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random(module):
    """The module in float64 with every parameter random: some start at zero and would hide."""
    module.double()
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(0.3 * numbers(*parameter.shape, seed=seed))
    return module


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, **SAME)


def alone(rnn, k):
    """A layer with one of the cells of another layer."""
    cell = rnn.cells[k]
    single = ConvLSTM2d(cell.in_channels, cell.hidden_channels, cell.kernel_size).double()
    single.cells[0].load_state_dict(cell.state_dict())
    return single


@section("Merging the directions")
@pytest.mark.parametrize("return_sequence", [True, False])
def test_recipe_merges_directions(recipe, return_sequence):
    rnn = random(ConvLSTM2d(2, 3, 3, bidirectional=True))
    x = numbers(4, 2, 2, 5, 6)
    both, _ = rnn(x, return_sequence=return_sequence)
    ahead, _ = alone(rnn, 0)(x, return_sequence=return_sequence)
    back, _ = alone(rnn, 1)(x.flip(0), return_sequence=return_sequence)
    back = back.flip(0) if return_sequence else back
    assert_same(recipe["merged"](both, "sum"), ahead + back)
    assert_same(recipe["merged"](both, "ave"), ahead / 2 + back / 2)
    assert_same(recipe["merged"](both, "mul"), ahead * back)


@section("Backwards")
def test_recipe_runs_backward(recipe):
    rnn = random(ConvLSTM2d(2, 3, 3))
    x = numbers(5, 2, 2, 5, 6)
    lengths = [5, 3]
    output, (h_n, c_n) = recipe["backwards"](rnn, x, lengths=torch.tensor(lengths))
    for k, length in enumerate(lengths):
        state = None
        for t in reversed(range(length)):
            state = rnn.cells[0](x[t, k : k + 1], state)
            assert_same(output[t, k], state[0][0])
        assert_same((h_n[0][k], c_n[0][k]), (state[0][0], state[1][0]))
        assert not output[length:, k].any()


@section("Residual and skip connections")
def test_recipe_adds_residual_connections(recipe):
    model = random(recipe["Residual"](channels=2, num_layers=2))
    x = numbers(4, 2, 2, 5, 6)
    lower, upper = model.layers
    seen = x + lower(x)[0]
    expected, end = upper(seen)
    output, states = model(x)
    assert_same(output, seen + expected)
    assert_same(states[1], end)
    second, _ = model(x[2:], model(x[:2])[1])
    assert_same(second, output[2:])


@section("The same frame at every step")
def test_recipe_repeats_one_frame(recipe):
    rnn = random(ConvLSTM2d(2, 3, 3))
    frame = numbers(2, 2, 5, 6)
    outputs, ((h,), (c,)) = recipe["repeated"](rnn, frame, step=4, effective_step=[0, 2])
    states = [rnn.cells[0](frame)]
    for _ in range(3):
        states.append(rnn.cells[0](frame, states[-1]))
    assert_same(outputs, torch.stack([states[0][0], states[2][0]]))
    assert_same((h, c), states[3])


@section("Another layer at every step")
def test_recipe_applies_a_layer_at_every_step(recipe):
    expected = torch.stack([recipe["head"](frames) for frames in recipe["output"]])
    # One batch of all frames is convolved in another order than a batch of each, and float32 rounds to 1e-7.
    torch.testing.assert_close(recipe["images"], expected, rtol=1e-5, atol=1e-6)


@section("Data with the channels last")
def test_recipe_takes_channels_last(recipe):
    images, output = recipe["images"], recipe["output"]
    expected, _ = recipe["rnn"](images.permute(0, 1, 4, 2, 3))
    assert_same(output, expected.permute(0, 1, 3, 4, 2))


@section("Without a batch")
def test_recipe_takes_unbatched_data(recipe):
    twice = recipe["frames"].unsqueeze(1).expand(-1, 2, -1, -1, -1)
    expected, _ = recipe["rnn"](twice)
    # A batch of two is convolved in another order than one, and float32 rounds to 1e-7.
    torch.testing.assert_close(recipe["output"], expected[:, 1], rtol=1e-5, atol=1e-6)


@section("One class per sequence")
def test_recipe_classifies_sequences_of_any_length(recipe):
    model = random(recipe["Classifier"](classes=3))
    x = numbers(6, 2, 1, 5, 6)
    answers = model(x, lengths=torch.tensor([6, 4]))
    assert_same(answers[1:], model(x[:4, 1:]))
    output, _ = model.rnn(x)
    assert_same(answers[0], model.head(output[5, 0].mean(dim=(1, 2))))


@section("Cells of your own, and other stacks")
def test_recipe_stacks_cells_of_several_kinds(recipe):
    model = random(recipe["Mixed"](in_channels=2))
    lower, upper = ConvLSTM2d(2, 16, 3).double(), ConvGRU2d(16, 8, 3).double()
    lower.cells[0].load_state_dict(model.lower.state_dict())
    upper.cells[0].load_state_dict(model.upper.state_dict())
    x = numbers(4, 2, 2, 5, 6)
    below, ((h,), (c,)) = lower(x)
    expected, (above,) = upper(below)
    output, state = model(x)
    assert_same(output, expected)
    assert_same(state, ((h, c), above))
    assert_same(model(x[2:], model(x[:2])[1])[0], expected[2:])


@section("Learnable initial states")
def test_recipe_learns_initial_states(recipe):
    model = random(recipe["LearnedStart"](ConvLSTM2d(2, [3, 4], 3)))
    for size in [(5, 6), (4, 3)]:
        x = numbers(4, 2, 2, *size)
        start = tuple(
            tuple(numbers(2, c, *size, seed=0) * 0 + s for c, s in zip((3, 4), each, strict=True))
            for each in (model.h_0, model.c_0)
        )
        expected, _ = model.rnn(x, start)
        output, state = model(x)
        assert_same(output, expected)
        assert_same(model(x, state)[0], model.rnn(x, state)[0])
    # A number which is expanded over batch and image gets the sum of the gradients.
    weights = numbers(*output.shape, seed=2)
    per_pixel = torch.autograd.grad((expected * weights).sum(), [*start[0], *start[1]])
    (output * weights).sum().backward()
    for learned, gradients in zip([*model.h_0, *model.c_0], per_pixel, strict=True):
        assert gradients.any()
        assert_same(learned.grad, gradients.sum(dim=(0, 2, 3)).reshape(-1, 1, 1))


@section("Frame by frame, and truncated backpropagation")
@pytest.mark.parametrize("kind", [ConvLSTM2d, ConvGRU2d])
def test_recipe_detached_state_continues_without_gradient(recipe, kind):
    rnn = random(kind(2, [3, 4], 3))
    x = numbers(4, 2, 2, 5, 6).requires_grad_()
    whole, _ = rnn(x)
    _, state = rnn(x[:2])
    second, _ = rnn(x[2:], recipe["detached"](state))
    assert_same(second, whole[2:])
    (through,) = torch.autograd.grad(whole[2:].sum(), x, retain_graph=True)
    (cut,) = torch.autograd.grad(second.sum(), x)
    assert through[:2].any()
    assert not cut[:2].any()
    assert cut[2:].any()


@section("Frame by frame, and truncated backpropagation")
@pytest.mark.parametrize("kind", [ConvLSTM2d, ConvGRU2d])
def test_recipe_restarts_single_samples(recipe, kind):
    rnn = random(kind(2, [3, 4], 3))
    x = numbers(4, 2, 2, 5, 6)
    whole, _ = rnn(x)
    fresh, _ = rnn(x[2:])
    _, state = rnn(x[:2])
    output, _ = rnn(x[2:], recipe["restarted"](state, torch.tensor([True, False])))
    assert_same(output[:, 0], whole[2:, 0])
    assert_same(output[:, 1], fresh[:, 1])


@section("Less memory for longer sequences")
def test_recipe_checkpoints_in_time_keep_gradients_and_save_memory(recipe):
    rnn = random(ConvLSTM2d(2, [3, 3], 3))
    x = numbers(6, 2, 2, 5, 6)

    def results(run):
        rnn.zero_grad()
        saved: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
            output, state = run(x)
        output.square().sum().backward()
        return (output.detach(), state, [parameter.grad for parameter in rnn.parameters()]), len(saved)

    found, few = results(lambda x: recipe["checkpointed"](rnn, x, every=2))
    expected, many = results(rnn)
    assert_same(found, expected)
    assert few <= 3 < many  # of each part the frames, from which it is computed anew


@section("Less memory for longer sequences")
def test_recipe_checkpoints_in_time_draw_the_same_random_numbers(recipe):
    rnn = random(ConvLSTM2d(2, [3, 3], 3, dropout=0.3, recurrent_dropout=0.3, zoneout=0.3))
    x = numbers(6, 2, 2, 5, 6)
    torch.manual_seed(0)
    output, _ = recipe["checkpointed"](rnn, x, every=3)
    output.square().sum().backward()
    checkpointed = [parameter.grad for parameter in rnn.parameters()]

    rnn.zero_grad()
    torch.manual_seed(0)
    first, state = rnn(x[:3])
    second, _ = rnn(x[3:], state)
    torch.cat([first, second]).square().sum().backward()
    assert_same(output, torch.cat([first, second]))
    assert_same(checkpointed, [parameter.grad for parameter in rnn.parameters()])


@section("Other initial values")
def test_recipe_initialises_parameters(recipe):
    for cell in recipe["rnn"].cells:
        for weight in (cell.weight_ih, cell.weight_hh):
            assert 0.09 < weight.abs().max() <= 0.1
        i, f, g, o = cell.bias.detach().chunk(4)
        assert (i == -1).all()
        assert (f == 2).all()
        assert not g.any()
        assert not o.any()


@section("Regularisers")
def test_recipe_adds_regularisers_to_the_loss(recipe):
    cell, x = recipe["cell"], recipe["x"]
    state, fitted = None, 0
    outputs = []
    for frame in x:
        state = cell(frame, state)
        outputs.append(state[0])
    fitted = torch.stack(outputs).square()
    plain = fitted.mean() + 1e-6 * fitted.sum() / 2
    gradients = torch.autograd.grad(plain, [cell.weight_ih, cell.weight_hh, cell.bias])
    regularised = [
        gradients[0] + 2e-4 * cell.weight_ih,
        gradients[1] + 1e-5 * cell.weight_hh.sign(),
        gradients[2],
    ]
    found = [cell.weight_ih.grad, cell.weight_hh.grad, cell.bias.grad]
    # float32: each gradient is a sum of some ten thousand numbers, which are far smaller than the penalties'.
    torch.testing.assert_close(found, regularised, rtol=1e-4, atol=1e-7)
    assert (gradients[0] - found[0]).abs().max() > 1e-5


@section("Constraints")
def test_recipe_projects_weights_after_each_step(recipe):
    cell = random(ConvLSTMCell2d(2, 3, 3))
    before = cell.weight_ih.detach().clone(), cell.weight_hh.detach().clone()
    with torch.no_grad():
        cell.weight_ih[:6] *= 5
    recipe["constrain"](cell)
    norms = before[0].flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    assert norms.min() > 0.4  # five times that is more than 2
    assert norms.max() < 2
    assert_same(cell.weight_ih[:6].detach(), 2 * before[0][:6] / norms[:6])
    assert_same(cell.weight_ih[6:].detach(), before[0][6:])
    assert_same(cell.weight_hh.detach(), before[1].relu())


@section("Constraints")
def test_recipe_computes_weights_by_a_function(recipe):
    rnn = recipe["rnn"]
    (free,) = [p for name, p in rnn.named_parameters() if "original" in name]
    assert free.grad.any()
    torch.optim.SGD(rnn.parameters(), lr=10.0).step()
    norms = rnn.cells[0].weight_ih.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-6)  # float32
