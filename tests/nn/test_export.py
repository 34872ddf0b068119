"""Exported layers compute the same as eager ones: rung 6 of the ladder of oracles."""

import io
from functools import partial

import onnxruntime
import pytest
import torch
from torch.export import Dim

from stormcell import nn
from stormcell.errors import NotOfferedError

# Warnings of torch's ONNX exporter: it uses deprecated functions, reports that axes with one name are
# equal, and names no axes if an argument is None.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:# The axis name. \\w+ will not be used, since it shares:UserWarning"),
    pytest.mark.filterwarnings("ignore:# ONNX model has different number of inputs than the:UserWarning"),
]

# Sums in another order and other exponentials: some ten roundings of 2^-24 a step, over three steps.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomised(module):
    """Give every parameter random values, in evaluation mode."""
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(0.3 * numbers(*parameter.shape, seed=seed))
    return module.eval()


# Cells with two input and three hidden channels, and the image size used for the export.
lstm, gru = partial(nn.ConvLSTMCell2d, 2, 3), partial(nn.ConvGRUCell2d, 2, 3)
CELLS = {
    "ConvLSTM1d": (partial(nn.ConvLSTMCell1d, 2, 3, 3), (9,)),
    "ConvLSTM2d": (partial(lstm, 3), (9, 11)),
    "ConvLSTM3d": (partial(nn.ConvLSTMCell3d, 2, 3, (1, 3, 3)), (3, 9, 11)),
    "even kernels, dilated": (partial(lstm, (2, 4), dilation=(1, 2), recurrent_kernel_size=2), (9, 11)),
    "stride": (partial(lstm, (3, 2), stride=2), (9, 11)),
    "stride beyond the kernel": (partial(lstm, (1, 4), stride=(3, 2)), (13, 11)),
    "valid, strided": (partial(lstm, (5, 4), padding="valid", stride=(1, 2)), (13, 11)),
    "pixel": (partial(lstm, 3, peephole="pixel", norm="layer-pixel", spatial_size=(5, 7)), (5, 7)),
    "all else": (
        partial(
            lstm,
            3,
            norm="group",
            zoneout=(0.1, 0.3),
            cell_clip=0.5,
            proj_channels=2,
            proj_clip=0.2,
            padding_mode="reflect",
            recurrent_padding_mode="circular",
            activation="leaky_relu",
            recurrent_activation="hard_sigmoid_keras2",
        ),
        (9, 11),
    ),
    "PeepholeLSTM": (partial(nn.PeepholeLSTMCell, 2, 3), ()),
    "ConvGRU": (partial(gru, 3), (9, 11)),
    "ConvGRU before": (partial(gru, 3, reset="before", recurrent_activation="hard_sigmoid"), (9, 11)),
    "TrajGRU": (partial(nn.TrajGRUCell2d, 2, 3, 3, num_flows=3, flow_channels=4), (9, 11)),
    "TrajGRU beside": (
        partial(nn.TrajGRUCell2d, 2, 3, 3, num_flows=2, flow_channels=4, align_corners=False),
        (9, 11),
    ),
}


def make(name):
    """A cell, and the image's size."""
    cell, size = CELLS[name]
    return randomised(cell()), size


def given(cell, size, batch, *, blind=False, seed=1):
    """An input and a state for a cell."""
    x = None if blind else numbers(batch, 2, *size, seed=seed)
    inner = cell.state_size(size)
    states = [numbers(batch, c, *inner, seed=seed + 1 + k) for k, c in enumerate(cell.state_channels)]
    return x, tuple(states) if len(states) > 1 else states[0]


def sizes(cell, size):
    """The exported size and others, so that every stride meets even and odd sizes."""
    if getattr(cell, "spatial_size", None) is not None:
        return [size]
    return [size, tuple(n + 1 for n in size), tuple(n + 3 + k for k, n in enumerate(size))]


def axes(cell, size, name):
    """The dynamic axes of an image, by name."""
    changing = () if getattr(cell, "spatial_size", None) is not None else range(len(size))
    return {0: "batch"} | {2 + axis: f"{name}_{axis}" for axis in changing}


def shapes(cell, size, *, blind=False):
    """The dynamic axes of input and state, with the same names for equal sizes."""
    state = axes(cell, size, "image" if cell.state_size(size) == size else "state")
    states = (state,) * len(cell.states)
    return None if blind else axes(cell, size, "image"), states if len(states) > 1 else state


@pytest.mark.parametrize("name", CELLS)
def test_exported_step_takes_any_batch_and_image_size(name):
    cell, size = make(name)
    free = torch.utils._pytree.tree_map(lambda _: Dim.DYNAMIC, shapes(cell, size))
    program = torch.export.export(cell, given(cell, size, 2), dynamic_shapes=free)
    for batch, other in zip((2, 1, 5), sizes(cell, size), strict=False):
        args = given(cell, other, batch)
        torch.testing.assert_close(program.module()(*args), cell(*args), **CLOSE)


IN_ONNX = ["even kernels, dilated", "stride", "all else", "PeepholeLSTM", "ConvGRU before", "TrajGRU"]


@pytest.mark.parametrize(("name", "blind"), [*((name, False) for name in IN_ONNX), ("ConvLSTM2d", True)])
def test_step_in_onnxruntime_runs_over_sequences(name, blind):
    """For sequences of any length, with the state passed from call to call."""
    cell, size = make(name)
    names = ["x", "h", "c"][blind : 1 + len(cell.states)]
    program = torch.onnx.export(
        cell,
        given(cell, size, 2, blind=blind),
        dynamo=True,
        dynamic_shapes=shapes(cell, size, blind=blind),
        input_names=names,
        output_names=[f"{name}_n" for name in cell.states],
        verbose=False,
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    assert [i.name for i in session.get_inputs()] == names
    for batch, other in zip((2, 1, 5), sizes(cell, size), strict=False):
        _, state = given(cell, other, batch)
        theirs = list(state) if isinstance(state, tuple) else [state]
        theirs = [s.numpy() for s in theirs]
        for step in range(3):
            x, _ = given(cell, other, batch, blind=blind, seed=10 + step)
            with torch.no_grad():
                state = cell(x, state)
            seen = [] if blind else [x.numpy()]
            theirs = session.run(None, dict(zip(names, seen + theirs, strict=True)))
        ours = state if isinstance(state, tuple) else (state,)
        torch.testing.assert_close([torch.from_numpy(s) for s in theirs], list(ours), **CLOSE)


LAYERS = {
    "ConvLSTM2d": (partial(nn.ConvLSTM2d, 2, [3, 2], 3), (9, 11)),
    "strided, both ways": (partial(nn.ConvLSTM2d, 2, 3, (3, 2), stride=2, bidirectional=True), (9, 11)),
    "TrajGRU2d": (partial(nn.TrajGRU2d, 2, 3, 3, num_flows=2, flow_channels=4), (9, 11)),
    "PeepholeLSTM": (partial(nn.PeepholeLSTM, 2, [3, 2]), ()),
    "ConvGRU1d": (partial(nn.ConvGRU1d, 2, [3, 2], 3, reset="before"), (9,)),
}
MASK = torch.tensor([[True, False], [False, True]])  # (T, B)


@pytest.mark.parametrize(
    ("name", "masked"), [*((name, False) for name in LAYERS), ("PeepholeLSTM", True), ("ConvGRU1d", True)]
)
def test_exported_layer_matches_eager(name, masked):
    layer, size = LAYERS[name]
    rnn = randomised(layer())
    free = {"x": dict.fromkeys([1, *range(3, 3 + len(size))], Dim.DYNAMIC)}
    call = {"mask": MASK} if masked else {}
    if masked:
        free["mask"] = {1: Dim.DYNAMIC}
    program = torch.export.export(rnn, (numbers(2, 2, 2, *size),), call, dynamic_shapes=free).module()
    for batch in (2, 1, 3):
        x = numbers(2, batch, 2, *(n + batch for n in size))
        call = {"mask": MASK.repeat(1, 2)[:, :batch]} if masked else {}
        torch.testing.assert_close(program(x, **call), rnn(x, **call), **CLOSE)


def test_export_with_dynamic_steps_raises():
    rnn = nn.ConvGRU2d(2, 3, 3)
    with pytest.raises(NotOfferedError, match="fixed number of steps T, found a dynamic one; export a cell"):
        torch.export.export(rnn, (numbers(3, 2, 2, 5, 6),), dynamic_shapes={"x": {0: Dim.DYNAMIC}})


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("module", [nn.ConvLSTM2d(2, 3, 3), nn.ConvGRUCell2d(2, 3, 3)])
def test_torchscript_names_the_exporter_to_use(module):
    with pytest.raises(NotOfferedError, match=r"TorchScript; use torch\.export\.export"):
        torch.jit.script(torch.nn.Sequential(module))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("module", "shape"),
    [(nn.ConvLSTM2d(2, 3, 3), (3, 1, 2, 5, 6)), (nn.ConvGRUCell2d(2, 3, 3), (1, 2, 5, 6))],
)
def test_onnx_export_by_torchscript_names_the_exporter_to_use(module, shape):
    with pytest.raises(NotOfferedError, match="use dynamo=True"):
        torch.onnx.export(module, (numbers(*shape),), io.BytesIO(), dynamo=False)
