import hashlib
import json
import os
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import stormcell
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
    made = Nowcaster(
        inputs=5, thresholds=(0.1, 1.0, 10.0), channels=4, detail_channels=3, encoder="convolution"
    )
    torch.nn.init.normal_(made.correction.weight)
    return made


@pytest.fixture
def path(tmp_path, nowcaster, card_of):
    path = tmp_path / "model.safetensors"
    model_file.save(path, nowcaster, card_of(nowcaster))
    return path


@pytest.fixture
def table(monkeypatch, tmp_path, path):
    """Two shipped models, and their SHA-256 by name."""
    monkeypatch.setattr(shipped_models, "FOLDER", tmp_path / "data")
    added = {name: shipped_models.add_shipped(name, path) for name in ("rain-a", "rain-b")}
    return {name: hashlib.sha256(one.read_bytes()).hexdigest() for name, one in added.items()}


@pytest.fixture
def nothing_shipped(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped_models, "FOLDER", tmp_path / "none")


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
    arguments = torch.rand(1, 3, 9, 9), torch.tensor([5.0]), torch.tensor([1.0]), 2
    with torch.inference_mode():
        assert torch.equal(loaded(*arguments), nowcaster(*arguments))
    assert card == card_of(nowcaster) == model_file.read_card(path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("version", [2, 3])
def test_load_of_a_nowcaster_of_an_older_format_is_refused(path, version):
    """The header is written as these formats had it."""
    archive = {"time_step_seconds": 120, "pixel_size": [0.01, 0.02], "pixel_unit": "degree"}
    rewrite(
        path,
        lambda header: header.update(
            format=version,
            scaling={"knee": 0.1, "largest": 100.0},
            steps=6,
            nowcasting={"coordinates": "moving"} | (archive if version == 2 else {"archives": [archive]}),
            arguments={"steps": 6, "hidden_channels": [4], "kernel_size": [3], "patch_size": 2},
            **({"blocks": {"test": ["2024-06-01T03:00:00", "2024-06-01T04:00:00"]}} if version == 2 else {}),
        ),
    )
    for call in (model_file.load, model_file.read_card, stormcell.load):
        with pytest.raises(ModelFileError) as caught:
            call(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "a nowcaster of an earlier version of Stormcell; train it again" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("network", [0, 4])
def test_load_of_another_network_of_an_older_format_runs_it(tmp_path, version, network):
    path, network = tmp_path / "model.safetensors", NETWORKS[network]
    model_file.save(path, network, card_of_pixels(network))
    older = {"scaling": None} | ({"blocks": {}} if version == 2 else {})
    rewrite(path, lambda header: header.update(format=version, **older))
    model = stormcell.load(path)
    assert model.card == card_of_pixels(network)
    for name, value in network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], value), name


def rewrite(path, change) -> None:
    """Change the header of a model file."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["stormcell"])
    change(header)
    save_file(tensors, path, metadata={"stormcell": json.dumps(header)})


def test_load_gives_weights_that_are_aligned_in_memory(path):
    """Otherwise a forecast in another process can differ in the last bits."""
    network, _, _ = model_file.load(path)
    assert all(parameter.data_ptr() % 64 == 0 for parameter in network.parameters())


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
    assert model.title == "nowcaster"


def test_loaded_model_on_another_device_takes_and_returns_tensors_of_the_cpu(tmp_path):
    """The meta device stands in for a GPU: it computes shapes only, and its tensors cannot be mixed."""
    model_file.save(tmp_path / "pixels", NETWORKS[2], card_of_pixels(NETWORKS[2]))
    network, card, digest = model_file.load(tmp_path / "pixels", device="meta")
    assert all(parameter.is_meta for parameter in network.parameters())
    with pytest.raises(NotImplementedError, match="meta"):  # the copy of the output to the CPU
        model_file.LoadedModel(network, card, digest)(torch.rand(1, 3, 1, 8, 8), 2)


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
        (lambda header, _: header.update(format=5), "format"),
        (lambda header, _: header.update(model="os.system"), "model: expected one of Nowcaster, Encoder"),
        (lambda header, _: header.update(scaling={"knee": 0.1}), "scaling"),
        (lambda header, _: header["nowcasting"].update(archives=[]), "archives"),
        (lambda header, _: header["arguments"].update(channels=1000), "size mismatch"),
        (lambda header, _: header["arguments"].update(channels=10**9), "overflowed"),
        (lambda header, _: header["arguments"].update(channels=-1), "negative"),
        (lambda header, _: header["arguments"].update(inputs=2), "inputs: expected 3 or more, found 2"),
        (lambda header, _: header["arguments"].update(thresholds=[1.0, 0.1]), "ascending"),
        (lambda header, _: header["arguments"].update(encoder="gru"), "encoder"),
        (lambda header, _: header["arguments"].update(colour="red"), "colour"),
        (lambda _, tensors: tensors.pop("correction.bias"), "correction.bias"),
        (lambda _, tensors: tensors.update(extra=torch.zeros(1)), "extra"),
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


@pytest.mark.usefixtures("nothing_shipped")
def test_load_of_an_unknown_name_says_what_was_expected():
    with pytest.raises(ModelFileError, match=r"^rain-z: expected a model file, found no such file$"):
        stormcell.load("rain-z")


@pytest.mark.usefixtures("nothing_shipped")
def test_shipped_without_models_is_empty():
    assert stormcell.models.shipped() == {}


@pytest.mark.usefixtures("table")
def test_shipped_lists_cards_by_name_and_the_default_first(nowcaster, card_of):
    found = stormcell.models.shipped()
    assert list(found) == ["rain-a", "rain-b"]
    assert found == {name: card_of(nowcaster, title=name) for name in found}


@pytest.mark.parametrize("name", ["rain-a", "rain-b"])
def test_load_of_a_shipped_name_is_its_model(table, path, name):
    shipped, own = stormcell.load(name), stormcell.load(path)
    assert (shipped.digest, shipped.title, own.title) == (table[name], name, "nowcaster")
    for key, value in own.nowcaster.state_dict().items():
        assert torch.equal(shipped.nowcaster.state_dict()[key], value), key


@pytest.mark.parametrize("call", [stormcell.load, lambda _: stormcell.models.shipped()])
def test_load_of_a_shipped_model_with_another_hash_is_refused(table, tmp_path, call):
    file = tmp_path / "data" / "rain-a.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(ModelFileError) as caught:
        call("rain-a")
    assert str(caught.value) == f"{file}: expected SHA-256 {table['rain-a']}, found {found}"


@pytest.mark.usefixtures("table")
def test_load_of_a_shipped_model_without_its_file_is_refused(tmp_path):
    (tmp_path / "data" / "rain-b.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"^rain-b: expected its model file at .*, found no such file$"):
        stormcell.load("rain-b")


@pytest.mark.usefixtures("table")
def test_load_of_an_unknown_name_lists_the_shipped_models():
    message = (
        "^rain-z: expected a model file or one of the shipped models rain-a, rain-b, found no such file$"
    )
    with pytest.raises(ModelFileError, match=message):
        stormcell.load("rain-z")


def test_shipped_models_are_those_of_the_table():
    """The model that is installed with Stormcell forecasts, and knows what it was trained on."""
    for name, card in stormcell.models.shipped().items():
        assert stormcell.load(name).card == card
        assert (card.model, card.title) == ("Nowcaster", name)
        assert (shipped_models.FOLDER / f"{name}.safetensors").stat().st_size < 5e6
        assert all(archive.data_source for archive in card.nowcasting.archives)


def test_model_file_load_of_a_run_folder_loads_the_model_in_it(path):
    assert model_file.load(path.parent)[2] == model_file.load(path)[2]
    assert stormcell.load(str(path.parent)).digest == model_file.load(path)[2]


def test_model_file_load_of_another_folder_raises(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ModelFileError, match=r"expected a model file or a run with model\.safetensors"):
        model_file.load(tmp_path / "other")
