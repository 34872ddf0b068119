"""What a release consists of: one version everywhere, its credits, and the contents of wheel and sdist."""

import importlib.util
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from benchmarks import model_tables
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import stormcell

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
VERSION = PROJECT["version"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
# A section of the changelog: its version and date.
RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_release_version_comes_from_the_installed_metadata():
    assert VERSION not in Path(stormcell.__file__).read_text("utf-8")
    assert stormcell.__version__ == version("stormcell")


def test_release_citation_has_the_version_date_and_addresses():
    newest = RELEASE.search(CHANGELOG)
    assert (CITATION["version"], CITATION["date-released"]) == (VERSION, newest[2])
    assert CITATION["repository-code"] == PROJECT["urls"]["Source"]
    assert CITATION["url"] == PROJECT["urls"]["Documentation"]
    assert CITATION["license"] == PROJECT["license"].split()[0]


def test_release_changelog_has_the_version_first_with_a_date_and_a_link():
    numbers, days = zip(*RELEASE.findall(CHANGELOG), strict=True)
    assert numbers[0] == VERSION
    assert all(map(date.fromisoformat, days))
    assert list(days) == sorted(days, reverse=True)
    links = re.findall(rf"^\[([\d.]+)\]: {PROJECT['urls']['Source']}/", CHANGELOG, re.MULTILINE)
    assert links == list(numbers)


def test_release_compatibility_page_states_the_lower_bounds():
    page = (ROOT / "docs" / "compatibility.md").read_text("utf-8")
    stated = dict(re.findall(r"^\| (\w+) \| ([\d.]+) \|", page, re.MULTILINE))
    bounds = dict(line.split(">=") for line in PROJECT["dependencies"])
    assert stated == {"Python": PROJECT["requires-python"].removeprefix(">="), "PyTorch": bounds["torch"]} | {
        name: bound for name, bound in bounds.items() if name != "torch"
    }


def _locked() -> dict[str, str]:
    """The version of each package in the lock files, by its name."""
    found = {}
    for path in ROOT.glob("requirements*.lock"):
        for line in path.read_text("utf-8").splitlines():
            requirement = Requirement(line)
            (version,) = requirement.specifier
            found[canonicalize_name(requirement.name)] = version.version
    return found


@pytest.mark.parametrize("extra", ["test", "docs", "release", "wheels", "bench"])
def test_release_lower_bounds_of_what_developers_need_are_the_locked_versions(extra):
    stated = [Requirement(line) for line in PROJECT["optional-dependencies"][extra]]
    bounds = {
        canonicalize_name(each.name): str(each.specifier) for each in stated if each.name != "stormcell"
    }
    locked = _locked()
    expected = {name: f">={locked[name]}" for name in bounds if name in locked}
    if extra == "bench":  # TensorFlow is not locked, but named beside what was measured with it
        (measured,) = re.findall(r"tensorflow ([\d.]+)\.$", (ROOT / "docs/speed.md").read_text("utf-8"), re.M)
        expected |= dict.fromkeys(("tensorflow", "tf-keras"), f">={measured}")
    assert bounds == expected


def _lowest() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lowest", ROOT / "tools" / "lowest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_release_every_other_extra_has_its_lower_bounds_tested():
    lowest = _lowest()
    developers = {"test", "docs", "release", "wheels", "bench"}
    tested = {
        line for group in lowest.GROUPS.values() for extra in group.extras for line in lowest._extra(extra)
    }
    for extra in PROJECT["optional-dependencies"].keys() - developers:
        assert set(lowest._extra(extra)) <= tested, extra
    missing = [path for group in lowest.GROUPS.values() for path in group.tests if not (ROOT / path).exists()]
    assert not missing


def test_release_unreachable_lower_bound_is_named():
    lowest = _lowest()
    found = {"torch": Requirement("torch==2.6.0+cpu"), "rich": Requirement("rich==14.2")}
    stated = ["torch>=2.6", "rich>=13.7", "elsewhere>=1"]
    assert list(lowest._unreachable(stated, found)) == [
        "pyproject.toml: rich>=13.7: the lowest version that can be installed is 14.2"
    ]


def test_release_credits_are_those_of_the_shipped_models():
    path = ROOT / "src" / "stormcell" / "models" / "data" / "CREDITS"
    assert path.read_text("utf-8") == model_tables.credits_of_shipped(), (
        "python -c 'from benchmarks import model_tables; print(model_tables.credits_of_shipped(), end=\"\")'"
    )


def test_release_every_vendored_licence_is_a_licence_file():
    files = {path for pattern in PROJECT["license-files"] for path in ROOT.glob(pattern)}
    named = {
        path
        for path in (ROOT / "src").rglob("*")
        if path.name.startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "CREDITS"))
    }
    assert files == named | {ROOT / "LICENSE"}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel that is built from it without network or other packages."""
    for package in ("hatchling", "hatch_fancy_pypi_readme"):
        pytest.importorskip(package, reason='a release is built with pip install "stormcell[release]"')
    folder = tmp_path_factory.mktemp("built")
    _hatchling(ROOT, "--target", "sdist", folder)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        tar.extractall(folder, filter="data")
    _hatchling(folder / sdist.name.removesuffix(".tar.gz"), "--target", "wheel", folder)
    return folder


def _hatchling(project: Path, *words: str | Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", *words[:2], "--directory", *words[2:]]
    subprocess.run(command, cwd=project, check=True, capture_output=True)


def _files(archive: Path) -> Iterator[str]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from wheel.namelist()
    else:
        with tarfile.open(archive) as sdist:
            yield from (name.partition("/")[2] for name in sdist.getnames())


def test_release_wheel_has_the_package_and_its_licences_alone(built):
    (wheel,) = built.glob("*.whl")
    files = set(_files(wheel))
    info = f"stormcell-{VERSION}.dist-info"
    package = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "stormcell").rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".so")
    }
    assert {name for name in files if not name.startswith(f"{info}/")} == package
    licences = {f"{info}/licenses/{path}" for path in _licences()}
    assert licences <= files
    assert {f"{info}/METADATA", f"{info}/entry_points.txt"} <= files


def _licences() -> Iterator[str]:
    for pattern in PROJECT["license-files"]:
        yield from (path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def test_release_sdist_has_what_make_needs_and_no_results_of_runs(built):
    (sdist,) = built.glob("*.tar.gz")
    files = set(_files(sdist))
    assert {"Makefile", "LICENSE", "README.md", "CITATION.cff", "mkdocs.yml"} <= files
    assert {path.name for path in ROOT.glob("requirements*.lock")} <= files
    assert {"tests/test_release.py", "docs/index.md", "benchmarks/model.py", "tools/vendor.py"} <= files
    junk = re.compile(r"__pycache__|\.pyc$|\.so$|^LOG\.md$|^\.(?!gitignore$)|^dist/|^site/|\.zarr/")
    assert not [name for name in files if junk.search(name)]
