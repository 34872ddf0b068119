"""``python -m benchmarks.model``: build the shipped model, and show how it forecasts networks it never saw.

The radar files of the data folder are archived. A nowcaster is trained on all of them: the model that is
shipped. Without each network of radars in turn, another is trained on the others, and verified on the network
that was left out beside the baselines (``stormcell verify``).

Every step is a command of its own, which resumes where it was stopped, and is skipped when it is done. The
folder of the work keeps all that was made. It takes hours; run it on a quiet machine.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.layers import machine
from stormcell.models.model_file import read_card
from stormcell.training.folds import by_network, name_of
from stormcell.training.training_archive import Rain

BASELINES = ("extrapolation", "sprog", "pysteps-sprog", "anvil")
THRESHOLDS = ("0.5", "1.0", "2.0", "5.0")
SETTINGS = ("keep=last", "thinning=[1,2]", "max_updates=1200", "validate_every=200")


@dataclass(frozen=True)
class Event:
    """An archive of the training.

    Attributes:
        name: Name of the archive.
        inputs: Its files and folders in the data folder.
        options: Options of ``stormcell archive``.
        verified: Whether it is verified: its time step is 5 minutes or less, and it has rain.
        every: Minutes between the issue times that are verified.
    """

    name: str
    inputs: tuple[str, ...]
    options: tuple[str, ...] = ()
    verified: bool = True
    every: int = 10


@dataclass(frozen=True)
class Work:
    """The folders of a run.

    Attributes:
        data: Folder of the radar files.
        folder: Folder of everything that is made.
        settings: Settings of the recipe.
        commands: The commands that were run.
    """

    data: Path
    folder: Path
    settings: tuple[str, ...]
    commands: list[str] = field(default_factory=list)

    def archive(self, event: Event) -> Path:
        """Return the path of an event's archive."""
        return self.folder / "archives" / f"{event.name}.zarr"

    def fold(self, network: str) -> Path:
        """Return the folder of the run without a network."""
        return self.folder / "folds" / name_of(network)

    def run(self, *words: str | Path) -> None:
        """Run a command of Stormcell."""
        command = ["stormcell", *map(str, words)]
        self.commands.append(shlex.join(command))
        print("$", self.commands[-1], flush=True)
        subprocess.run([sys.executable, "-m", *command], check=True)


_METEONET = "meteonet_sample_201608/rainfall_{}_2016_08.3.npz"
EVENTS = (
    Event("fmi-2016", ("fmi_pgm_20160928",)),
    Event("fmi-2017", ("fmi_pgm_20170509",)),
    Event("knmi-2010", ("knmi_h5_20100826", "knmi_h5_20100826_later"), every=15),
    Event("mrms-2019", ("mrms_preciprate_2min_20190610",), every=10),
    Event("cirrus-2024", ("opera_odim24_dbzh_20241126",), ("--zr", "200,1.6")),
    Event("opera-2018", ("opera_odim20_rate_20180824",), verified=False),
    Event("dwd-2017", ("dwd_radolan/radolan_yw",)),
    Event("dwd-2021", ("dwd_radolan_ry_20210823",)),
    Event("meteonet-nw-2016", (_METEONET.format("NW"),)),
    Event("meteonet-se-2016", (_METEONET.format("SE"),)),
    Event("openrainer-2022", ("openrainer_20220917",), verified=False),
)


def main() -> int:
    """Run all steps; return the exit status: 2 without the data, else 0."""
    parser = argparse.ArgumentParser(prog="benchmarks.model", description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=machine.ROOT / "runs" / "model", help="folder of the work"
    )
    parser.add_argument("--folds-only", action="store_true", help="do not train on all networks")
    parser.add_argument("--members", type=int, default=20, help="members of the ensembles that are verified")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of the recipe")
    arguments = parser.parse_args()
    data = Path(os.environ.get("STORMCELL_DATA") or machine.ROOT.parent / "shared" / "data")
    if not data.is_dir():
        print(f"{data}: no such folder; set STORMCELL_DATA", file=sys.stderr)
        return 2
    work = Work(data, arguments.work, (*SETTINGS, *arguments.settings))
    for event in EVENTS:
        if not work.archive(event).exists():
            files = [data / name for name in event.inputs]
            work.run("archive", *files, "--out", work.archive(event), *event.options)
    networks = networks_of(work)
    for network, events in networks.items():
        if any(event.verified for event in events):
            others = [work.archive(event) for event in EVENTS if event not in events]
            left_out = [word for event in events for word in ("--validate-on", work.archive(event))]
            work.run("train", *others, "--out", work.fold(network), *left_out, *work.settings)
    reports = list(verified(work, networks, arguments.members))
    (work.folder / "folds.md").write_text(table(reports))
    print(table(reports))
    if not arguments.folds_only:
        archives = [work.archive(event) for event in EVENTS]
        work.run("train", *archives, "--out", work.folder / "all", "validation=0%", *work.settings)
        card = read_card(work.folder / "all" / "model.safetensors")
        print(f"{work.folder / 'all' / 'model.safetensors'}: {card.title}, data {card.data_hash[:12]}")
    return 0


def networks_of(work: Work) -> dict[str, list[Event]]:
    """Return the events of each network of radars."""
    event_of = {str(work.archive(event)): event for event in EVENTS}
    networks = by_network([Rain.open(path) for path in event_of])
    return {source: [event_of[rain.name] for rain in rains] for source, rains in networks.items()}


def verified(
    work: Work, networks: dict[str, list[Event]], members: int
) -> Iterator[tuple[Event, dict[str, dict[str, object]]]]:
    """Verify each event by the model that did not see its network, and yield the scores by forecaster."""
    network_of = {event: network for network, events in networks.items() for event in events}
    for event in EVENTS:
        if not event.verified:
            continue
        archive, report = work.archive(event), work.folder / "reports" / event.name
        model = work.fold(network_of[event]) / "model.safetensors"
        names = (str(model), *BASELINES, "steps")
        chosen = [word for name in names for word in ("--forecaster", name)]
        if not (report / "scores.json").exists():
            every = ("--every", str(event.every))
            work.run("verify", archive, *chosen, *every, "--members", str(members), "--out", report)
        scores = json.loads((report / "scores.json").read_text())
        scores["model"] = scores.pop(str(model))
        yield event, scores


def table(reports: Sequence[tuple[Event, dict[str, dict[str, object]]]]) -> str:
    """Return the means over lead times by event, and the mean over events, in Markdown."""
    lines = [
        "| event | forecaster | CSI ≥ 0.5 | ≥ 1 | ≥ 2 | ≥ 5 mm/h | bias ≥ 1 | CRPS, mm/h |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for event, scores in reports:
        for name in ("model", *BASELINES, "steps"):
            one = scores.get(name)
            if one is None:
                continue
            csi = [_mean(one["csi"][threshold]) for threshold in THRESHOLDS]  # type: ignore[index]
            bias = _mean(one["bias"]["1.0"])  # type: ignore[index]
            numbers = " | ".join(f"{value:.3f}" for value in (*csi, bias, _mean(one["crps"])))
            lines.append(f"| {event.name} | {name} | {numbers} |")
    return "\n".join(lines) + "\n"


def _mean(values: object) -> float:
    assert isinstance(values, list)
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found else float("nan")


if __name__ == "__main__":
    sys.exit(main())
