"""A stack calls its cells as modules, so that hooks, pruning and parametrizations of cells work."""

import pytest
import torch
from torch.nn.utils import parametrizations, prune

from stormcell.nn import ConvGRU2d, ConvLSTM2d, TrajGRU2d

KINDS = [ConvLSTM2d, ConvGRU2d, TrajGRU2d]
X = torch.rand(3, 2, 2, 5, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("return_sequence", "grad", "calls"),
    [(True, True, 1), (False, True, 1), (False, False, 2)],  # the first step, then the others together
)
def test_hooks_on_cells_are_called(kind, return_sequence, grad, calls):
    rnn = kind(2, [3, 2], 3)
    seen = []
    for cell in rnn.cells:
        cell.register_forward_hook(lambda cell, *_: seen.append(cell))
    with torch.set_grad_enabled(grad):
        rnn(X, return_sequence=return_sequence)
    assert seen == list(rnn.cells) * calls


@pytest.mark.parametrize("kind", KINDS)
def test_pruned_cell_trains_as_with_masked_weights(kind):
    pruned, masked = kind(2, 3, 3), kind(2, 3, 3)
    masked.load_state_dict(pruned.state_dict())
    prune.l1_unstructured(pruned.cells[0], "weight_hh", 0.5)
    mask = pruned.cells[0].weight_hh_mask
    for _ in range(3):
        with torch.no_grad():
            masked.cells[0].weight_hh.mul_(mask)
        losses = []
        for rnn, name in ((pruned, "weight_hh_orig"), (masked, "weight_hh")):
            loss = rnn(X)[0].square().sum()
            weight = getattr(rnn.cells[0], name)
            (gradient,) = torch.autograd.grad(loss, weight)
            with torch.no_grad():
                weight.sub_(0.1 * gradient)
            losses.append(loss)
        torch.testing.assert_close(*losses)


@pytest.mark.parametrize("kind", KINDS)
def test_parametrized_cell_uses_the_computed_weights(kind):
    rnn, plain = kind(2, 3, 3), kind(2, 3, 3)
    parametrizations.weight_norm(rnn.cells[0], "weight_ih")
    with torch.no_grad():
        rnn.cells[0].parametrizations.weight_ih.original0.mul_(2)
    state = {name: p for name, p in rnn.state_dict().items() if "parametrizations" not in name}
    plain.load_state_dict(state | {"cells.0.weight_ih": rnn.cells[0].weight_ih.detach()})
    torch.testing.assert_close(rnn(X), plain(X))
