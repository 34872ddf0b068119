import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import stormcell
from stormcell.errors import ArgumentError, MissingExtraError
from stormcell.models import onnx_export
from stormcell.models.nowcaster import Nowcaster
from stormcell.models.onnx_export import export_onnx


# PyTorch 2.13's ONNX exporter uses a class that PyTorch has deprecated.
@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")
def test_exported_nowcaster_equals_that_in_pytorch_for_any_batch(tmp_path):
    torch.manual_seed(0)
    nowcaster = Nowcaster(inputs=3, channels=4, detail_channels=4).eval()
    torch.nn.init.normal_(nowcaster.correction.weight, std=0.3)
    export_onnx(nowcaster, tmp_path / "n.onnx", frames=3, height=70, width=90, steps=1)
    graph = onnx.load(tmp_path / "n.onnx").graph
    constant = {node.output[0] for node in graph.node if node.op_type == "Constant"}
    assert not [node.name for node in graph.node if node.input and set(node.input) <= constant]
    session = onnxruntime.InferenceSession(tmp_path / "n.onnx")
    generator = torch.Generator().manual_seed(1)
    for batch in (1, 3):
        rate = 3 * torch.rand(batch, 3, 70, 90, generator=generator)
        rate[..., 10:20, 30:50] = torch.nan
        # Others than in the export, and one for each example.
        numbers = torch.tensor([2.0, 5.0, 10.0])[:batch], torch.tensor([0.5, 1.0, 2.0])[:batch]
        given = zip(("rate", "step_minutes", "pixel_km"), (rate, *numbers), strict=True)
        (found,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in given})
        with torch.inference_mode():
            expected = nowcaster(rate, *numbers, 1).numpy()
        assert found.shape == (batch, 1, 14, 70, 90)
        # Logits are of the order of 10, and sums of some hundred products of float32.
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)


def test_export_of_too_few_frames_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="expected 3 or more, and 1 or more, found 2, 64, 64 and 1"):
        export_onnx(Nowcaster(channels=4), tmp_path / "n.onnx", frames=2, height=64, width=64, steps=1)


def test_export_of_a_loaded_model_names_its_network(tmp_path):
    model = stormcell.load("nowcaster-1")
    with pytest.raises(ArgumentError, match="of a loaded model, found a NetworkForecaster"):
        export_onnx(model, tmp_path / "n.onnx", frames=3, height=64, width=64, steps=1)


def test_export_without_its_packages_names_them(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install \"stormcell\[onnx\]\""):
        export_onnx(Nowcaster(channels=4), tmp_path / "n.onnx", frames=3, height=64, width=64, steps=1)
