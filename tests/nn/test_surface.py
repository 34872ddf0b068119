import inspect
import re
import subprocess
import sys

import pytest

from stormcell import nn
from stormcell.nn.recurrent import Recurrent

# Blocks all packages but these and what they themselves require.
ALONE = """
import re, sys
from importlib import metadata

def needed(name, found):
    if name not in found:
        found.add(name)
        for line in metadata.requires(name) or []:
            if "extra ==" not in line:
                other = re.match(r"[A-Za-z0-9._-]+", line)[0].lower()
                try:
                    needed(other, found)
                except metadata.PackageNotFoundError:
                    pass  # for another platform
    return found

def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()

allowed = {plain(name) for name in needed("torch", set()) | needed("numpy", set()) | {"stormcell"}}
modules = metadata.packages_distributions()
blocked = {module for module, names in modules.items() if not allowed & set(map(plain, names))}

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(name + " is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""
STEP = """
import torch
from stormcell.nn import ConvLSTM2d, ConvGRU1d, TrajGRU2d, PeepholeLSTM, foreign

for layer in ConvLSTM2d(1, 2, 3), ConvGRU1d(1, 2, 3), TrajGRU2d(1, 2, 3, num_flows=1), PeepholeLSTM(1, 2):
    output, _ = layer(torch.zeros(2, 1, 1, *(4, 5)[: len(layer.cell.space)]))
    output.sum().backward()
print(sorted({"xarray", "keras", "scipy", "safetensors", "pytest"} & blocked))
"""


PUBLIC = [value for name, value in vars(nn).items() if inspect.isclass(value)]


@pytest.mark.parametrize("layer", [layer for layer in PUBLIC if issubclass(layer, Recurrent)])
def test_layer_has_its_cell_in_the_namespace(layer):
    name, axes = re.fullmatch(r"(\w+?)(\dd)?", layer.__name__).groups()
    assert layer.cell is getattr(nn, f"{name}Cell{axes or ''}")
    assert len(layer.cell.space) == int((axes or "0")[0])


@pytest.mark.parametrize("public", PUBLIC)
def test_class_docstring_has_an_example(public):
    assert ">>> " in public.__doc__
    assert public.__module__.startswith("stormcell.nn.")


def test_layers_run_with_only_torch_and_numpy():
    done = subprocess.run([sys.executable, "-c", ALONE + STEP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['keras', 'pytest', 'safetensors', 'scipy', 'xarray']"
