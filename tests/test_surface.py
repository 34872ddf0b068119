"""The promised names, and nothing that was not meant to be promised."""

import ast
from pathlib import Path

import stormcell
import stormcell.models
import stormcell.nn


def public(module) -> set[str]:
    """What a module's own file names for others: ``import x as x``, definitions and constants."""
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


def test_the_package():
    assert public(stormcell) == {"StormcellError", "load"}


def test_the_layers():
    assert public(stormcell.nn) == {"ConvLSTM2d", "ConvLSTMCell2d"}


def test_the_models():
    assert public(stormcell.models) == {"EncoderForecaster"}
