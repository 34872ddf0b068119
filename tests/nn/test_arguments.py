import inspect
import typing

import pytest
import torch

from stormcell import nn
from stormcell.errors import ArgumentError
from stormcell.nn import ConvGRU2d, ConvLSTM2d, ConvLSTMCell2d, PeepholeLSTM, TrajGRU2d

CONV_LSTMS = [nn.ConvLSTM1d, nn.ConvLSTM2d, nn.ConvLSTM3d]
CONV_GRUS = [nn.ConvGRU1d, nn.ConvGRU2d, nn.ConvGRU3d]
LAYERS = [*CONV_LSTMS, *CONV_GRUS, TrajGRU2d, PeepholeLSTM]

# fmt: off
SPACE = {"stride": 1, "padding": "same", "dilation": 1, "padding_mode": "zeros"}
RECURRENT_SPACE = {"recurrent_kernel_size": None, "recurrent_padding_mode": "zeros"}
DROPOUT = {"input_dropout": 0.0, "recurrent_dropout": 0.0}
GATES = {"activation": "tanh", "recurrent_activation": "sigmoid", **DROPOUT, "zoneout": 0.0, "norm": None}
CELL = {"cell_clip": None, "proj_channels": None, "proj_clip": None, "forget_bias": 1.0}
END = {"backend": "auto", "device": None, "dtype": None}
LSTM = {**SPACE, "peephole": "channel", "spatial_size": None, **RECURRENT_SPACE, **GATES, **CELL, **END}
GRU = {"reset": "after", **SPACE, **RECURRENT_SPACE, **GATES, **END}
TRAJGRU = {
    "num_flows": 13, "flow_channels": 32, "flow_kernel_size": 5, "activation": "leaky_relu",
    "recurrent_activation": "sigmoid", "zoneout": 0.0, "align_corners": True, **END,
}
SPATIAL = {*SPACE, *RECURRENT_SPACE, "spatial_size"}
# fmt: on
KEYWORDS = {
    **dict.fromkeys(CONV_LSTMS, LSTM),
    **dict.fromkeys(CONV_GRUS, GRU),
    TrajGRU2d: TRAJGRU,
    PeepholeLSTM: {name: default for name, default in LSTM.items() if name not in SPATIAL},
}


def parameters(function):
    given = inspect.signature(function).parameters.values()
    public = [p for p in given if p.kind is not p.VAR_KEYWORD and not p.name.startswith("_")]
    return {p.name: p.default for p in public}


def options(layer):
    """The TypedDict of the options of a layer or a cell."""
    (typed,) = typing.get_args(typing.get_type_hints(layer.__init__)["options"])
    return typed


@pytest.mark.parametrize("layer", LAYERS)
def test_signatures_have_the_documented_arguments_and_defaults(layer):
    kernel = {} if layer is PeepholeLSTM else {"kernel_size": inspect.Parameter.empty}
    first = dict.fromkeys(["in_channels", "hidden_channels"], inspect.Parameter.empty) | kernel
    of_stacks = {"num_layers": None, "bias": True, "batch_first": False, "dropout": 0.0}
    assert list(parameters(layer).items()) == list((first | of_stacks | {"bidirectional": False}).items())
    of_cell = parameters(layer.cell)
    assert list(of_cell)[: len(first) + 1] == [*first, "bias"]
    assert of_cell == first | {"bias": True} | KEYWORDS[layer]


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_and_cell_options_are_the_same_and_read_from_one_place(layer):
    assert options(layer) is options(layer.cell) is layer.cell.options
    names = typing.get_type_hints(layer.cell.options)
    assert names.keys() == KEYWORDS[layer].keys()
    # A list gives one value per layer, except where the whole stack has one value.
    for name, hint in names.items():
        whole = name in {"backend", "device", "dtype", "spatial_size", "align_corners"}
        lists = [each for each in typing.get_args(hint) if typing.get_origin(each) is list]
        assert bool(lists) != whole, name


def test_signature_of_cell_shows_types_and_defaults_of_options():
    stride = inspect.signature(ConvLSTMCell2d).parameters["stride"]
    assert str(stride) == "stride: int | tuple[int, ...] = 1"
    assert stride.kind is stride.KEYWORD_ONLY


def test_signature_of_subclass_with_its_own_arguments_shows_those():
    class Wide(ConvLSTMCell2d):
        def __init__(self, in_channels):
            super().__init__(in_channels, 64, 3)

    assert list(inspect.signature(Wide).parameters) == ["in_channels"]
    assert Wide(2).hidden_channels == 64


@pytest.mark.parametrize("layer", LAYERS)
def test_docstring_documents_every_argument(layer):
    """In the class for images, to which those for other dimensions refer."""
    family = "ConvLSTM" if layer is PeepholeLSTM else layer.__name__[:-2]
    documented = getattr(nn, f"{family}Cell2d")
    assert layer.cell is documented or documented.__name__ in layer.cell.__doc__
    for name in KEYWORDS[layer]:
        assert f" {name}:" in documented.__doc__ or f" {name}," in documented.__doc__, name


@pytest.mark.parametrize("layer", LAYERS)
def test_call_signatures_have_the_documented_arguments(layer):
    call = {"x": inspect.Parameter.empty, "state": None, "steps": None, "lengths": None, "mask": None}
    without_self = [p for name, p in inspect.signature(layer.forward).parameters.items() if name != "self"]
    assert {p.name: p.default for p in without_self} == call | {"return_sequence": True}
    assert [p.name for p in without_self if p.kind is p.KEYWORD_ONLY] == [
        "steps",
        "lengths",
        "mask",
        "return_sequence",
    ]
    assert list(parameters(layer.all_layers).items())[1:] == list(call.items())
    assert list(parameters(layer.cell.forward).items())[1:] == [
        ("x", inspect.Parameter.empty),
        ("state", None),
    ]


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (ConvLSTM2d, "strides"),
        (nn.ConvLSTMCell2d, "num_layers"),
        (ConvGRU2d, "peephole"),
        (ConvGRU2d, "cell_clip"),
        (TrajGRU2d, "stride"),
        (TrajGRU2d, "recurrent_kernel_size"),
        (nn.TrajGRUCell2d, "norm"),
        (PeepholeLSTM, "stride"),
        (PeepholeLSTM, "kernel_size"),
        (PeepholeLSTM, "spatial_size"),
        (nn.PeepholeLSTMCell, "recurrent_kernel_size"),
        (nn.PeepholeLSTMCell, "batch_first"),
    ],
)
def test_unknown_argument_raises_with_its_name(layer, name):
    kernel = () if "Peephole" in layer.__name__ else (3,)
    with pytest.raises(TypeError, match=rf"\(\) got an unexpected keyword argument '{name}'$"):
        layer(2, 3, *kernel, **{name: 2})


OF_CELLS = [
    ("in_channels", -1, "in_channels: expected an int of at least 0, found -1"),
    ("hidden_channels", 0, "hidden_channels: expected an int of at least 1, found 0"),
    ("hidden_channels", True, "hidden_channels: expected an int of at least 1, found True"),
    ("kernel_size", 2.5, "kernel_size: expected an int of at least 1, found 2.5"),
    (
        "kernel_size",
        (3, 3, 3),
        r"kernel_size: expected an int or 2 of them, one per axis, found \(3, 3, 3\)",
    ),
    ("kernel_size", None, "kernel_size: expected an int of at least 1, found None"),
    ("recurrent_kernel_size", 0, "recurrent_kernel_size: expected an int of at least 1, found 0"),
    ("bias", "no", "bias: expected one of True, False, found 'no'"),
    ("stride", 0, "stride: expected an int of at least 1, found 0"),
    ("stride", (1, 2, 3), r"stride: expected an int or 2 of them, one per axis, found \(1, 2, 3\)"),
    ("dilation", "2", "dilation: expected an int of at least 1, found '2'"),
    ("padding", "full", "padding: expected one of 'same', 'valid', found 'full'"),
    ("padding", -1, "padding: expected an int of at least 0, found -1"),
    ("padding", (1, -1), "padding: expected an int of at least 0, found -1"),
    (
        "padding_mode",
        "constant",
        "padding_mode: expected one of 'zeros', 'reflect', 'replicate', 'circular', found 'constant'",
    ),
    ("recurrent_padding_mode", "wrap", "recurrent_padding_mode: expected one of 'zeros', .*, found 'wrap'"),
    ("peephole", "chanel", "peephole: expected one of 'channel', 'pixel', None, found 'chanel'"),
    ("peephole", True, "peephole: expected one of 'channel', 'pixel', None, found True"),
    (
        "peephole",
        "pixel",
        "peephole='pixel' requires spatial_size",
    ),
    ("norm", "layer-pixel", "norm='layer-pixel' requires spatial_size"),
    ("norm", "batch", "norm: expected one of 'layer', 'group', 'layer-pixel', None, found 'batch'"),
    ("spatial_size", (4, 4, 4), "spatial_size: expected an int or 2 of them, one per axis, found"),
    ("spatial_size", (4, 0), "spatial_size: expected an int of at least 1, found 0"),
    ("activation", "swish", "activation: expected a callable or one of 'tanh', .*, found 'swish'"),
    ("activation", None, "activation: expected a callable or one of 'tanh', .*, found None"),
    ("recurrent_activation", 1, "recurrent_activation: expected a callable or one of .*, found 1"),
    ("input_dropout", 1.5, "input_dropout: expected a probability, found 1.5"),
    ("recurrent_dropout", -0.1, "recurrent_dropout: expected a probability, found -0.1"),
    ("zoneout", 2, "zoneout: expected a probability, found 2"),
    (
        "zoneout",
        (0.1, 0.2, 0.3),
        r"zoneout: expected a probability or one for each of h, c, found \(0.1, 0.2, 0.3\)",
    ),
    ("cell_clip", 0, "cell_clip: expected a positive number or None, found 0"),
    ("cell_clip", "3", "cell_clip: expected a positive number or None, found '3'"),
    ("proj_channels", 0, "proj_channels: expected an int of at least 1, found 0"),
    ("proj_clip", 1.0, "proj_clip requires proj_channels"),
    ("forget_bias", "one", "forget_bias: expected a number, found 'one'"),
    ("backend", "fast", "backend: expected one of 'auto', 'reference',.* found 'fast'"),
    ("backend", None, "backend: expected one of 'auto', 'reference',.* found None"),
]


@pytest.mark.parametrize("layer", [ConvLSTM2d, ConvLSTMCell2d])
@pytest.mark.parametrize(("name", "value", "message"), OF_CELLS)
def test_conv_lstm_with_wrong_argument_raises(layer, name, value, message):
    with pytest.raises(ArgumentError, match=f"^{message}"):
        layer(**{"in_channels": 3, "hidden_channels": 4, "kernel_size": 3, name: value})


@pytest.mark.parametrize(
    ("layer", "name", "value", "message"),
    [
        (ConvGRU2d, "reset", "never", "reset: expected one of 'after', 'before', found 'never'"),
        (ConvGRU2d, "norm", "layer-pixel", "norm: expected one of 'layer', 'group', None, found"),
        (ConvGRU2d, "zoneout", (0.1, 0.2), "zoneout: expected a probability or one for each of h, found"),
        (ConvGRU2d, "activation", "swish", "activation: expected a callable or one of"),
        (ConvGRU2d, "backend", "fast", "backend: expected one of 'auto', 'reference',.* found 'fast'"),
        (TrajGRU2d, "num_flows", 0, "num_flows: expected an int of at least 1, found 0"),
        (TrajGRU2d, "flow_channels", 1.0, "flow_channels: expected an int of at least 1, found 1.0"),
        (TrajGRU2d, "flow_kernel_size", (3,), "flow_kernel_size: expected an int or 2 of them, one per axis"),
        (TrajGRU2d, "align_corners", None, "align_corners: expected one of True, False, found None"),
        (TrajGRU2d, "backend", "fast", "backend: expected one of 'auto', 'reference',.* found 'fast'"),
        (PeepholeLSTM, "peephole", "pixel", "peephole: expected one of 'channel', None, found 'pixel'"),
        (PeepholeLSTM, "norm", "layer-pixel", "norm: expected one of 'layer', 'group', None, found"),
    ],
)
def test_other_kinds_with_wrong_argument_raise(layer, name, value, message):
    kernel = {} if layer is PeepholeLSTM else {"kernel_size": 3}
    for kind in (layer, layer.cell):
        with pytest.raises(ArgumentError, match=f"^{message}"):
            kind(3, 4, **kernel, **{name: value})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hidden_channels": []}, r"hidden_channels: expected at least one entry, found \[\]"),
        (
            {"hidden_channels": [4, 4], "kernel_size": [3, 3, 3], "num_layers": 2},
            "layer counts disagree: hidden_channels has 2 entries, kernel_size has 3, num_layers is 2",
        ),
        ({"stride": [1, 2], "num_layers": 3}, "layer counts disagree: stride has 2 entries, num_layers is 3"),
        ({"num_layers": 0}, "num_layers: expected an int of at least 1, found 0"),
        ({"batch_first": None}, "batch_first: expected one of True, False, found None"),
        ({"bidirectional": 2}, "bidirectional: expected one of True, False, found 2"),
        ({"dropout": 1.5}, "dropout: expected a probability, found 1.5"),
        ({"dropout": None}, "dropout: expected a probability, found None"),
        ({"zoneout": [0.1, 2.0]}, "zoneout: expected a probability, found 2.0"),
        (
            {"peephole": ["channel", "pixel"]},
            "peephole='pixel' requires spatial_size",
        ),
    ],
)
def test_stack_with_wrong_argument_raises(given, message):
    with pytest.raises(ArgumentError, match=message):
        ConvLSTM2d(**{"in_channels": 3, "hidden_channels": 4, "kernel_size": 3, **given})


def test_tuple_is_read_per_axis_and_list_per_layer():
    rnn = ConvLSTM2d(3, 4, [(3, 5), 1], recurrent_kernel_size=(1, 3), stride=[2, 1], padding=(0, 1))
    assert rnn.num_layers == 2
    assert rnn.hidden_channels == [4, 4]
    assert rnn.kernel_size == [(3, 5), (1, 1)]
    assert rnn.recurrent_kernel_size == [(1, 3), (1, 3)]
    assert [cell.stride for cell in rnn.cells] == [(2, 2), (1, 1)]
    assert [cell.padding for cell in rnn.cells] == [(0, 1), (0, 1)]
    assert ConvLSTM2d(3, (4, 2), 3).hidden_channels == [4, 2]
    assert ConvLSTM2d(3, 4, 3, 2).recurrent_kernel_size == [(3, 3), (3, 3)]
    assert [cell.zoneout for cell in PeepholeLSTM(3, 4, zoneout=[(0.1, 0.2), 0.3]).cells] == [
        (0.1, 0.2),
        (0.3, 0.3),
    ]


def test_list_of_peepholes_applies_per_layer():
    rnn = ConvLSTM2d(1, 2, 3, peephole=["pixel", None, "channel"], stride=[2, 1, 1], spatial_size=(5, 7))
    shapes = [None if cell.peephole is None else tuple(cell.peephole.shape) for cell in rnn.cells]
    assert shapes == [(3, 2, 3, 4), None, (3, 2)]


X = torch.zeros(2, 1, 3, 4, 5)
STATE = torch.zeros(1, 4, 4, 5)
H, C = (rf"{name} of shape \(1, 4, 4, 5\)" for name in "hc")


@pytest.mark.parametrize(
    ("x", "state", "steps", "message"),
    [
        (X[0], None, None, r"x: expected \(T, B, C, H, W\) with C = 3, found \(1, 3, 4, 5\)"),
        (X[:, :, :2], None, None, r"x: expected \(T, B, C, H, W\) with C = 3, found \(2, 1, 2, 4, 5\)"),
        ([X], None, None, r"x: expected \(T, B, C, H, W\) with C = 3, found a list of 1: \(2, 1, 3, 4, 5\)"),
        (X[:0], None, None, r"x: expected at least one step, found \(0, 1, 3, 4, 5\) with time first"),
        (None, None, None, r"x: expected \(T, B, C, H, W\) with C = 3, found None"),
        (None, None, 2, r"state of layer 0: expected h of shape \(B, 4, H, W\) and c of .*, found None"),
        (X, None, 3, "steps: expected None or 2, the steps of x, found 3"),
        (
            X,
            (STATE, STATE),
            None,
            r"state: expected \(h_0, c_0\), each a tuple of 1 tensor, one per layer, "
            r"found a tuple of 2: \(1, 4, 4, 5\), \(1, 4, 4, 5\)",
        ),
        (X, STATE, None, r"state: expected \(h_0, c_0\), each a tuple of 1 tensor, .*, found \(1, 4, 4, 5\)"),
        (X, ((STATE, STATE), (STATE,)), None, "each a tuple of 1 tensor, one per layer, found"),
        (X, ((STATE,),), None, "each a tuple of 1 tensor, one per layer, found a tuple of 1: a tuple of 1"),
        (
            X,
            ((STATE,), (STATE[:, :3],)),
            None,
            rf"state of layer 0: expected {H} and {C}, "
            r"found a tuple of 2: \(1, 4, 4, 5\), \(1, 3, 4, 5\)",
        ),
        (X, ((STATE[..., :4],), (STATE[..., :4],)), None, f"expected {H} and {C}, found"),
        (X, ((STATE.expand(2, -1, -1, -1),),) * 2, None, f"expected {H} and {C}, found"),
        (X, ((STATE,), (None,)), None, r"found a tuple of 2: \(1, 4, 4, 5\), None"),
        (None, ((None,), (None,)), 2, "state of layer 0: .*, found a tuple of 2: None, None"),
    ],
)
def test_conv_lstm_call_with_wrong_tensor_raises_with_expected_and_found(x, state, steps, message):
    with pytest.raises(ArgumentError, match=message):
        ConvLSTM2d(3, 4, 3)(x, state, steps=steps)


@pytest.mark.parametrize(
    ("x", "state", "message"),
    [
        (X, STATE, r"state: expected h_0, a tuple of 1 tensor, one per layer, found \(1, 4, 4, 5\)"),
        (X, (STATE, STATE), r"state: expected h_0, a tuple of 1 tensor, one per layer, found a tuple of 2"),
        (X, (STATE[:, 1:],), rf"state of layer 0: expected {H}, found a tuple of 1: \(1, 3, 4, 5\)"),
        (None, (None,), r"state of layer 0: expected h of shape \(B, 4, H, W\), found a tuple of 1: None"),
    ],
)
def test_conv_gru_call_with_wrong_tensor_raises(x, state, message):
    with pytest.raises(ArgumentError, match=message):
        ConvGRU2d(3, 4, 3)(x, state, steps=2)


@pytest.mark.parametrize("pair", [tuple, list])
@pytest.mark.parametrize(
    ("rnn", "x", "state"),
    [
        (ConvLSTM2d(3, 4, 3, 2), X, STATE),
        (PeepholeLSTM(3, 4, num_layers=2), X[..., 0, 0], STATE[..., 0, 0]),
    ],
    ids=["ConvLSTM2d", "PeepholeLSTM"],
)
def test_state_as_a_list_of_pairs_per_layer_raises(rnn, x, state, pair):
    """With two layers of equal channels it has the shapes of ``(h_0, c_0)``."""
    pairs = [pair((state + k, -state)) for k in range(2)]
    with pytest.raises(ArgumentError, match=r"\(h_0, c_0\), a tuple, found a list; tuple\(zip\(\*state\)\)"):
        rnn(x, pairs)
    assert rnn(x, tuple(zip(*pairs, strict=True)))[1][0][0].shape == state.shape


def test_wrong_state_error_names_layer_and_direction():
    rnn = ConvGRU2d(3, 4, 3, 2, bidirectional=True)
    states = [STATE] * 4
    with pytest.raises(ArgumentError, match="h_0, a tuple of 4 tensors, one per layer and direction,"):
        rnn(X, (STATE,))
    for k, name in enumerate(
        ["layer 0, forward", "layer 0, backward", "layer 1, forward", "layer 1, backward"]
    ):
        wrong = [STATE[:, 1:] if n == k else state for n, state in enumerate(states)]
        for kept in (True, False):
            with pytest.raises(ArgumentError, match=f"^state of {name}: expected {H}, found"):
                rnn(X, wrong, return_sequence=kept)


@pytest.mark.parametrize(
    ("x", "state", "steps", "message"),
    [
        (X, None, None, r"x: expected None, as in_channels is 0, found \(2, 1, 3, 4, 5\)"),
        (None, None, 2, r"state of layer 0: expected h of shape \(B, 4, H, W\) and c of .*, found None"),
        (None, ((STATE,), (STATE,)), None, "steps: expected an int of at least 1, found None"),
        (None, ((STATE,), (STATE,)), 0, "steps: expected an int of at least 1, found 0"),
        (None, ((STATE[0],), (STATE[0],)), 2, r"expected h of shape \(B, 4, H, W\) and c of shape .*, found"),
        (None, ((STATE,), (STATE[..., :2],)), 2, r"expected h of shape \(B, 4, H, W\) and c of .*, found"),
    ],
)
def test_layer_without_input_with_wrong_call_raises(x, state, steps, message):
    with pytest.raises(ArgumentError, match=message):
        ConvLSTM2d(0, 4, 3)(x, state, steps=steps)


def test_wrong_input_error_with_batch_first_names_the_axes():
    with pytest.raises(ArgumentError, match=r"x: expected \(B, T, C, H, W\) with C = 3"):
        ConvLSTM2d(3, 4, 3, batch_first=True)(X[0])


TRUE = torch.ones(2, 1, dtype=torch.bool)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mask": TRUE, "lengths": [2]}, "lengths, mask: expected at most one of them, found both"),
        ({"mask": TRUE.T}, r"mask: expected bools of shape \(2, 1\), found \(1, 2\) of torch.bool"),
        ({"mask": TRUE.float()}, r"mask: expected bools of shape \(2, 1\), found \(2, 1\) of torch.float32"),
        ({"mask": [[True], [True]]}, r"mask: expected bools of shape \(2, 1\), found a list of 2: .*"),
        ({"lengths": [2, 2]}, "lengths: expected 1 ints, one per sample, found a list of 2: an int, an int"),
        (
            {"lengths": torch.tensor([2.0])},
            r"lengths: expected 1 ints, one per sample, found \(1,\) of torch.float32",
        ),
        ({"lengths": torch.tensor([[2]])}, r"lengths: expected 1 ints, .*, found \(1, 1\) of torch.int64"),
        ({"lengths": torch.tensor([True])}, r"lengths: expected 1 ints, .*, found \(1,\) of torch.bool"),
        ({"lengths": 2}, "lengths: expected 1 ints, one per sample, found an int"),
        ({"lengths": []}, "lengths: expected 1 ints, one per sample, found a list of 0: "),
        ({"lengths": ["two"]}, "lengths: expected 1 ints, one per sample, found a list of 1: a str"),
        ({"lengths": [None]}, "lengths: expected 1 ints, one per sample, found a list of 1: None"),
        ({"lengths": [[1], [1, 2]]}, "lengths: expected 1 ints, one per sample, found a list of 2: .*"),
        ({"lengths": [3]}, "lengths: expected ints from 0 to 2, found 3 to 3"),
        ({"lengths": [-1]}, "lengths: expected ints from 0 to 2, found -1 to -1"),
    ],
)
@pytest.mark.parametrize("blind", [False, True])
def test_wrong_mask_or_lengths_raise(given, message, blind):
    call = (None, (STATE,)) if blind else (X,)
    with pytest.raises(ArgumentError, match=f"^{message}$"):
        ConvGRU2d(3, 4, 3)(*call, steps=2, **given)


def test_mask_error_with_batch_first_names_the_axes():
    rnn = ConvGRU2d(3, 4, 3, batch_first=True)
    with pytest.raises(ArgumentError, match=r"^mask: expected bools of shape \(1, 2\), found \(2, 1\) of"):
        rnn(X.transpose(0, 1), mask=TRUE)


@pytest.mark.parametrize("given", [{"mask": TRUE}, {"lengths": [2]}])
def test_missing_state_without_input_raises_despite_mask(given):
    with pytest.raises(ArgumentError, match=r"^state of layer 0: expected h of shape .*, found None$"):
        ConvGRU2d(3, 4, 3)(None, steps=2, **given)


@pytest.mark.parametrize(
    ("x", "state", "message"),
    [
        (X, None, r"x: expected \(B, C, H, W\) with C = 3, found \(2, 1, 3, 4, 5\)"),
        ("frames", None, r"x: expected \(B, C, H, W\) with C = 3, found a str"),
        (None, None, r"x: expected \(B, C, H, W\) with C = 3, found None"),
        (X[0], STATE, rf"state: expected {H} and {C}, found \(1, 4, 4, 5\)"),
        (X[0], (STATE[0], STATE[0]), f"state: expected {H} and {C}, found"),
        (None, (STATE, STATE[..., 1:]), r"state: expected h of shape \(B, 4, H, W\) and c of .*, found"),
    ],
)
def test_cell_call_with_wrong_tensor_raises(x, state, message):
    with pytest.raises(ArgumentError, match=message):
        ConvLSTMCell2d(3, 4, 3)(x, state)


def test_gru_cell_takes_its_state_without_tuple():
    cell = nn.ConvGRUCell2d(3, 4, 3)
    with pytest.raises(ArgumentError, match=f"state: expected {H}, found a tuple of 1: a tuple of 1"):
        cell(X[0], (STATE,))
    assert cell(X[0], STATE).shape == STATE.shape


@pytest.mark.parametrize("kind", [nn.ConvLSTMCell2d, nn.ConvGRUCell2d, nn.TrajGRUCell2d])
def test_cell_attributes_rebuild_an_equal_cell(kind):
    given = {"in_channels": 3, "hidden_channels": 4, "kernel_size": (3, 5), "zoneout": 0.1} | {
        "activation": "relu",
        "recurrent_activation": torch.sigmoid,
        "padding": "valid",
        "stride": (1, 2),
        "norm": "group",
        "reset": "before",
        "num_flows": 2,
    }
    known = {name: value for name, value in given.items() if name in parameters(kind)}
    cell = kind(**known)
    # The other arguments are visible in the parameters.
    names = parameters(kind).keys() - {"bias", "peephole", "device", "dtype"}
    known = {name: getattr(cell, name) for name in names}
    assert {name: known[name] for name in known if name != "zoneout"} == {
        name: value for name, value in known.items() if name != "zoneout"
    }
    twin = kind(**known)
    assert str(twin) == str(cell)
    assert {name: getattr(twin, name) for name in names} == known
