"""What each floor may stand on, seen from a fresh interpreter."""

import subprocess
import sys

import pytest

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(name + " is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""
WALK = """
import importlib, pkgutil

for room in {rooms}:
    package = importlib.import_module(room)
    for module in pkgutil.walk_packages(package.__path__, room + "."):
        if module.name != "stormcell.nn.ops.triton_gates":  # whoever imports it does without, if need be
            importlib.import_module(module.name)
"""
EXTRAS = ["xarray", "zarr", "pandas", "scipy", "cv2", "lightning", "pydantic", "typer", "rich", "matplotlib"]


def run(code: str, without: list[str]) -> None:
    code = BLOCK.format(names=set(without)) + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_data_motion_and_verification_do_without_torch():
    rooms = ["stormcell.data", "stormcell.motion", "stormcell.verification"]
    run(WALK.format(rooms=rooms), without=["torch"])


def test_the_layers_need_torch_and_numpy_alone():
    run(WALK.format(rooms=["stormcell.nn"]), without=EXTRAS)


def test_the_paper_s_network_comes_with_the_layers():
    run("from stormcell.models import EncoderForecaster", without=EXTRAS)


def test_loading_a_nowcaster_without_its_packages_names_the_extra():
    run(
        "import stormcell\n"
        "try:\n    stormcell.load('model.safetensors')\n"
        "except stormcell.StormcellError as error:\n    assert 'stormcell[nowcast]' in str(error)\n"
        "else:\n    raise AssertionError",
        without=EXTRAS,
    )


@pytest.mark.parametrize("words", ["import stormcell", "import stormcell.cli"])
def test_nothing_heavy_is_imported_before_it_is_needed(words):
    heavy = {"torch", "numpy", "xarray", "zarr", "lightning", "matplotlib", "pandas", "cv2"}
    code = f"{words}; import sys; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
