import json
import os
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from stormcell.data.scaling import LogScaling
from stormcell.errors import ModelFileError
from stormcell.models import model_file
from stormcell.models.nowcaster import Nowcaster


@pytest.fixture
def nowcaster() -> Nowcaster:
    torch.manual_seed(0)
    return Nowcaster(LogScaling(knee=0.2), steps=6, hidden_channels=[4], kernel_size=3, patch_size=2)


def test_what_is_saved_comes_back(tmp_path, nowcaster, card_of):
    path = tmp_path / "model.safetensors"
    model_file.save(path, nowcaster, card_of(nowcaster))
    loaded, found, digest = model_file.load(path)
    rate = torch.rand(1, 3, 9, 9)
    assert torch.equal(loaded(rate, steps=2), nowcaster(rate, steps=2))
    assert found == card_of(nowcaster)
    assert len(digest) == 64
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_the_file(tmp_path, nowcaster, card_of):
    before = os.umask(0o022)
    try:
        model_file.save(tmp_path / "model.safetensors", nowcaster, card_of(nowcaster))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o644


def tampered(path, nowcaster, card_of, change) -> None:
    model_file.save(path, nowcaster, card_of(nowcaster))
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["stormcell"])
    change(header, tensors)
    save_file(tensors, path, metadata={"stormcell": json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, _: header.pop("inputs"), "inputs"),
        (lambda header, _: header.update(surprise=1), "surprise"),
        (lambda header, _: header.update(format=2), "format"),
        (lambda header, _: header["arguments"].update(hidden_channels=[1000]), "size mismatch"),
        (lambda header, _: header["arguments"].update(colour="red"), "colour"),
        (lambda _, tensors: tensors.pop("network.head.bias"), "network.head.bias"),
        (lambda _, tensors: tensors.update(extra=torch.zeros(1)), "extra"),
        (lambda header, _: header["scaling"].update(knee=-1), "knee"),
    ],
)
def test_a_header_that_lies_is_found_out(tmp_path, nowcaster, card_of, change, message):
    path = tmp_path / "model.safetensors"
    tampered(path, nowcaster, card_of, change)
    with pytest.raises(ModelFileError) as caught:
        model_file.load(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a model", (10**15).to_bytes(8, "little") + b"{}"])
def test_what_is_not_safetensors_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="expected a safetensors file"):
        model_file.load(path)


def test_a_stranger_s_safetensors_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ModelFileError, match="in its header, found none"):
        model_file.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelFileError, match="there is no such file"):
        model_file.load(tmp_path / "nowhere.safetensors")
