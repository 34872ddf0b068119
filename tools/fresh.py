"""Tries the built wheel in a fresh virtual environment, outside the checkout.

``make fresh`` runs it with the Python that ``PYTHON`` names. The layers are installed first, and must run
README's example without the rest; the kernels of the wheel must be used, if it has any. Then
``stormcell[nowcast]`` is installed, and the demo runs.
"""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPLAIN = """
import torch
from stormcell.nn import ConvLSTM2d
print(ConvLSTM2d(3, 8, 3).explain(torch.rand(2, 1, 3, 16, 16)))
"""


def main() -> None:
    """Install the wheel in ``dist`` that fits this machine, and use it; stop at the first failure."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "environment", with_pip=True)
        programs = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
        pip = [programs / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
        # pip chooses between the wheel of this platform and the one for all.
        choose = ["download", "--no-deps", "--no-index", "--find-links", ROOT / "dist", "stormcell"]
        _run(folder, *pip, *choose, "--dest", folder)
        (wheel,) = folder.glob("stormcell-*.whl")

        print(f"{wheel.name} on Python {sys.version.split()[0]}: the layers")
        _run(folder, *pip, "install", wheel)
        found = EXAMPLE.search((ROOT / "README.md").read_text("utf-8"))
        assert found is not None, "README.md: expected Python code and its output, found no such pair"
        code, shown = found.groups()
        printed = _run(folder, programs / "python", "-c", code)
        if printed != shown:
            sys.exit(f"README.md: its first example printed {printed!r}, expected {shown!r}")
        if not wheel.name.endswith("-none-any.whl"):
            explained = _run(folder, programs / "python", "-c", EXPLAIN, CC="no-such-compiler")
            if "from the wheel" not in explained:
                sys.exit(f"{wheel.name}: expected compiled kernels from the wheel, found\n{explained}")

        print(f"{wheel.name} on Python {sys.version.split()[0]}: the nowcasting system")
        _run(folder, *pip, "install", f"{wheel}[nowcast]")
        print(_run(folder, programs / "stormcell", "--version"), end="")
        _run(folder, programs / "stormcell", "--help")
        print(_run(folder, programs / "stormcell", "demo"))
        if not (folder / "demo" / "forecast.nc").is_file():
            sys.exit("stormcell demo: expected demo/forecast.nc, found no such file")


def _run(folder: Path, *words: str | Path, **variables: str) -> str:
    """Run a command outside the checkout, whose modules it cannot import, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run(
        words, cwd=folder, env=environment, check=False, stdout=subprocess.PIPE, encoding="utf-8"
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    main()
