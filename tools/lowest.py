"""Tests Stormcell with the lowest versions of its dependencies that pyproject.toml allows.

``make lowest`` runs it in the project's environment. A bound that cannot be installed is an error as well: no
test has shown that it is right. ``UV_TORCH_BACKEND=cpu`` avoids PyTorch's libraries for CUDA.
"""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-lowest"
EXTRAS = ("nowcast", "grib", "s3", "serve")  # not onnx, which needs a newer PyTorch
# What the tests need, in the newest versions that agree with the lowest ones.
TOOLS = ("httpx", "hypothesis", "pytest")
TESTS = (
    "tests/nn/test_torch.py",
    "tests/nn/test_oracles.py",
    "tests/nn/test_masks.py",
    "tests/nn/test_hooks.py",
    "tests/models/test_encoder_forecaster.py",
    "tests/models/test_model_file.py",
    "tests/models/test_nowcaster.py",
    "tests/data/readers",
    "tests/data/test_archive.py",
    "tests/data/test_projection.py",
    "tests/forecast/test_export.py",
    "tests/forecast/test_network.py",
    "tests/maps",
    "tests/serve",
    "tests/verification/test_scores.py",
    "tests/alerts",
)
# These need versions that docs/compatibility.md names, or packages that only tests use.
NEWER = (
    "compiles_as_one_graph",
    "inductor",
    "vmap_gives_gradients_per_sample_and_ensembles and TrajGRU2d",
    "zarr_pickle_filter_of_objects",  # refused as well, in other words
)
IGNORED = ("tests/serve/test_app.py",)  # needs schemathesis


def main() -> None:
    """Install the lowest versions into an environment of their own, and run the tests there."""
    installed = ENVIRONMENT / "lowest.txt"
    python = ENVIRONMENT / "bin" / "python"
    _uv("venv", "--clear", "--python", sys.executable, ENVIRONMENT)
    lowest = ("--python", python, "--resolution", "lowest-direct", "--output-file", installed)
    extras = [f"--extra={extra}" for extra in EXTRAS]
    _uv("pip", "compile", *lowest, *extras, ROOT / "pyproject.toml")
    errors = list(_unreachable(installed.read_text("utf-8")))
    if errors:
        sys.exit("\n".join(errors))
    into = ("pip", "install", "--python", python)
    _uv(*into, "--only-binary", ":all:", "--requirement", installed, *TOOLS, "--constraint", installed)
    _uv(*into, "--no-deps", "--editable", ROOT)
    # Old versions warn of what newer ones have changed: here, a warning is not an error.
    command = [python, "-m", "pytest", "--quiet", "--override-ini", "filterwarnings="]
    chosen = [f"--ignore={path}" for path in IGNORED] + ["-k", " and ".join(f"not ({n})" for n in NEWER)]
    sys.exit(subprocess.run([*command, *chosen, *(sys.argv[1:] or TESTS)], cwd=ROOT, check=False).returncode)


def _unreachable(installed: str) -> Iterator[str]:
    """Yield an error for each lower bound in pyproject.toml that is not the version to be installed."""
    found = {
        canonicalize_name(requirement.name): Version(next(iter(requirement.specifier)).version)
        for line in installed.splitlines()
        if line[:1].isalnum()
        for requirement in [Requirement(line)]
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    stated = project["dependencies"] + [
        line for extra in EXTRAS for line in project["optional-dependencies"][extra]
    ]
    for requirement in map(Requirement, stated):
        version = found.get(canonicalize_name(requirement.name))
        if version is None:  # stormcell itself, or a package for another system
            continue
        (bound,) = requirement.specifier
        if Version(version.public) != Version(bound.version):
            yield f"pyproject.toml: {requirement}: the lowest version that can be installed is {version}"


def _uv(*words: str | Path) -> None:
    subprocess.run([Path(sys.executable).with_name("uv"), "--quiet", *words], check=True)


if __name__ == "__main__":
    main()
