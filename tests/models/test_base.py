import json

import pytest
import torch

from stormcell.models import (
    EncoderForecaster,
    FCLSTMForecaster,
    FrameAverageClassifier,
    MultiscaleForecaster,
    NextFrameForecaster,
    SequenceClassifier,
)
from stormcell.models.base import Network
from stormcell.models.nowcaster import Nowcaster
from stormcell.models.registry import MODULES

LEVELS = {"hidden_channels": [3, 2], "strides": [2, 3], "conv_kernel_size": [3, 4], "out_channels": 1}


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        (EncoderForecaster, {"kernel_size": (3, 5), "recurrent_kernel_size": [1, (2, 3)], "peephole": None}),
        (EncoderForecaster, {"out_channels": 1, "forget_bias": 0.5}),
        (EncoderForecaster, {"feedback": "sigmoid"}),
        (FCLSTMForecaster, {"spatial_size": (6, 9), "peephole": None, "forget_bias": 0.5}),
        (FCLSTMForecaster, {"spatial_size": (6, 9), "feedback": "linear"}),
        (NextFrameForecaster, {"kernel_size": (3, 5), "recurrent_kernel_size": [1, (3, 5)], "bias": True}),
        (NextFrameForecaster, {"norm": "layer-pixel", "spatial_size": (6, 9), "feedback": "sigmoid"}),
        (
            MultiscaleForecaster,
            {**LEVELS, "cell": ["conv_gru", "traj_gru"], "num_flows": [2, 3], "forecaster_num_flows": 4},
        ),
        (MultiscaleForecaster, {**LEVELS, "cell": "traj_gru", "align_corners": False, "kernel_size": (3, 5)}),
        (
            MultiscaleForecaster,
            {
                **LEVELS,
                "peephole": "pixel",
                "spatial_size": (6, 9),
                "forget_bias": 0.5,
                "recurrent_kernel_size": (3, 5),
            },
        ),
        (
            SequenceClassifier,
            {
                "kernel_size": (3, 5),
                "classes": 5,
                "spatial": "last",
                "spatial_size": (6, 9),
                "patch_size": 2,
                "recurrent_kernel_size": [1, 3],
                "peephole": None,
                "forget_bias": 0.5,
            },
        ),
        (SequenceClassifier, {"hidden_channels": 4, "kernel_size": 3, "classes": 5}),
        (FrameAverageClassifier, {"kernel_size": 3, "classes": 5, "patch_size": 2}),
    ],
)
def test_network_arguments_through_json_build_the_same_network(randomised, network, arguments):
    model = randomised(network(2, **{"hidden_channels": [4, 3]} | arguments))
    twin = network(**json.loads(json.dumps(model.arguments)))
    assert twin.arguments == model.arguments
    assert str(twin) == str(model)
    biases = [[getattr(m, "forget_bias", None) for m in one.modules()] for one in (twin, model)]
    assert biases[0] == biases[1]
    twin.load_state_dict(model.state_dict())
    steps = () if "classes" in arguments else (2,)
    x = torch.rand(1, 3, 2, 6, 9)
    assert torch.equal(twin(x, *steps), model(x, *steps))


def test_network_subclass_of_a_network_records_its_own_arguments():
    class Inner(Network):
        def __init__(self, width: int, depth: int = 2) -> None:
            super().__init__()
            self.total = width * depth

    class Outer(Inner):
        def __init__(self, *, names: tuple[str, ...] = ("a",), **sizes: int) -> None:
            super().__init__(len(names) + len(sizes))

    assert Inner(5).arguments == {"width": 5, "depth": 2}
    assert Outer(size=4).arguments == {"names": ["a"], "size": 4}


EXPORTED = [
    EncoderForecaster(1, [3, 2], 3, patch_size=2),
    EncoderForecaster(1, [3, 2], 3, patch_size=2, feedback="linear"),
    FCLSTMForecaster(1, (6, 8), [3, 2]),
    NextFrameForecaster(1, [3, 2], 3, patch_size=2),
    MultiscaleForecaster(1, **LEVELS, cell=["conv_lstm", "traj_gru"], num_flows=2, conv_channels=2),
    SequenceClassifier(1, [3, 2], 3, 4),
    FrameAverageClassifier(1, [3, 2], 3, 4, patch_size=2),
    Nowcaster(channels=4, detail_channels=4),
]


def example(network, batch):
    """The arguments of a call: frames, and what else the network takes."""
    if isinstance(network, Nowcaster):
        return torch.rand(batch, 3, 40, 48), torch.full((batch,), 5.0), torch.ones(batch), 2
    x = torch.rand(batch, 3, 1, 6, 8)
    return (x,) if isinstance(network, SequenceClassifier | FrameAverageClassifier) else (x, 2)


def test_exported_networks_are_all_of_the_registry():
    assert {type(network).__name__ for network in EXPORTED} == set(MODULES)


@pytest.mark.parametrize("network", EXPORTED, ids=lambda network: type(network).__name__)
def test_exported_network_takes_any_batch_size(network, randomised):
    network, call = randomised(network), example(network, 2)
    free = tuple({0: torch.export.Dim.DYNAMIC} if isinstance(one, torch.Tensor) else None for one in call)
    program = torch.export.export(network, call, dynamic_shapes=free).module()
    for batch in (1, 3):
        call = example(network, batch)
        # Sums in another order: some ten roundings of 2^-24 a step.
        torch.testing.assert_close(program(*call), network(*call), rtol=1e-5, atol=1e-5)
