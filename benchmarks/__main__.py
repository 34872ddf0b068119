"""``python -m benchmarks``: train a nowcaster on a real event, and compare it with all baselines.

The Finnish event of 2016-09-28 (40 frames, one every five minutes) is archived. A nowcaster is trained for a
quarter of an hour on all frames but those of the last hour, on which all forecasters are scored. The results
are written to ``benchmarks/results``. README and LOG quote only those.
"""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.layers import machine
from stormcell.verification.scores import mean_over_leads

PACKAGES = ("torch", "numpy", "pysteps")
EVENT = "fmi_pgm_20160928"
CREDIT = "Finnish Meteorological Institute open data; modified."


def main() -> int:
    """Run the benchmark and return the exit status: 2 without the data, else 0."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0, help="minutes of training")
    runs = machine.ROOT / "runs"
    parser.add_argument(
        "--work", type=Path, default=runs / "event", help="folder for archive, run and report"
    )
    parser.add_argument("recipe", nargs="*", metavar="key=value", help="changes to the recipe")
    arguments = parser.parse_args()
    data = machine.data_folder() / EVENT
    if not data.is_dir():
        print(
            f"{data}: no such folder; set STORMCELL_DATA to the folder that contains {EVENT}", file=sys.stderr
        )
        return 2
    archive, run, report = (arguments.work / name for name in ("archive.zarr", "run", "report"))
    model = run / "model.safetensors"
    stormcell("archive", data, "--out", archive)
    shutil.rmtree(run, ignore_errors=True)  # so that an older model is not resumed
    limits = [f"max_minutes={arguments.minutes:g}", "test=60min", "validation=20min"]
    stormcell("train", archive, "--out", run, *limits, *arguments.recipe)
    names = [str(model), "persistence", "extrapolation", "sprog"]
    names += ["anvil"] if importlib.util.find_spec("pysteps") else []
    options = [part for name in names for part in ("--forecaster", name)]
    stormcell("verify", archive, "--out", report, *options)
    keep(report)
    return 0


def stormcell(*words: object) -> None:
    """Run a command as a user would."""
    subprocess.run([sys.executable, "-m", "stormcell", *map(str, words)], check=True)


def keep(report: Path) -> None:
    """Copy the scores, the table and the figure of a report to the results."""
    results = machine.ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    scores = json.loads((report / "scores.json").read_text())
    scores = {score["about"]["title"]: score for score in scores.values()}
    about = {
        "event": EVENT,
        "credit": CREDIT,
        "command": machine.command("benchmarks"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in PACKAGES if importlib.util.find_spec(name)},
        "commit": machine.commit(),
    }
    (results / "event.json").write_text(json.dumps({"about": about, "scores": scores}, indent=1) + "\n")
    (results / "event.md").write_text(table(scores, about))
    shutil.copy(report / "lead_time.png", results / "event_lead_time.png")


def table(scores: dict[str, dict], about: dict[str, str]) -> str:
    """Return the means over lead times as a table in Markdown."""
    thresholds = ("0.1", "0.5", "1.0", "2.0", "5.0")
    lines = [
        f"Mean over lead times, 5 to 60 min, of the last hour of `{about['event']}`. {about['credit']}",
        f"`{about['command']}`, {about['machine']}, commit {about['commit']}.",
        "",
        "| forecaster | "
        + " | ".join(f"CSI ≥ {t}" for t in thresholds)
        + " | bias ≥ 1.0 | bias ≥ 5.0 | MAE, mm/h |",
        "|---|" + "---|" * (len(thresholds) + 3),
    ]
    for name, score in scores.items():
        columns = [score["csi"][t] for t in thresholds]
        columns += [score["bias"]["1.0"], score["bias"]["5.0"], score["mae"]]
        means = [mean_over_leads(column)[0] for column in columns]
        cells = ["–" if mean is None else f"{mean:.3f}" for mean in means]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
