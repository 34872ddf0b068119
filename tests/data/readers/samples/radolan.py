"""A small file of RADOLAN: a five-minute sum on the grid of 450 × 450 pixels."""

from pathlib import Path

import numpy as np
import pytest

from stormcell.data.read_options import ReadOptions

CONTRADICTION = ReadOptions(units="dBZ")


HEADER = b"RY011500100000120BY 405117VS 3SW   2.21.0PR E-02INT   5GP 450x 450MS 70<asb,boo,ros,hnr,umd> \x03"


def write(path: Path, request: pytest.FixtureRequest) -> None:  # noqa: ARG001
    codes = np.random.default_rng(0).integers(0, 300, (450, 450)).astype("<u2")
    codes[:100], codes[200:210] = 0x2000 + 2500, 0
    path.write_bytes(HEADER + codes.tobytes())
