"""A GIF of MeteoSwiss's five-minute amounts: noise in shades of grey."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stormcell.data.read_options import ReadOptions

FILE_NAME = "AQC161932100V_00005.801.gif"
CONTRADICTION = ReadOptions(units="dBZ")


def write(path: Path, request: pytest.FixtureRequest) -> None:
    del request
    codes = np.zeros((640, 710), np.uint8)
    codes[100:140, 100:150] = np.random.default_rng(0).integers(0, 256, (40, 50))
    image = Image.fromarray(codes, "P")
    image.putpalette(np.repeat(255 - np.arange(256, dtype=np.uint8), 3).tobytes())
    image.save(path, "GIF")
