"""The choice of a back end, its explanation, and what a fused call saves."""

import os
import subprocess
import sys
import warnings
from collections import Counter

import pytest
import torch
from tests.nn.ops.recurrences import RECURRENCES, numbers
from torch.fx.experimental.proxy_tensor import make_fx

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.nn import ConvGRU2d, ConvLSTM2d, ConvLSTM3d, PeepholeLSTM, TrajGRU2d
from stormcell.nn.ops import backends, bfloat16_probe, conv_backends, driver, kernels, winograd
from stormcell.nn.ops.bfloat16_probe import Probe
from stormcell.nn.ops.lstm import fused as lstm
from stormcell.nn.ops.lstm.amx import AMXStep

# Sums of some hundred terms of order one, over a few steps, in float64.
EXACT = {"rtol": 1e-11, "atol": 1e-11}

PADDING = "a padding other than 'same' or a padding_mode other than 'zeros'"
LSTM_OPTIONS = "other activations, recurrent_padding_mode, cell_clip or zoneout"
GRU_OPTIONS = "other activations, recurrent_padding_mode or zoneout"
TRAJ_GRU_OPTIONS = "other activations or zoneout"
MASK = "lengths, mask or dropout"
DTYPE = "dtypes other than float32 and float64"
SHARED = [
    ({"stride": 2}, "stride or dilation"),
    ({"dilation": 2}, "stride or dilation"),
    ({"padding": 2}, PADDING),
    ({"padding": "valid"}, PADDING),
    ({"padding_mode": "circular"}, PADDING),
    ({"input_dropout": 0.1}, MASK),
    ({"recurrent_dropout": 0.1}, MASK),
    ({"dtype": torch.bfloat16}, DTYPE),
]
UNSUPPORTED = {
    "conv_lstm": [
        *SHARED,
        ({"recurrent_kernel_size": 5}, "a recurrent_kernel_size which differs this much from kernel_size"),
        ({"recurrent_padding_mode": "circular"}, LSTM_OPTIONS),
        ({"peephole": "pixel", "spatial_size": (5, 4)}, "peephole='pixel'"),
        ({"activation": "relu"}, LSTM_OPTIONS),
        ({"recurrent_activation": "hard_sigmoid"}, LSTM_OPTIONS),
        ({"cell_clip": 1.0}, LSTM_OPTIONS),
        ({"zoneout": 0.1}, LSTM_OPTIONS),
        ({"norm": "layer"}, "proj_channels or norm"),
        ({"proj_channels": 2}, "proj_channels or norm"),
    ],
    "conv_gru after": [
        *SHARED,
        ({"padding": 1, "kernel_size": 2}, PADDING),
        ({"recurrent_padding_mode": "circular"}, GRU_OPTIONS),
        ({"activation": "leaky_relu"}, GRU_OPTIONS),
        ({"recurrent_activation": "hard_sigmoid"}, GRU_OPTIONS),
        ({"zoneout": 0.1}, GRU_OPTIONS),
        ({"norm": "layer"}, "norm"),
        ({"norm": "group", "in_channels": 0}, "norm"),
    ],
    "traj_gru": [
        ({"activation": "relu"}, TRAJ_GRU_OPTIONS),
        ({"recurrent_activation": "hard_sigmoid"}, TRAJ_GRU_OPTIONS),
        ({"zoneout": 0.1}, TRAJ_GRU_OPTIONS),
        ({"dtype": torch.bfloat16}, DTYPE),
    ],
}


@pytest.mark.parametrize(
    ("recurrence", "given", "what"),
    [(name, *case) for name, cases in UNSUPPORTED.items() for case in cases],
    indirect=["recurrence"],
)
def test_fused_with_unsupported_option_raises_and_auto_uses_reference(recurrence, given, what):
    call = {"x": torch.rand(2, 1, 2, 5, 4, dtype=given.get("dtype"))}
    if given.get("in_channels") == 0:
        call = {"x": None, "state": (torch.rand(1, 3, 5, 4),), "steps": 2}
    message = f"^backend='fused' does not support {what}; use 'auto' \\(falls back to 'reference'\\)$"
    fused = recurrence.build(backend="fused", **given)
    for method in (fused, fused.explain):
        with pytest.raises(NotOfferedError, match=message):
            method(**call)
    auto, plain = recurrence.build(**given), recurrence.build(backend="reference", **given)
    plain.load_state_dict(auto.state_dict())
    torch.manual_seed(1)
    expected = plain(**call)
    torch.manual_seed(1)
    torch.testing.assert_close(auto(**call), expected, rtol=0, atol=0)
    ((_, _, how),) = auto.explain(**call)
    assert (how.backend, how.reason) == ("reference", what)


def test_fused_with_mask_raises(recurrence):
    with pytest.raises(NotOfferedError, match=MASK):
        recurrence.build(backend="fused")(torch.rand(2, 1, 2, 5, 4), mask=torch.ones(2, 1, dtype=torch.bool))


@pytest.mark.parametrize("recurrence", ["conv_lstm", "conv_gru after"], indirect=True)
def test_fused_with_padding_equal_to_same_is_supported(recurrence):
    output, _ = recurrence.build(padding=1, backend="fused")(torch.rand(2, 1, 2, 5, 4))
    assert output.shape[2:] == (3, 5, 4)


@pytest.mark.parametrize("activation", ["leaky_relu", "tanh"])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("recurrence", ["traj_gru"], indirect=True)
def test_fused_traj_gru_with_supported_options_matches_reference(recurrence, activation, align_corners):
    options = {"activation": activation, "align_corners": align_corners, "flow_kernel_size": (4, 1)}
    rnn = recurrence.build(**options, backend="fused", dtype=torch.float64)
    plain = recurrence.build(**options, backend="reference", dtype=torch.float64)
    plain.load_state_dict(rnn.state_dict())
    torch.testing.assert_close(rnn(numbers(3, 1, 2, 5, 4)), plain(numbers(3, 1, 2, 5, 4)), **EXACT)


def test_auto_under_autocast_keeps_float64_and_leaves_mixed_dtypes_to_reference(recurrence):
    rnn, x = recurrence.build(dtype=torch.float64), numbers(3, 1, 2, 5, 4)
    expected = rnn(x)
    mixed, plain = recurrence.build(), recurrence.build(backend="reference")
    plain.load_state_dict(mixed.state_dict())
    for each in (mixed, plain):
        cell = each.cells[0]
        name = next(name for name, p in cell.named_parameters() if "weight" not in name)
        # 0.5 is exact in bfloat16, so that only the choice of the back end can make a difference.
        setattr(cell, name, torch.nn.Parameter(torch.full_like(getattr(cell, name), 0.5).bfloat16()))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(rnn(x), expected, **EXACT)
        torch.testing.assert_close(mixed(x.float()), plain(x.float()), rtol=0, atol=0)
        assert mixed.explain(x.float())[0].how.reason == "tensors of different dtypes"


def test_tracers_record_what_is_computed(recurrence):
    rnn, x = recurrence.build(), torch.rand(2, 1, 2, 5, 4)
    other = torch.rand_like(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # traces are deprecated, and this one is valid for one size
        traced = torch.jit.trace(rnn, x, check_trace=False)
    torch.testing.assert_close(traced(other), rnn(other))
    torch.testing.assert_close(make_fx(lambda x: rnn(x)[0])(x)(other), rnn(other)[0])


@pytest.mark.usefixtures("implementation")
def test_output_with_another_default_device_is_on_the_inputs_device(recurrence):
    rnn, x = recurrence.build(), torch.rand(2, 1, 2, 5, 4)
    with torch.no_grad(), torch.device("meta"):
        output, _ = rnn(x)
    torch.testing.assert_close(output, rnn(x)[0])


def test_auto_with_supported_call_uses_fused(recurrence, monkeypatch):
    calls, original = [], driver.run
    monkeypatch.setattr(driver, "run", lambda *args: calls.append(1) or original(*args))
    recurrence.build()(torch.rand(2, 1, 2, 5, 4))
    assert calls == [1]


def test_unknown_backend_raises(recurrence):
    with pytest.raises(ArgumentError, match=r"backend: expected one of 'auto', 'reference'.* found 'fast'"):
        recurrence.build(backend="fast")


def test_backend_for_the_same_kind_of_input_is_chosen_once(recurrence):
    rnn = recurrence.build()
    backends._unsupported.cache_clear()
    for size in (5, 6):
        rnn(torch.rand(2, 1, 2, size, 4))
    assert backends._unsupported.cache_info().misses == 1
    with torch.no_grad():
        rnn(torch.rand(2, 1, 2, 5, 4))
    assert backends._unsupported.cache_info().misses == 2


# What a call saves for the backward pass.


def saved_bytes(rnn, x, **call):
    """Run the layer and return the output, and the bytes of all memory saved, each counted once."""
    storages = {}

    def note(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output, _ = rnn(x, **call)
    return output, sum(storages.values())


def parameter_bytes(rnn):
    return sum(p.untyped_storage().nbytes() for p in rnn.parameters())


def test_conv_lstm_saves_no_weights_per_step():
    rnn, x = ConvLSTM2d(2, 16, 5), torch.rand(8, 1, 2, 3, 3)
    output, saved = saved_bytes(rnn, x, return_sequence=False)
    weights = parameter_bytes(rnn)
    assert weights > 4 * 8 * 9 * 6 * 16  # a copy of them would be noticed
    assert saved < 2 * weights
    output.sum().backward()


@pytest.mark.parametrize("return_sequence", [True, False])
@pytest.mark.parametrize(("reset", "numbers_per_channel"), [("after", 5), ("before", 4)])
def test_conv_gru_saves_only_gates_and_states(reset, numbers_per_channel, return_sequence):
    rnn, x = ConvGRU2d(2, 16, 5, reset=reset), torch.rand(8, 1, 2, 9, 9)
    output, saved = saved_bytes(rnn, x, return_sequence=return_sequence)
    weights, image = parameter_bytes(rnn), 4 * 9 * 9 * 16
    assert weights > 8 * image  # a copy of them would be noticed
    of_steps = 8 * image * numbers_per_channel  # the first state is an argument
    assert saved == of_steps + 4 * x.numel() + weights
    output.sum().backward()


def test_traj_gru_saves_no_warped_states():
    rnn, x = TrajGRU2d(1, 8, 3, num_flows=13, flow_channels=4), torch.rand(6, 2, 1, 16, 16)
    output, saved = saved_bytes(rnn, x)
    pixel = 8 + 4 + 2 * 13 + 4 * 8  # the state, the hidden layer of the flows, the flows, and the gates
    assert saved <= parameter_bytes(rnn) + 4 * x.numel() * (1 + pixel) + 4 * x[0].numel() * 8
    output.sum().backward()


def test_step_groups_of_bfloat16_have_several_steps_and_of_float32_one():
    images = torch.empty(2, 16, 16, 7)
    assert lstm._step_groups(3, images) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    many = lstm._MAX_SUMMED_PIXELS // (2 * 16 * 16)
    assert lstm._step_groups(many + 1, images.bfloat16()) == [slice(0, many), slice(many, many + 1)]
    large = torch.empty(1, lstm._MAX_SUMMED_PIXELS + 1, 1, 1, dtype=torch.bfloat16)
    assert len(lstm._step_groups(3, large)) == 3


# Explanations.


class Recorder:
    """Counts the convolution back ends, native calls and fused calls of what runs."""

    def __init__(self, monkeypatch):
        self.convolutions, self.fused = Counter(), 0
        for kind in (conv_backends.Direct, conv_backends.Matrix, winograd.Winograd, AMXStep):
            original = kind.__init__

            def init(this, *args, original=original, kind=kind):
                self.convolutions[kind.name] += 1
                original(this, *args)

            monkeypatch.setattr(kind, "__init__", init)
        original_in_float32 = conv_backends.InFloat32.__init__

        def init_in_float32(this, *args):
            before = self.convolutions.copy()
            original_in_float32(this, *args)
            self.convolutions = before + Counter(
                f"{name}, in float32" for name in (self.convolutions - before).elements()
            )

        monkeypatch.setattr(conv_backends.InFloat32, "__init__", init_in_float32)
        original_run = driver.run

        def run(*args):
            self.fused += 1
            return original_run(*args)

        monkeypatch.setattr(driver, "run", run)


LAYERS = {
    "ConvLSTM, wide": (lambda **o: ConvLSTM2d(40, 64, 3, **o), (4, 2, 40, 8, 8)),
    "ConvLSTM, narrow": (lambda **o: ConvLSTM2d(1, 2, 3, **o), (4, 2, 1, 8, 8)),
    "ConvLSTM, 1×1": (lambda **o: ConvLSTM2d(40, 64, 1, **o), (4, 2, 40, 8, 8)),
    "ConvLSTM3d": (lambda **o: ConvLSTM3d(33, 64, 3, **o), (2, 1, 33, 4, 4, 4)),
    "PeepholeLSTM": (lambda **o: PeepholeLSTM(3, [4, 5], **o), (4, 2, 3)),
    "ConvGRU": (lambda **o: ConvGRU2d(1, [64, 64], 3, **o), (4, 2, 1, 8, 8)),
    "ConvGRU before": (lambda **o: ConvGRU2d(1, 64, 3, reset="before", **o), (4, 2, 1, 8, 8)),
    "TrajGRU": (lambda **o: TrajGRU2d(1, 64, 3, **o), (4, 2, 1, 8, 8)),
    "bidirectional": (lambda **o: ConvLSTM2d(1, [2, 3], 3, bidirectional=True, **o), (4, 2, 1, 8, 8)),
    "half fused": (lambda **o: ConvLSTM2d(1, [2, 3], 3, norm=["layer", None], **o), (4, 2, 1, 8, 8)),
    "stride": (lambda **o: ConvGRU2d(1, [2, 3], 3, stride=[2, 1], **o), (4, 2, 1, 8, 8)),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "bfloat16 on a processor that is slow in it"])
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("name", LAYERS)
def test_explanation_agrees_with_what_runs(monkeypatch, name, backend, native, precision):
    if not native:
        monkeypatch.setattr(kernels, "library", lambda _: None)
    probe = Probe(float32=1, bfloat16=2 if "slow" in precision else 1)
    monkeypatch.setattr(bfloat16_probe, "measured", lambda: probe)
    build, size = LAYERS[name]
    rnn, x = build(backend=backend), torch.rand(size)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"), torch.no_grad():
        explanations = rnn.explain(x)
        recorder = Recorder(monkeypatch)
        rnn(x)
    assert len(explanations) == len(rnn.cells)
    assert [(e.layer, e.direction) for e in explanations] == [
        (layer, direction)
        for layer in range(rnn.num_layers)
        for direction in ("forward", "backward")[: rnn.directions]
    ]
    fused = [e.how for e in explanations if e.how.backend == "fused"]
    assert recorder.fused == len(fused)
    named = Counter(
        value for how in fused for part, value in how.parts.items() if part.startswith("convolution")
    )
    assert recorder.convolutions == named
    others = {v for how in fused for part, v in how.parts.items() if "convolution" not in part}
    assert others <= ({"compiled"} if kernels.library(torch.float32) else {"PyTorch"})
    for _, _, how in explanations:
        assert (how.reason is None) == (how.backend == "fused")


def test_explanation_changes_nothing(recurrence):
    rnn, x = recurrence.build(hidden_channels=[3, 3], dropout=0.5), torch.rand(4, 2, 2, 5, 4)
    torch.manual_seed(1)
    expected = rnn(x)
    torch.manual_seed(1)
    rnn.explain(x)
    torch.testing.assert_close(rnn(x), expected, rtol=0, atol=0)
    assert not any(cell._forward_pre_hooks for cell in rnn.cells)


def test_explanation_reads_as_text():
    text = str(ConvLSTM2d(1, [2, 3], 3, norm=["layer", None]).explain(torch.rand(2, 1, 1, 5, 4)))
    assert text.splitlines()[:3] == [
        "layer 0, forward: reference (proj_channels or norm)",
        "  all operations: PyTorch",
        "layer 1, forward: fused",
    ]


def test_explanation_of_masked_and_input_free_calls_follows_the_call(recurrence):
    rnn, x = recurrence.build(), torch.rand(4, 2, 2, 5, 4)
    assert rnn.explain(x, lengths=[4, 2])[0].how.reason == MASK
    _, state = rnn(x)
    (explained,) = rnn.explain(None, state, steps=2)
    assert explained.how.backend == "fused"
    assert "convolution of input" not in explained.how.parts


# Environment and import.

SWITCHED_OFF = """
import torch
from stormcell.nn import ConvLSTM2d
from stormcell.nn.ops import backends, kernels
assert not backends._is_warm
torch.manual_seed(1)
fused, plain = ConvLSTM2d(2, 3, 3, backend="fused"), ConvLSTM2d(2, 3, 3, backend="reference")
plain.load_state_dict(fused.state_dict())
x = torch.rand(4, 2, 2, 5, 6)
torch.testing.assert_close(fused(x)[0], plain(x)[0])
assert kernels.library(torch.float32) is None
assert backends._is_warm
print(fused.explain(x))
"""


def test_native_switched_off_computes_the_same_without_compiler_or_warning(tmp_path):
    environment = os.environ | {"STORMCELL_NATIVE": "0", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SWITCHED_OFF], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "gates: PyTorch\n  compiled kernels are not available: STORMCELL_NATIVE=0" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_recurrence_has_a_back_end():
    assert {recurrence.name for recurrence in RECURRENCES.values()} == backends._RECURRENCES.keys()
