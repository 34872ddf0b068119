"""A small file of KNMI's HDF5."""

from pathlib import Path

import numpy as np
import pytest

from stormcell.data.read_options import ReadOptions

CONTRADICTION = ReadOptions(units="dBZ")


def write(path: Path, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("write_knmi")(np.arange(30, dtype=np.uint16).reshape(6, 5), name=path.name)
