import math

import pytest
import torch
from tests.nn.ops.recurrences import RECURRENCES, Recurrence

from stormcell.nn.ops import conv_backends, kernels, winograd
from stormcell.nn.ops.gru import fused as gru
from stormcell.nn.ops.gru import pointwise as gru_pointwise
from stormcell.nn.ops.gru import step as gru_step
from stormcell.nn.ops.lstm import fused as lstm
from stormcell.nn.ops.lstm import pointwise as lstm_pointwise
from stormcell.nn.ops.lstm import step as lstm_step
from stormcell.nn.ops.traj_gru import fused as traj_gru
from stormcell.nn.ops.traj_gru import warp_project


@pytest.fixture(params=list(RECURRENCES))
def recurrence(request: pytest.FixtureRequest) -> Recurrence:
    """Every recurrence."""
    return RECURRENCES[request.param]


HAS_COMPILER = pytest.mark.skipif(kernels.library(torch.float64) is None, reason="no C compiler")
IMPLEMENTATIONS = [
    pytest.param("compiled, Winograd", marks=HAS_COMPILER),
    pytest.param("compiled, direct", marks=HAS_COMPILER),
    "PyTorch",
]


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The fused back end by C code, with either kind of convolution, or by PyTorch's operations."""
    if request.param == "PyTorch":
        torch_gru, torch_lstm = gru_pointwise.TorchPointwise, lstm_pointwise.TorchPointwise
        for module in (lstm, lstm_step):
            monkeypatch.setattr(
                module, "fastest_pointwise", lambda *_, peepholes: torch_lstm(peepholes=peepholes)
            )
        for module in (gru, gru_step, traj_gru):
            monkeypatch.setattr(module, "fastest_pointwise", lambda _, *, leaky=False: torch_gru(leaky))
        sampled = lambda w, corners, dtype: warp_project.TorchWarpProject(w, dtype, corners)  # noqa: E731
        monkeypatch.setattr(traj_gru, "fastest_warp_project", sampled)
    if request.param == "compiled, Winograd":
        monkeypatch.setattr(winograd, "_MAX_COST_RATIO", math.inf)
    else:
        monkeypatch.setattr(conv_backends, "is_faster", lambda _: False)
    return request.param


@pytest.fixture
def nan_memory():
    """Fill newly allocated memory with NaN, so that an unwritten number is noticed."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
