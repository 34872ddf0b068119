"""Tests Stormcell with the lowest versions of its dependencies that pyproject.toml allows.

``make lowest`` runs it in the project's environment. There is an environment for each group below, as not all
lowest versions go together: ``tools/lowest.py onnx`` tests one group. A bound that cannot be installed is an
error as well: no test has shown that it is right. ``UV_TORCH_BACKEND=cpu`` takes PyTorch without CUDA.

What only developers need has the versions of the lock files as bounds, which all other make targets test.
"""

import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]


class Group(NamedTuple):
    """Bounds that are tested together."""

    extras: tuple[str, ...]
    tools: tuple[str, ...]  # what the tests need beside them, in the newest versions that fit
    tests: tuple[str, ...]
    left_out: tuple[str, ...] = ()  # expressions of pytest's option -k
    ignored: tuple[str, ...] = ()  # files
    compiled: tuple[str, ...] = ()  # packages that have no wheels


_REFUSED_IN_OTHER_WORDS = "zarr_pickle_filter_of_objects"  # by an older Zarr

GROUPS = {
    "system": Group(
        extras=("nowcast", "grib", "s3", "serve"),
        tools=("flask", "flask-cors", "httpx", "hypothesis", "moto[s3]", "netCDF4", "pytest", "torchmetrics"),
        tests=(
            "tests/alerts",
            "tests/cli/test_cli.py",
            "tests/cli/test_experiment.py",
            "tests/data/readers",
            "tests/data/test_archive.py",
            "tests/data/test_object_store.py",
            "tests/data/test_projection.py",
            "tests/forecast/test_export.py",
            "tests/forecast/test_network.py",
            "tests/live/test_feed.py",
            "tests/live/test_live_loop.py",
            "tests/maps",
            "tests/models/test_encoder_forecaster.py",
            "tests/models/test_model_file.py",
            "tests/models/test_nowcaster.py",
            "tests/motion",
            "tests/nn/test_hooks.py",
            "tests/nn/test_masks.py",
            "tests/nn/test_oracles.py",
            "tests/nn/test_torch.py",
            "tests/published",
            "tests/serve",
            "tests/training/test_nowcaster_run.py",
            "tests/training/test_recipes.py",
            "tests/verification/test_probability_report.py",
            "tests/verification/test_report.py",
            "tests/verification/test_scores.py",
        ),
        # These need a newer PyTorch, as docs/compatibility.md says.
        left_out=(
            _REFUSED_IN_OTHER_WORDS,
            "compiles_as_one_graph",
            "inductor",
            "vmap_gives_gradients_per_sample_and_ensembles and TrajGRU2d",
        ),
        ignored=("tests/serve/test_app.py",),  # needs schemathesis
    ),
    "pysteps": Group(
        extras=("nowcast", "pysteps"),
        tools=("hypothesis", "netCDF4", "pytest"),
        tests=(
            "tests/forecast/test_baselines.py",
            "tests/forecast/test_layouts.py",
            "tests/data/readers/test_odim_h5.py",
            "tests/data/readers/test_other_libraries.py",
            "tests/data/readers/test_radolan.py",
        ),
        compiled=("jsmin", "pysteps"),
    ),
    "onnx": Group(
        extras=("onnx",),
        tools=("hypothesis", "onnxruntime", "pytest"),
        tests=("tests/nn/test_export.py", "tests/models/test_onnx_export.py"),
    ),
}


def main() -> None:
    """Test the groups that are named, or all of them and what builds the package."""
    names = sys.argv[1:] or [*GROUPS, "build"]
    failed = [name for name in names if not (_builds() if name == "build" else _passes(name, GROUPS[name]))]
    if failed:
        sys.exit(f"the lowest versions: failed: {', '.join(failed)}")


def _passes(name: str, group: Group) -> bool:
    """Install the lowest versions of a group into an environment of its own, and run its tests there."""
    stated = [*PROJECT["dependencies"], *(line for e in group.extras for line in _extra(e))]
    python = _environment(name, stated, group.tools, group.compiled)
    if python is None:
        return False
    _uv("pip", "install", "--python", python, "--no-deps", "--editable", ROOT)
    # Old versions warn of what newer ones have changed: here, a warning is not an error.
    command = [python, "-m", "pytest", "--quiet", "--override-ini", "filterwarnings="]
    chosen = [f"--ignore={path}" for path in group.ignored]
    if group.left_out:
        chosen += ["-k", " and ".join(f"not ({words})" for words in group.left_out)]
    return subprocess.run([*command, *chosen, *group.tests], cwd=ROOT, check=False).returncode == 0


def _builds() -> bool:
    """Build sdist and wheel with the lowest versions of what builds them."""
    python = _environment("build", PYPROJECT["build-system"]["requires"], (), ())
    if python is None:
        return False
    command = [python, "-m", "hatchling", "build", "--directory", python.parents[1] / "dist"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def _environment(
    name: str, stated: Sequence[str], tools: Sequence[str], compiled: Sequence[str]
) -> Path | None:
    """Return the Python of an environment with the lowest versions; None if one cannot be installed."""
    folder = ROOT / f".venv-lowest-{name}"
    python, given, found = folder / "bin" / "python", folder / "given.txt", folder / "found.txt"
    _uv("venv", "--clear", "--python", sys.executable, folder)
    given.write_text("\n".join(stated), "utf-8")
    _uv("pip", "compile", "--python", python, "--resolution", "lowest-direct", "--output-file", found, given)
    lowest = {canonicalize_name(each.name): each for each in _requirements(found)}
    errors = list(_unreachable(stated, lowest))
    if errors:
        print("\n".join(errors))
        return None
    # What the packages themselves need is free: tools may need it in other versions.
    names = {canonicalize_name(Requirement(line).name) for line in stated}
    found.write_text("\n".join(str(lowest[name]) for name in sorted(names & lowest.keys())), "utf-8")
    only = ["--only-binary", ":all:", *(word for package in compiled for word in ("--no-binary", package))]
    _uv("pip", "install", "--python", python, *only, "--requirement", given, *tools, "--constraint", found)
    return python


def _extra(name: str) -> Iterator[str]:
    """Yield the requirements of an extra, and those of the extras that it includes."""
    for line in PROJECT["optional-dependencies"][name]:
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:
            for included in requirement.extras:
                yield from _extra(included)
        else:
            yield line


def _requirements(path: Path) -> Iterator[Requirement]:
    return (Requirement(line) for line in path.read_text("utf-8").splitlines() if line[:1].isalnum())


def _unreachable(stated: Sequence[str], lowest: dict[str, Requirement]) -> Iterator[str]:
    """Yield an error for each lower bound that is not the version to be installed."""
    bounds: dict[str, Requirement] = {}
    for requirement in map(Requirement, stated):
        if canonicalize_name(requirement.name) in lowest:  # or else it is for another system
            name = canonicalize_name(requirement.name)
            bounds[name] = max(requirement, bounds.get(name, requirement), key=_version)
    for name, bound in bounds.items():
        found = Version(_version(lowest[name]).public)
        if found != _version(bound):
            yield f"pyproject.toml: {bound}: the lowest version that can be installed is {found}"


def _version(requirement: Requirement) -> Version:
    (bound,) = requirement.specifier
    return Version(bound.version)


def _uv(*words: str | Path) -> None:
    subprocess.run([Path(sys.executable).with_name("uv"), "--quiet", *words], check=True)


if __name__ == "__main__":
    main()
