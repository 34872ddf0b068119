import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def radar_data() -> Path:
    """The folder of real radar files: ``STORMCELL_DATA``, or ``shared/data`` beside the checkout."""
    folder = Path(os.environ.get("STORMCELL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real radar data is not at {folder}; set STORMCELL_DATA to where it is")
    return folder
