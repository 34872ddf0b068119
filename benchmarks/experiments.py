"""``python -m benchmarks.experiments``: run, or resume, the experiments whose results the docs show.

Tables and numbers are written to ``benchmarks/results/experiments``, tables and pictures to
``docs/experiments.md``. Run nothing else at the same time, because budgets are in minutes.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

from benchmarks.layers import machine
from benchmarks.pages import fill
from stormcell.atomic import write_file

PAGE, IMAGES = machine.ROOT / "docs" / "experiments.md", machine.ROOT / "docs" / "images"
RESULTS = machine.ROOT / "benchmarks" / "results" / "experiments"

OPTIONS = {
    "mnist-patches": "--budget 10m",
    "moving-digit-actions": "--budget 8m",
    # A quarter of an hour for each of seven contenders.
    "paper-moving-mnist": "--budget 105m --search --tests 500",
    "hko7-moving-mnist": "--budget 20m --search --only convgru --only trajgru --tests 1000",
}
PICTURES = {"curves.png": "Learning curves", "forecasts-1.png": "Forecasts", "answers.png": "Answers"}


def main() -> int:
    """Run the experiments one after the other."""
    parser = argparse.ArgumentParser(prog="benchmarks.experiments", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(OPTIONS)}; default: all")
    parser.add_argument("--work", type=Path, default=machine.ROOT / "runs", help="folder for the runs")
    arguments = parser.parse_args()
    names = arguments.name or list(OPTIONS)
    if unknown := [name for name in names if name not in OPTIONS]:
        parser.error(f"expected of {', '.join(OPTIONS)}, found {unknown[0]}")
    for name in names:
        fill(PAGE, name, None)  # an unknown name fails now and not after the run
    now = machine.commit()  # before new results change the working tree
    for name in names:
        words = ["stormcell", "experiment", name, *shlex.split(OPTIONS[name])]
        folder = arguments.work / name
        commit = begun(folder, now)
        subprocess.run([sys.executable, "-m", *words, "--out", folder], check=True)
        keep(name, folder, shlex.join(words), commit)
    return 0


def begun(folder: Path, now: str) -> str:
    """Return the commit with which a folder's run was begun; a new run records the current one."""
    note = folder / "commit"
    if not folder.exists():
        folder.mkdir(parents=True)
        write_file(note, now.encode())
    return note.read_text() if note.exists() else "unknown"


def keep(name: str, folder: Path, command: str, commit: str) -> None:
    """Copy the results of a run to the results and the page."""
    facts = {"command": command, "commit": commit}
    facts |= json.loads((folder / "results.json").read_text())
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_file(RESULTS / f"{name}.json", (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
    _, _, table = (folder / "results.md").read_text().partition("\n")
    text = f"`{command}`\n\n{table.strip()}\n"
    for picture, what in PICTURES.items():
        if (folder / picture).exists():
            image = IMAGES / f"{name}-{picture}"
            write_file(image, (folder / picture).read_bytes())
            text += f"\n![{what} of {name}](images/{image.name})\n"
    fill(PAGE, name, text)


if __name__ == "__main__":
    sys.exit(main())
