"""What each floor may stand on, seen from a fresh interpreter."""

import subprocess
import sys

import pytest

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
import importlib, pkgutil

for room in {rooms}:
    package = importlib.import_module(room)
    for module in pkgutil.walk_packages(package.__path__, room + "."):
        importlib.import_module(module.name)
"""


def imports(rooms: list[str], without: list[str]) -> None:
    code = BLOCK.format(names=set(without), rooms=rooms)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_data_motion_and_verification_do_without_torch():
    imports(["stormcell.data", "stormcell.motion", "stormcell.verification"], without=["torch"])


def test_the_layers_need_torch_and_numpy_alone():
    extras = [
        "xarray",
        "zarr",
        "pandas",
        "scipy",
        "cv2",
        "lightning",
        "pydantic",
        "typer",
        "rich",
        "matplotlib",
    ]
    imports(["stormcell.nn"], without=extras)


@pytest.mark.parametrize("words", ["import stormcell", "import stormcell.cli"])
def test_nothing_heavy_is_imported_before_it_is_needed(words):
    heavy = {"torch", "numpy", "xarray", "zarr", "lightning", "matplotlib", "pandas", "cv2"}
    code = f"{words}; import sys; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
