import inspect
import subprocess
import sys

from stormcell import nn


def test_these_are_the_public_names():
    assert {name for name, _ in inspect.getmembers(nn, inspect.isclass)} == {"ConvLSTM2d", "ConvLSTMCell2d"}


def test_it_imports_nothing_that_the_layers_do_not_need():
    heavy = {"xarray", "zarr", "cv2", "scipy", "lightning", "pydantic", "matplotlib", "pandas"}
    code = f"import sys, stormcell.nn; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
