import pytest
import torch

from stormcell.nn.ops import bfloat16_probe
from stormcell.nn.ops.bfloat16_probe import Probe
from stormcell.training.mixed_precision import lightning_precision


@pytest.mark.parametrize(("bfloat16", "name"), [(1 / 182, "32-true"), (1 / 3000, "bf16-mixed")])
def test_precision_auto_on_a_cpu_takes_what_is_measured_to_be_faster(monkeypatch, bfloat16, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(bfloat16_probe, "measured", lambda: Probe(1 / 314, bfloat16))
    assert lightning_precision("auto") == name


@pytest.mark.parametrize(("native", "name"), [(False, "32-true"), (True, "bf16-mixed")])
def test_precision_auto_on_a_gpu_takes_bfloat16_only_if_it_is_not_emulated(monkeypatch, native, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native
    )
    assert lightning_precision("auto") == name
