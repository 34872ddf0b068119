import pytest
import torch

from stormcell.errors import ArgumentError
from stormcell.models import FrameAverageClassifier, SequenceClassifier

# Float32 sums of some hundred terms in another order, carried over four steps of two layers.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize("spatial", ["last", "mean"])
def test_sequence_classifier_maps_the_last_hidden_state_to_classes(randomised, spatial):
    size = (6, 9) if spatial == "last" else None
    model = randomised(SequenceClassifier(2, [4, 3], 3, 5, spatial, size, patch_size=2))
    x = torch.rand(2, 4, 2, 6, 9)
    wide = torch.zeros(2, 4, 2, 6, 10)
    wide[..., :9] = x
    states = [None, None]
    with torch.no_grad():
        for t in range(4):
            places = [(c, row, column) for c in range(2) for row in range(2) for column in range(2)]
            x_t = torch.stack([wide[:, t, c, row::2, column::2] for c, row, column in places], dim=1)
            for layer, cell in enumerate(model.rnn.cells):
                states[layer] = cell(x_t, states[layer])
                x_t = states[layer][0]
        features = x_t.reshape(2, -1) if spatial == "last" else x_t.sum(dim=(2, 3)) / (3 * 5)
        expected = features @ model.head.weight.T + model.head.bias
        assert model(x).shape == (2, 5)
        torch.testing.assert_close(model(x), expected, **CLOSE)


def test_sequence_classifier_with_mean_takes_any_size():
    model = SequenceClassifier(1, 4, 3, 5, patch_size=4)
    assert [model(torch.rand(1, 2, 1, *size)).shape for size in ((8, 8), (5, 13))] == [(1, 5)] * 2


def test_classifiers_depend_on_the_order_of_frames_only_if_recurrent(randomised):
    model = randomised(SequenceClassifier(1, [4], 3, 5))
    averaging = randomised(FrameAverageClassifier(1, [4, 4], 3, 5))
    x = torch.rand(2, 6, 1, 8, 8)
    shuffled = x[:, [3, 1, 5, 0, 2, 4]]
    assert not torch.allclose(model(x), model(shuffled), rtol=1e-2)
    torch.testing.assert_close(averaging(x), averaging(shuffled))


def test_frame_average_classifier_is_the_mean_over_frames(randomised):
    model = randomised(FrameAverageClassifier(2, [4, 3], 3, 5, patch_size=2))
    x = torch.rand(2, 3, 2, 6, 9)
    alone = torch.stack([model(x[:, [t]]) for t in range(3)])
    torch.testing.assert_close(model(x), alone.mean(dim=0))


@pytest.mark.parametrize(
    "arguments",
    [(1, [32, 32], 5, 8, "mean", None, 4), (1, 16, 3, 10, "last", (7, 7)), (3, [8, 8, 8], (3, 5), 4)],
)
@pytest.mark.parametrize("layers", [1, 3])
def test_frame_average_classifier_matching_has_as_many_parameters(arguments, layers):
    """At least as many, and fewer than one more channel would add."""
    model = SequenceClassifier(*arguments)
    averaging = FrameAverageClassifier.matching(model, layers)
    assert len(averaging.convolutions) == layers
    here, there = (sum(p.numel() for p in one.parameters()) for one in (model, averaging))
    per_channel = averaging.convolutions[-1].weight[0].numel() + 1 + averaging.head.out_features
    assert 0 <= there - here < per_channel
    assert averaging.head.out_features == model.head.out_features


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, 3, 5), "in_channels: expected an int of at least 1, found 0"),
        ((1, 4, 3, 0), "classes: expected an int of at least 1, found 0"),
        ((1, 4, 3, 5, "first"), "spatial: expected one of 'last', 'mean', found 'first'"),
        (
            (1, 4, 3, 5, "last"),
            "spatial_size: expected the size of the frames with spatial='last', found None",
        ),
        (
            (1, 4, 3, 5, "mean", (7, 7)),
            r"spatial_size: expected None with spatial='mean', found \(7, 7\)",
        ),
        ((1, 4, 3, 5, "mean", None, 0), "patch_size: expected an int of at least 1, found 0"),
    ],
)
def test_sequence_classifier_with_impossible_arguments_is_refused(arguments, message):
    with pytest.raises(ArgumentError, match=f"^{message}$"):
        SequenceClassifier(*arguments)


def test_classifiers_given_other_frames_are_refused():
    model = SequenceClassifier(1, 4, 3, 5, "last", (7, 7))
    with pytest.raises(ArgumentError, match=r"^x: expected frames of \(7, 7\) pixels, found \(1, 2"):
        model(torch.zeros(1, 2, 1, 8, 7))
    for one in (model, FrameAverageClassifier(1, [4], 3, 5)):
        with pytest.raises(ArgumentError, match=r"^x: expected \(B, T, C, H, W\) with C = 1, found \(2"):
            one(torch.zeros(2, 1, 7, 7))
