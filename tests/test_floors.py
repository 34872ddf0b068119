"""What each room may import: as an allow-list over the code, and in a fresh interpreter."""

import subprocess
import sys
from collections.abc import Iterator

import grimp
import pytest

# Rooms, or modules of them, and packages that each room may import. Python's own are allowed everywhere.
# The order of the floors is in pyproject.toml.
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    "errors": (set(), set()),
    "atomic": ({"errors"}, set()),
    "motion": ({"errors"}, {"cv2", "numpy", "scipy"}),
    "data": (
        {"errors", "atomic"},
        {
            "PIL",
            "cv2",
            "dask",
            "distributed",
            "eccodes",
            "google_crc32c",
            "h5py",
            "numcodecs",
            "numpy",
            "obstore",
            "packaging",
            "pandas",
            "pint",
            "pyproj",
            "pysteps",
            "rasterio",
            "scipy",
            "xarray",
            "zarr",
        },
    ),
    "nn": ({"errors"}, {"numpy", "torch", "triton"}),
    "models": ({"errors", "atomic", "nn"}, {"onnxscript", "pydantic", "safetensors", "torch"}),
    "forecast": (
        {"errors", "atomic", "models", "data", "motion", "nn.ops.buffer_pool", "nn.ops.kernels"},
        {"cv2", "dask", "numpy", "rasterio", "scipy", "torch", "xarray", "zarr"},
    ),
    "maps": ({"errors", "data"}, {"PIL", "exactextract", "numpy", "pyproj"}),
    "published": ({"errors", "atomic", "data", "maps"}, {"numpy", "pydantic", "pyproj", "xarray"}),
    "alerts": (
        {"errors", "data.grid", "maps", "published"},
        {"numpy", "pydantic", "pyproj", "yaml"},
    ),
    "live": (
        {"alerts", "errors", "atomic", "data", "forecast", "maps", "published", "verification"},
        {"h5py", "numpy", "safetensors", "xarray"},
    ),
    "serve": (
        {"errors", "data.grid", "data.projection", "maps", "published"},
        {
            "covjson_pydantic",
            "edr_pydantic",
            "fastapi",
            "numpy",
            "prometheus_client",
            "pydantic",
            "pydantic_core",
            "pyproj",
            "starlette",
            "uvicorn",
            "xarray",
        },
    ),
    "verification": (
        {
            "errors",
            "atomic",
            "data",
            "forecast.contract",
            "forecast.frames",
            "forecast.requested",
            "forecast.probabilistic",
            "motion.band_power",
        },
        {"PIL", "cv2", "jinja2", "matplotlib", "numpy", "safetensors", "scipy", "scores", "xarray"},
    ),
    "training": (
        {"errors", "atomic", "data", "motion", "models", "nn.ops.bfloat16_probe", "verification"},
        {"lightning", "numpy", "pydantic", "rich", "torch", "xarray", "yaml"},
    ),
    "experiments": (
        {"errors", "atomic", "data", "motion", "nn", "models", "verification", "training"},
        {
            "PIL",
            "cv2",
            "matplotlib",
            "numpy",
            "rich",
            "scipy",
            "scores",
            "torch",
            "xarray",
        },
    ),
    "cli": (
        {
            "alerts",
            "errors",
            "atomic",
            "data",
            "forecast",
            "verification",
            "training",
            "experiments",
            "live",
            "serve",
        },
        {"numpy", "rich", "typer", "xarray"},
    ),
}

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(name + " is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""
IMPORT_ALL = """
import importlib, pkgutil

for name in {rooms}:
    room = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(room, "__path__", []), name + "."):
        if "triton" not in module.name:  # Triton is optional, and so are the modules that import it
            importlib.import_module(module.name)
"""
EXTRAS = ["xarray", "zarr", "pandas", "scipy", "cv2", "lightning", "pydantic", "typer", "rich", "matplotlib"]


def imports() -> Iterator[tuple[str, str, str]]:
    """Yield (room, importing module, imported name without "stormcell.") for every import across rooms."""
    graph = grimp.build_graph("stormcell", include_external_packages=True, cache_dir=None)
    for module in sorted(graph.modules):
        package, _, inside = module.partition(".")
        room = inside.partition(".")[0]
        if package != "stormcell" or room in ("", "__main__"):
            continue
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            name = imported.removeprefix("stormcell.")
            if name.partition(".")[0] not in {room, *sys.stdlib_module_names}:
                yield room, module, name


def run(code: str, without: list[str]) -> None:
    code = BLOCK.format(names=set(without)) + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_rooms_import_only_what_they_are_allowed_to():
    found = list(imports())
    for room, module, name in found:
        assert room in ALLOWED, f"{module}: add the room {room} to the floors and to this list"
        inside, outside = ALLOWED[room]
        # The package itself has only its version, and the names that it re-exports.
        allowed = any(name == one or name.startswith(f"{one}.") for one in inside | outside | {"stormcell"})
        assert allowed, f"{module} imports {name}, which is not on the list of {room}"
    assert {room for room, _, _ in found} == ALLOWED.keys() - {"errors"}


def test_rooms_without_torch_import_with_torch_blocked():
    rooms = [
        *(f"stormcell.{room}" for room in ("alerts", "data", "motion", "maps", "published", "serve")),
        "stormcell.verification",
        "stormcell.forecast.contract",
    ]
    run(IMPORT_ALL.format(rooms=rooms), without=["torch"])


def test_layers_import_with_extras_blocked():
    run(IMPORT_ALL.format(rooms=["stormcell.nn"]), without=EXTRAS)


def test_encoder_forecaster_imports_with_extras_blocked():
    run("from stormcell.models import EncoderForecaster", without=EXTRAS)


def test_load_without_the_packages_of_nowcasting_names_the_extra():
    run(
        "import stormcell\n"
        "try:\n    stormcell.load('model.safetensors')\n"
        "except stormcell.StormcellError as error:\n    assert 'stormcell[nowcast]' in str(error)\n"
        "else:\n    raise AssertionError",
        without=EXTRAS,
    )


@pytest.mark.parametrize("statement", ["import stormcell", "import stormcell.cli.main"])
def test_import_of_the_package_and_its_command_line_imports_nothing_heavy(statement):
    heavy = {"torch", "numpy", "xarray", "zarr", "lightning", "matplotlib", "pandas", "cv2"}
    code = f"{statement}; import sys; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
