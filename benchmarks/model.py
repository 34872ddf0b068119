"""``python -m benchmarks.model``: build the shipped model, and show how it forecasts networks it never saw.

The radar files of the data folder are archived. A nowcaster is trained on all of them: the model that is
shipped. Without each network of radars in turn, another is trained on the others, and verified on the network
that was left out, beside the baselines. Of a grid larger than 1250 pixels, the 1024 × 1024 with the most rain
are verified.

Every step is a command of its own, which resumes where it was stopped, and is skipped when it is done. The
folder of the work keeps all that was made, and the output of each training. It takes hours; run it on a quiet
machine. ``--ship`` puts the model into the package, ``--docs`` writes the tables into docs/model.md and
README.md, and ``--comparisons`` adds trainings without parts of the network or on fewer events, and
fine-tunings.
"""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks import model_tables
from benchmarks.layers import machine
from benchmarks.pages import fill
from stormcell.data import archive, synthetic
from stormcell.models.shipped_models import add_shipped
from stormcell.training.folds import by_network, name_of
from stormcell.training.training_archive import Rain

PAGE, README = machine.ROOT / "docs" / "model.md", machine.ROOT / "README.md"
NAME = "nowcaster-1"
BASELINES = ("extrapolation", "sprog", "anvil")  # benchmarks.sprog shows that pysteps has the same S-PROG
MEMBERS = 20
SETTINGS = ("keep=last", "thinning=[1,2]", "max_updates=300", "validate_every=100")
SHIPPED_SETTINGS = ("validation=0%", "max_updates=500")  # it is trained once, and there are six folds
LARGEST, CUT = 1250, 1024  # pixels: a grid with a longer side is cut

# Trainings to compare with, all without the Finnish network.
COMPARED = {
    "no ConvLSTM: one convolution over the frames": ("encoder=convolution",),
    "no encoder": ("encoder=none",),
    "no cascade": ("cascade=false",),
    "squared error": ("loss=squared",),
    "one network: KNMI": (),
    "2 events": (),
    "4 events": (),
}
EVENTS_OF = {
    "one network: KNMI": ("knmi-2010",),
    "2 events": ("knmi-2010", "mrms-2019"),
    "4 events": ("knmi-2010", "mrms-2019", "cirrus-2024", "dwd-2017"),
}

# Fine-tunings of the model that did not see a network: the event of that network that it is tuned on, and the
# event that is verified. It is another day of that network; or the same day, of which only the last fifth is
# verified; or one that the model was trained on, which shows whether it is forgotten.
FINE_TUNED = (
    ("fmi-2016", "fmi-2017"),
    ("fmi-2017", "fmi-2016"),
    ("knmi-2010", "knmi-2010"),
    ("knmi-2010", "fmi-2016"),
)
FINE_TUNING = ("max_updates=100", "validate_every=25")


@dataclass(frozen=True)
class Event:
    """An archive of the training.

    Attributes:
        name: Name of the archive.
        inputs: Its files and folders in the data folder; none for generated rain.
        options: Options of ``stormcell archive``.
        every: Minutes between the issue times that are verified; None for an event that is not, because
            its time step is above 5 minutes.
        ensemble_every: Minutes between those at which ensembles are verified.
        thinning: Only every n-th frame is verified.
    """

    name: str
    inputs: tuple[str, ...]
    options: tuple[str, ...] = ()
    every: int | None = None
    ensemble_every: int = 60
    thinning: int = 1


_METEONET = "meteonet_sample_201608/rainfall_{}_2016_08.3.npz"
EVENTS = (
    Event("fmi-2016", ("fmi_pgm_20160928",), every=40, ensemble_every=90),
    Event("fmi-2017", ("fmi_pgm_20170509",), every=40, ensemble_every=90),
    Event("knmi-2010", ("knmi_h5_20100826", "knmi_h5_20100826_later"), every=60, ensemble_every=180),
    Event("mrms-2019", ("mrms_preciprate_2min_20190610",), every=16, ensemble_every=40, thinning=2),
    Event("cirrus-2024", ("opera_odim24_dbzh_20241126",), ("--zr", "200,1.6"), every=10, ensemble_every=30),
    Event("opera-2018", ("opera_odim20_rate_20180824",)),
    Event("dwd-2017", ("dwd_radolan/radolan_yw",), every=10, ensemble_every=30),
    Event("dwd-2021", ("dwd_radolan_ry_20210823",), every=10, ensemble_every=30),
    Event("meteonet-nw-2016", (_METEONET.format("NW"),), every=20, ensemble_every=60),
    Event("meteonet-se-2016", (_METEONET.format("SE"),), every=20, ensemble_every=60),
    Event("openrainer-2022", ("openrainer_20220917",)),
    # Rain for which S-PROG is nearly the best forecast: it teaches how to read the memory of each scale.
    Event("generated", ()),
)


@dataclass(frozen=True)
class Work:
    """The folders of a run.

    Attributes:
        data: Folder of the radar files.
        folder: Folder of everything that is made.
        settings: Settings of the recipe.
    """

    data: Path
    folder: Path
    settings: tuple[str, ...]

    def archive(self, event: Event) -> Path:
        """Return the path of an event's archive."""
        return self.folder / "archives" / f"{event.name}.zarr"

    def verified(self, event: Event) -> Path:
        """Return the path of the archive that is verified: the event's, or the part of it."""
        part = self.folder / "verified" / f"{event.name}.zarr"
        return part if part.exists() else self.archive(event)

    def fold(self, network: str) -> Path:
        """Return the folder of the run without a network."""
        return self.folder / "folds" / name_of(network)

    def fold_without(self, event: str, networks: dict[str, list[Event]]) -> Path:
        """Return the folder of the run without the network of an event."""
        (network,) = (name for name, events in networks.items() if event in {one.name for one in events})
        return self.fold(network)

    def tuned(self, event: str) -> Path:
        """Return the folder of the fine-tuning on an event."""
        return self.folder / "tuned" / f"fine-tuned-on-{event}"

    def run(self, *words: str | Path, log: Path | None = None) -> None:
        """Run a command of Stormcell; with a log, with one thread, and its output in there."""
        command = ["stormcell", *map(str, words)]
        print("$", shlex.join(command), flush=True)
        if log is None:
            subprocess.run([sys.executable, "-m", *command], check=True)
            return
        with log.open("a") as output:
            subprocess.run(
                [sys.executable, "-m", *command],
                check=True,
                stdout=output,
                stderr=output,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )


def main() -> int:
    """Run all steps; return the exit status: 2 without the data, else 0."""
    parser = argparse.ArgumentParser(prog="benchmarks.model", description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=machine.ROOT / "runs" / "model", help="folder of the work"
    )
    parser.add_argument("--comparisons", action="store_true", help="also train what the model is compared to")
    parser.add_argument("--ship", action="store_true", help="put the model into the package")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs and README")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of the recipe")
    arguments = parser.parse_args()
    data = machine.data_folder()
    if not data.is_dir():
        print(f"{data}: no such folder; set STORMCELL_DATA", file=sys.stderr)
        return 2
    work = Work(data, arguments.work, (*SETTINGS, *arguments.settings))
    make_archives(work)
    networks = networks_of(work)
    trainings = list(trainings_of(work, networks, comparisons=arguments.comparisons))
    train(work, trainings)
    if arguments.comparisons:
        train(work, list(fine_tunings_of(work, networks)))
    model = work.folder / "all" / "model.safetensors"
    if arguments.ship:
        shipped = add_shipped(NAME, model)
        (shipped.parent / "CREDITS").write_text(model_tables.credits_of_shipped(), "utf-8")
        print(f"shipped: {shipped}")
    verify(work, networks, comparisons=arguments.comparisons)
    verified = [event.name for event in EVENTS if event.every]
    tables = model_tables.tables(work.folder, verified, [f"{one}-to-{other}" for one, other in FINE_TUNED])
    print("\n\n".join(tables.values()))
    if arguments.docs:
        fill(README, "mean of the events", model_tables.means(work.folder / "reports", verified))
        for name, text in tables.items():
            fill(PAGE, name, text)
        fill(PAGE, "data", model_tables.data(model))
    return 0


def make_archives(work: Work) -> None:
    """Archive the radar files, and cut the part of large grids that is verified."""
    for event in EVENTS:
        path = work.archive(event)
        if not path.exists():
            inputs = [work.data / name for name in event.inputs] or [generated(work)]
            work.run("archive", *inputs, "--out", path, *event.options)
        rain, part = archive.rain(archive.open(path)), work.folder / "verified" / f"{event.name}.zarr"
        if event.every and max(rain.shape[1:]) > LARGEST and not part.exists():
            part.parent.mkdir(exist_ok=True)
            cut = part.with_suffix(".nc")
            square = wettest(rain) | {"time": slice(None, None, event.thinning)}
            found = archive.open_as_stored(path).isel(square)
            found.load().drop_encoding().to_netcdf(cut, engine="h5netcdf")
            work.run("archive", cut, "--out", part)
            cut.unlink()


def generated(work: Work) -> Path:
    """Write generated rain, and return its folder."""
    folder = work.folder / "generated"
    synthetic.write(folder, seed=16, events=20, shape=(384, 384), steps=24, varied=True)
    return folder


def wettest(rain: xr.DataArray) -> dict[str, slice]:
    """Return the square with the most rain in the middle frame, in steps of a quarter of its side."""
    wet = np.nan_to_num(rain[rain.sizes["time"] // 2].values) >= 0.1
    sums = np.pad(wet.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    places = [
        (int(sums[y + CUT, x + CUT] - sums[y, x + CUT] - sums[y + CUT, x] + sums[y, x]), y, x)
        for y in range(0, wet.shape[0] - CUT + 1, CUT // 4)
        for x in range(0, wet.shape[1] - CUT + 1, CUT // 4)
    ]
    _, y, x = max(places)
    return {"y": slice(y, y + CUT), "x": slice(x, x + CUT)}


def networks_of(work: Work) -> dict[str, list[Event]]:
    """Return the events of each network of radars."""
    event_of = {str(work.archive(event)): event for event in EVENTS}
    networks = by_network([Rain.open(path) for path in event_of])
    return {source: [event_of[rain.name] for rain in rains] for source, rains in networks.items()}


def trainings_of(
    work: Work, networks: dict[str, list[Event]], *, comparisons: bool
) -> Iterator[tuple[str | Path, ...]]:
    """Yield the commands of the trainings, the folder of each the last word."""
    yield _training(work, EVENTS, (), work.folder / "all", SHIPPED_SETTINGS)
    for network, left_out in networks.items():
        if any(event.every for event in left_out):
            others = [event for event in EVENTS if event not in left_out]
            yield _training(work, others, left_out, work.fold(network), ())
    if comparisons:
        (finland,) = (events for events in networks.values() if events[0].name == "fmi-2016")
        for name, settings in COMPARED.items():
            wanted = EVENTS_OF.get(name, tuple(event.name for event in EVENTS if event not in finland))
            events = [event for event in EVENTS if event.name in wanted]
            yield _training(work, events, finland, work.folder / "compared" / name_of(name), settings)


def fine_tunings_of(work: Work, networks: dict[str, list[Event]]) -> Iterator[tuple[str | Path, ...]]:
    """Yield the commands of the fine-tunings, the folder of each the last word."""
    for name in dict.fromkeys(tuned_on for tuned_on, _ in FINE_TUNED):
        start = work.fold_without(name, networks) / "model.safetensors"
        archived = work.folder / "archives" / f"{name}.zarr"
        yield ("train", archived, "--from", start, *FINE_TUNING, "--out", work.tuned(name))


def train(work: Work, trainings: Sequence[tuple[str | Path, ...]]) -> None:
    """Run trainings, one for each processor."""
    # Two trainings of one thread each learn from more crops in a minute than one of two.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda words: work.run(*words, log=work.folder / f"{words[-1].name}.log"), trainings))


def _training(
    work: Work, events: Sequence[Event], left_out: Sequence[Event], folder: Path, settings: tuple[str, ...]
) -> tuple[str | Path, ...]:
    validated = [word for event in left_out for word in ("--validate-on", work.archive(event))]
    archives = [work.archive(event) for event in events]
    return ("train", *archives, *validated, *work.settings, *settings, "--out", folder)


def verify(work: Work, networks: dict[str, list[Event]], *, comparisons: bool) -> None:
    """Verify each event by the model that did not see its network."""
    reports = [*reports_of(work, networks), *(comparisons_of(work, networks) if comparisons else ())]
    for report in reports:
        if not (report.folder / "scores.json").exists():
            chosen = [word for name in report.forecasters for word in ("--forecaster", str(name))]
            every = ("--every", str(report.every))
            work.run("verify", report.archive, *chosen, *every, *report.options, "--out", report.folder)


@dataclass(frozen=True)
class Report:
    """A verification.

    Attributes:
        folder: Where its report is written to.
        archive: What is verified.
        every: Minutes between the issue times.
        forecasters: Model files, and names of baselines.
        options: Further options of ``stormcell verify``.
    """

    folder: Path
    archive: Path
    every: int
    forecasters: tuple[str | Path, ...]
    options: tuple[str, ...] = ("--reference", "sprog")


def reports_of(work: Work, networks: dict[str, list[Event]]) -> Iterator[Report]:
    """Yield the verifications of the folds: of single forecasts, and of ensembles."""
    for network, events in networks.items():
        model = work.fold(network) / "model.safetensors"
        for event in events:
            if event.every:
                folder, archived = work.folder / "reports" / event.name, work.verified(event)
                yield Report(folder, archived, event.every, (model, *BASELINES))
                folder = work.folder / "ensembles" / event.name
                asked = ("--members", str(MEMBERS), "--reference", "steps")
                yield Report(folder, archived, event.ensemble_every, (model, "steps"), asked)


def comparisons_of(work: Work, networks: dict[str, list[Event]]) -> Iterator[Report]:
    """Yield the verifications of what the folds are compared to, and of the fine-tunings."""
    by_name = {event.name: event for event in EVENTS}
    compared = tuple(work.folder / "compared" / name_of(name) / "model.safetensors" for name in COMPARED)
    pairs = [
        ("compared-reports", name, name, (work.fold_without(name, networks) / "model.safetensors", *compared))
        for name in ("fmi-2016", "fmi-2017")
        if name in by_name
    ]
    for tuned_on, name in FINE_TUNED:
        folders = work.fold_without(tuned_on, networks), work.tuned(tuned_on)
        models = tuple(folder / "model.safetensors" for folder in folders)
        pairs.append(("tuned-reports", f"{tuned_on}-to-{name}", name, models))
    for kind, report, name, models in pairs:
        event = by_name[name]
        yield Report(work.folder / kind / report, work.verified(event), event.every or 0, (*models, "sprog"))


if __name__ == "__main__":
    sys.exit(main())
