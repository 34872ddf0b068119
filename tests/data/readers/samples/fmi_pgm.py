"""A small file of FMI's PGM."""

from pathlib import Path

import pytest

from stormcell.data.read_options import ReadOptions

CONTRADICTION = ReadOptions(units="mm/7min")


def write(path: Path, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("write_pgm")(name=path.name)
