"""What a release consists of: one version everywhere, its credits, and the contents of wheel and sdist."""

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

import pytest
import yaml
from benchmarks import model_tables

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
