"""The vendored files are those that the script fetched and made."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from stormcell.serve.pages import VIEWER

FOLDERS = {"map": VIEWER / "vendor", "tests": Path(__file__).parent / "vendor"}


@pytest.mark.parametrize("folder", FOLDERS.values(), ids=FOLDERS)
def test_vendored_files_have_their_checksums(folder):
    lines = (folder / "SHA256SUMS").read_text("utf-8").splitlines()
    expected = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert found == expected


@pytest.mark.parametrize("folder", FOLDERS.values(), ids=FOLDERS)
def test_vendored_package_has_its_licence(folder):
    for package in folder.iterdir():
        if package.is_dir():
            assert list(package.glob("LICENSE*")), package.name


def test_vendored_basemap_holds_amsterdam_in_its_cell():
    cell = json.loads((VIEWER / "vendor" / "basemap" / "0_50.json").read_text("utf-8"))
    _, lon, lat, population = next(place for place in cell["places"] if place[0] == "Amsterdam")
    assert (round(lon, 1), round(lat, 1)) == (4.9, 52.4)
    assert population > 700_000
    # Amsterdam is on land: a line from it to the west crosses coasts an odd number of times.
    assert sum(_crosses(ring, lon * 500, lat * 500) for ring in cell["land"]) % 2 == 1


def _crosses(ring: list[int], x: float, y: float) -> int:
    points, at = [], (0, 0)
    for step in zip(ring[::2], ring[1::2], strict=True):
        at = (at[0] + step[0], at[1] + step[1])
        points.append(at)
    count = 0
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        if (y0 > y) != (y1 > y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) < x:
            count += 1
    return count


def test_viewer_files_name_no_other_site():
    for path in VIEWER.iterdir():
        if path.is_file():
            found = set(re.findall(r"https?://[^\s\"')]+", path.read_text("utf-8")))
            assert found <= {"http://www.w3.org/2000/svg"}, path.name
