"""A picture of HKO-7, with its mask beside it."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stormcell.data.read_options import ReadOptions

FILE_NAME = "RAD130522024800.png"
CONTRADICTION = ReadOptions(units="mm/h")


def write(path: Path, request: pytest.FixtureRequest) -> None:
    del request
    codes = np.zeros((480, 480), np.uint8)
    codes[200:260, 200:260] = np.random.default_rng(0).integers(0, 256, (60, 60))
    Image.fromarray(codes, "L").save(path, "PNG")
    counts = np.ones((480, 480), bool)
    counts[230, 230] = False
    path.with_name("RAD130522024800.mask").write_bytes(zlib.compress(counts.tobytes(), 2))
