"""The public names are exactly the promised ones."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import stormcell
import stormcell.models
import stormcell.nn
import stormcell.nn.foreign


def public(module) -> set[str]:
    """Return the public names of a module's file: ``import x as x``, definitions and constants."""
    tree = ast.parse(Path(module.__file__).read_text())
    names = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname for alias in node.names if alias.asname == alias.name}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if name and not name.startswith("_")}


def test_surface_of_the_package():
    assert public(stormcell) == {"StormcellError", "load"}


def test_surface_of_the_layers():
    kinds = ("ConvLSTM", "ConvLSTMCell", "ConvGRU", "ConvGRUCell")
    images = {f"{kind}{axes}d" for kind in kinds for axes in (1, 2, 3)}
    others = {"TrajGRU2d", "TrajGRUCell2d", "PeepholeLSTM", "PeepholeLSTMCell"}
    assert public(stormcell.nn) == images | others


def test_surface_of_foreign_weights():
    names = {"from_keras", "to_keras", "from_torch", "to_torch", "from_tf1"}
    assert public(stormcell.nn.foreign) == names


def test_surface_of_the_models():
    forecasters = {"EncoderForecaster", "FCLSTMForecaster", "MultiscaleForecaster", "NextFrameForecaster"}
    classifiers = {"SequenceClassifier", "FrameAverageClassifier"}
    schedules = {"FreeRunning", "TeacherForcing", "ScheduledSampling", "ReverseScheduledSampling"}
    assert public(stormcell.models) == forecasters | classifiers | schedules | {"from_checkpoint", "shipped"}


def test_surface_packages_are_imported_when_they_are_asked_for():
    code = "import stormcell; print(list(stormcell.models.shipped()), stormcell.nn.ConvLSTM2d.__name__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "['nowcaster-1'] ConvLSTM2d\n"
    with pytest.raises(AttributeError, match="module 'stormcell' has no attribute 'nothing'"):
        _ = stormcell.nothing
