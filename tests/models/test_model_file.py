import hashlib
import json
import os
import shutil
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import stormcell
from stormcell.data.scaling import LogScaling
from stormcell.errors import ArgumentError, ModelFileError
from stormcell.forecast.network import NetworkForecaster
from stormcell.models import (
    EncoderForecaster,
    FCLSTMForecaster,
    FrameAverageClassifier,
    MultiscaleForecaster,
    NextFrameForecaster,
    SequenceClassifier,
    model_file,
    registry,
    shipped_models,
)
from stormcell.models.nowcaster import Nowcaster

# A network of every class in the registry but the nowcaster, each with options that are not the defaults.
NETWORKS = [
    EncoderForecaster(1, [4, 3], (3, 5), 2, peephole=None),
    FCLSTMForecaster(1, (8, 8), [6], feedback="sigmoid"),
    NextFrameForecaster(1, [4], (3, 5), 2, norm="layer-pixel", spatial_size=(8, 8)),
    MultiscaleForecaster.moving_mnist("traj_gru", hidden_channels=[4, 6, 6], num_flows=2),
    SequenceClassifier(1, [4], (3, 5), 5, "last", (8, 8), 2),
    FrameAverageClassifier(1, [4, 3], 3, 5, 2),
]


@pytest.fixture
def nowcaster() -> Nowcaster:
    torch.manual_seed(0)
    return Nowcaster(LogScaling(knee=0.2), steps=6, hidden_channels=[4], kernel_size=(3, 5), patch_size=2)


@pytest.fixture
def path(tmp_path, nowcaster, card_of):
    path = tmp_path / "model.safetensors"
    model_file.save(path, nowcaster, card_of(nowcaster))
    return path


@pytest.fixture
def table(monkeypatch, tmp_path, path):
    """Two shipped models, in the package and in the cache."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    shipped = {
        "rain-a": shipped_models.Shipped("a.safetensors", digest, "package"),
        "rain-b": shipped_models.Shipped("b.safetensors", digest, "cache"),
    }
    for place in ("package", "cache"):
        (tmp_path / place).mkdir()
    shutil.copy(path, tmp_path / "package" / "a.safetensors")
    shutil.copy(path, tmp_path / "cache" / "b.safetensors")
    monkeypatch.setattr(shipped_models, "SHIPPED", shipped)
    monkeypatch.setattr(shipped_models, "directory", lambda place: tmp_path / place)
    return shipped


def card_of_pixels(network) -> model_file.Card:
    return model_file.Card(
        model=type(network).__name__,
        title="ConvLSTM 3×5",
        arguments=network.arguments,
        units=model_file.Units(inputs="1", outputs="logit"),
        inputs=3,
        steps=None if "Classifier" in type(network).__name__ else 2,
        settings={"experiment": "moving-mnist"},
        data_hash="d" * 64,
        data_source={"title": "MNIST", "license": "CC BY-SA 3.0"},
        scores={},
        versions=model_file.versions(),
    )


def test_model_file_of_a_nowcaster_round_trip_is_exact(tmp_path, path, nowcaster, card_of):
    loaded, card, digest = model_file.load(path)
    rate = torch.rand(1, 3, 9, 9)
    assert torch.equal(loaded(rate, steps=2), nowcaster(rate, steps=2))
    assert card == card_of(nowcaster) == model_file.read_card(path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(tmp_path.iterdir()) == [path]


def test_load_of_a_file_of_format_2_describes_its_one_archive(path, nowcaster, card_of):
    """The header is written as format 2 had it."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["stormcell"])
    header |= {
        "format": 2,
        "nowcasting": {
            "coordinates": "fixed",
            "time_step_seconds": 120,
            "pixel_size": [0.01, 0.02],
            "pixel_unit": "degree",
        },
        "blocks": {"test": ["2024-06-01T03:00:00", "2024-06-01T04:00:00"]},
        "data_source": {"license": "CC0-1.0"},
    }
    save_file(tensors, path, metadata={"stormcell": json.dumps(header)})
    card = model_file.read_card(path)
    assert card.format == 3
    assert card.nowcasting == model_file.Nowcasting(
        coordinates="fixed",
        archives=(
            model_file.TrainingData(
                time_step_seconds=120,
                pixel_size=(0.01, 0.02),
                pixel_unit="degree",
                blocks={"test": ("2024-06-01T03:00:00", "2024-06-01T04:00:00")},
                data_hash="d" * 64,
                data_source={"license": "CC0-1.0"},
            ),
        ),
    )
    assert card.arguments == card_of(nowcaster).arguments
    assert stormcell.load(path).blocks == ({"test": ("2024-06-01T03:00:00", "2024-06-01T04:00:00")},)


def test_registry_names_are_the_names_of_its_classes():
    assert set(registry.MODULES) == {"Nowcaster", *(type(network).__name__ for network in NETWORKS)}
    for name in registry.MODULES:
        assert registry.network_class(name).__name__ == name


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: type(network).__name__)
def test_load_of_a_network_of_pixels_runs_it_without_gradients(tmp_path, network):
    path = tmp_path / "model.safetensors"
    card = card_of_pixels(network)
    model_file.save(path, network, card)
    model = stormcell.load(path)
    assert isinstance(model, model_file.LoadedModel)
    assert model.card == card
    assert model.network.arguments == network.arguments
    x = torch.rand(1, 3, 1, 8, 8)
    steps = () if card.steps is None else (card.steps,)
    found = model(x, *steps)
    with torch.inference_mode():
        expected = network.eval()(x, *steps)
    # Tensors may be aligned otherwise in memory, so that sums of some hundred terms have another order.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for name, value in network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], value), name
    assert found.is_inference()
    assert not model.network.training


def test_load_of_a_nowcaster_is_a_forecaster_on_the_device(path):
    model = stormcell.load(path, device="cpu")
    assert isinstance(model, NetworkForecaster)
    assert model.device == torch.device("cpu")
    assert model.title == "ConvLSTM"


def test_loaded_model_on_another_device_takes_and_returns_tensors_of_the_cpu(path):
    """The meta device stands in for a GPU: it computes shapes only, and its tensors cannot be mixed."""
    network, card, digest = model_file.load(path, device="meta")
    assert all(parameter.is_meta for parameter in network.parameters())
    with pytest.raises(NotImplementedError, match="meta"):  # the copy of the output to the CPU
        model_file.LoadedModel(network, card, digest)(torch.rand(1, 3, 9, 9), steps=2)


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_load_with_an_unknown_device_names_it(path, device):
    with pytest.raises(
        ArgumentError, match=f'^device: expected one that PyTorch can use, found "{device}": '
    ):
        stormcell.load(path, device=device)


def test_network_forecaster_given_another_network_names_it(tmp_path):
    path = tmp_path / "model.safetensors"
    model_file.save(path, NETWORKS[0], card_of_pixels(NETWORKS[0]))
    with pytest.raises(ModelFileError, match="expected a Nowcaster, found a EncoderForecaster"):
        NetworkForecaster.from_file(path)


def test_model_file_save_leaves_the_usual_permissions(tmp_path, nowcaster, card_of):
    before = os.umask(0o022)
    try:
        model_file.save(tmp_path / "model.safetensors", nowcaster, card_of(nowcaster))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, _: header.pop("inputs"), "inputs"),
        (lambda header, _: header.update(surprise=1), "surprise"),
        (lambda header, _: header.update(format=1), "format"),
        (lambda header, _: header.update(model="os.system"), "model: expected one of Nowcaster, Encoder"),
        (lambda header, _: header.update(scaling=None), "scaling: expected"),
        (lambda header, _: header.update(nowcasting=None), "nowcasting: expected"),
        (lambda header, _: header["arguments"].update(hidden_channels=[1000]), "size mismatch"),
        (lambda header, _: header["arguments"].update(hidden_channels=[10**9]), "overflowed"),
        (lambda header, _: header["arguments"].update(colour="red"), "colour"),
        (lambda _, tensors: tensors.pop("network.head.bias"), "network.head.bias"),
        (lambda _, tensors: tensors.update(extra=torch.zeros(1)), "extra"),
        (lambda header, _: header["scaling"].update(knee=-1), "knee"),
    ],
)
def test_load_of_a_card_that_does_not_fit_the_weights_is_refused(path, change, message):
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["stormcell"])
    change(header, tensors)
    save_file(tensors, path, metadata={"stormcell": json.dumps(header)})
    with pytest.raises(ModelFileError) as caught:
        model_file.load(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a model", (10**15).to_bytes(8, "little") + b"{}"])
def test_load_of_other_bytes_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="expected a safetensors file"):
        model_file.load(path)


def test_load_of_a_folder_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="expected a model file or a run"):
        model_file.load(tmp_path)


def test_load_of_safetensors_without_a_card_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ModelFileError, match="in its header, found none"):
        model_file.load(path)


def test_load_of_an_unknown_name_says_what_was_expected():
    with pytest.raises(ModelFileError, match=r"^rain-z: expected a model file, found no such file$"):
        stormcell.load("rain-z")


def test_shipped_without_models_is_empty():
    assert stormcell.models.shipped() == {}


@pytest.mark.usefixtures("table")
def test_shipped_lists_cards_by_name_and_the_default_first(nowcaster, card_of):
    found = stormcell.models.shipped()
    assert list(found) == ["rain-a", "rain-b"]
    assert set(map(str, found.values())) == {str(card_of(nowcaster))}


@pytest.mark.parametrize("name", ["rain-a", "rain-b"])
def test_load_of_a_shipped_name_is_its_model(table, path, name):
    assert stormcell.load(name).digest == table[name].sha256
    assert stormcell.load(path).digest == table[name].sha256


@pytest.mark.parametrize("call", [stormcell.load, lambda _: stormcell.models.shipped()])
def test_load_of_a_shipped_model_with_another_hash_is_refused(table, tmp_path, call):
    file = tmp_path / "package" / "a.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(ModelFileError) as caught:
        call("rain-a")
    assert str(caught.value) == f"{file}: expected SHA-256 {table['rain-a'].sha256}, found {found}"


@pytest.mark.usefixtures("table")
def test_load_of_a_shipped_model_without_its_file_is_refused(tmp_path):
    (tmp_path / "cache" / "b.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"^rain-b: expected its model file at .*, found no such file$"):
        stormcell.load("rain-b")


@pytest.mark.usefixtures("table")
def test_load_of_an_unknown_name_lists_the_shipped_models():
    message = (
        "^rain-z: expected a model file or one of the shipped models rain-a, rain-b, found no such file$"
    )
    with pytest.raises(ModelFileError, match=message):
        stormcell.load("rain-z")


def test_shipped_directory_of_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("STORMCELL_CACHE", raising=False)
    assert shipped_models.directory("cache") == tmp_path / "stormcell"
    monkeypatch.setenv("STORMCELL_CACHE", str(tmp_path / "own"))
    assert shipped_models.directory("cache") == tmp_path / "own"


def test_model_file_load_of_a_run_folder_loads_the_model_in_it(path):
    assert model_file.load(path.parent)[2] == model_file.load(path)[2]
    assert stormcell.load(str(path.parent)).digest == model_file.load(path)[2]


def test_model_file_load_of_another_folder_raises(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ModelFileError, match=r"expected a model file or a run with model\.safetensors"):
        model_file.load(tmp_path / "other")
