"""The wheel for this platform, and the C kernels that it carries."""

import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

from benchmarks.layers.machine import ROOT

_SYSTEMS = {"darwin": "macos", "win32": "windows"}


def build(to: Path) -> Path:
    """Build the wheel for this platform from the checkout, and return its path.

    Raises:
        CalledProcessError: It cannot be built; stderr has the reason.
    """
    processor = platform.machine().lower().replace("amd64", "x86_64")
    name = f"{_SYSTEMS.get(sys.platform, sys.platform)}-{processor}"
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(to)]
    environment = os.environ | {"STORMCELL_WHEEL": name}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    (path,) = to.glob("*.whl")
    return path


def kernels(to: Path) -> Path:
    """Return the folder of the wheel's kernels, unpacked; the wheel is built if ``to`` does not exist."""
    if not to.exists():
        with zipfile.ZipFile(build(to)) as wheel:
            wheel.extractall(to)
    return to / "stormcell" / "nn" / "ops" / "native" / "shipped"
