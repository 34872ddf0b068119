"""The verbs of the command line and their options.

Heavy packages are imported only by the verb that needs them. One file, because it lists the verbs with their
options: only those of the live loop are in live_verbs.py. The other modules have the code.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from stormcell.cli import live_verbs
from stormcell.cli.exit_status import ALL_DONE
from stormcell.cli.option_types import (
    ZR,
    Archive,
    Attribute,
    Bounds,
    Clutter,
    Crs,
    Durable,
    Format,
    Institution,
    License,
    MaxRate,
    MinGroup,
    MinQuality,
    Nodata,
    Quantity,
    Scheduler,
    SourceOfData,
    Start,
    Step,
    Steps,
    TargetGrid,
    Title,
    Units,
    Variable,
    WholeFrames,
)
from stormcell.cli.verb import verb

app = typer.Typer(
    help="Precipitation nowcasting: radar archive → train → verify → forecast → live.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Precision = Literal["auto", "float32", "bfloat16"]
Resampled = Literal["issue", "block", "event"]


def _version(asked: bool) -> None:
    if asked:
        import stormcell

        typer.echo(f"stormcell {stormcell.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
@verb
def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results. Default: demo; with --live, none is kept."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of radar files to use instead.")] = None,
    quantity: Quantity = None,
    units: Units = None,
    zr: ZR = None,
    live: Annotated[
        bool, typer.Option("--live", help="Show the live map of generated rain instead, until interrupted.")
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="With --live: do not open the map in the browser.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="P", help="With --live: port of the map; 0 for any.")
    ] = 8000,
) -> int:
    """Run all steps on generated radar, or on the files of a folder, in minutes."""
    from stormcell.cli import data_options, demo

    if live:
        from stormcell.cli import demo_live
        from stormcell.errors import ArgumentError

        if data is not None:
            raise ArgumentError("demo --live: expected no --data, because its rain is generated, found some")
        return demo_live.run(out, port=port, browser=not no_browser)
    return demo.run(out or Path("demo"), data, data_options.read_options(quantity, units, zr))


@app.command()
@verb
def archive(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES", help="Radar files, or folders that contain them.")
    ],
    out: Annotated[Path, typer.Option(metavar="A.zarr", help="Archive to create or to append to.")],
    variable: Variable = None,
    min_quality: MinQuality = None,
    nodata: Nodata = None,
    format: Format = None,  # noqa: A002 - the name of the option
    quantity: Quantity = None,
    units: Units = None,
    zr: ZR = None,
    start: Start = None,
    step: Step = None,
    crs: Crs = None,
    bounds: Bounds = None,
    title: Title = None,
    license: License = None,  # noqa: A002 - the name of the option
    source: SourceOfData = None,
    institution: Institution = None,
    attribute: Attribute = None,
    max_rate: MaxRate = None,
    min_group: MinGroup = 1,
    clutter: Clutter = None,
    grid: TargetGrid = None,
    whole_frames: WholeFrames = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace frames of the same time that have other rates.")
    ] = False,
    durable: Durable = False,
    scheduler: Scheduler = None,
) -> int:
    """Read and check radar files, and add their frames to an archive.

    Repeating the command changes nothing.
    """
    from stormcell.cli import archive, data_options

    options = data_options.read_options(
        quantity,
        units,
        zr,
        variable=variable,
        min_quality=min_quality,
        nodata=tuple(nodata or ()),
        start=start,
        step=step,
        crs=crs,
        bounds=bounds,
        format=format,
    )
    processing = data_options.processing(
        max_rate=max_rate,
        min_group=min_group,
        clutter=clutter,
        grid=grid,
        whole_frames=whole_frames,
        attribute=attribute or [],
        title=title,
        license=license,
        source=source,
        institution=institution,
    )
    return archive.append(
        files, out, options, processing, replace=replace, durable=durable, scheduler=scheduler
    )


@app.command()
@verb
def prune(
    archive: Archive,
    keep: Annotated[
        str | None, typer.Option(metavar="30d", help="Period before the newest frame that is kept.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time before which frames are dropped.")
    ] = None,
    durable: Durable = False,
) -> int:
    """Drop the oldest frames of an archive."""
    from stormcell.cli import archive as archives

    return archives.prune(archive, keep=keep, before=before, durable=durable)


@app.command()
@verb
def check(
    archive: Archive,
    mlcast: Annotated[
        bool, typer.Option("--mlcast", help="List MLCast's requirements, and whether each is met, instead.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every frame, and compare it with its hash and statistics.")
    ] = False,
    scheduler: Scheduler = None,
) -> int:
    """Summarize an archive: its contents, gaps and errors."""
    if mlcast:
        from stormcell.cli.mlcast import check as print_requirements

        return print_requirements(archive)
    from stormcell.cli.archive import check as print_summary

    return print_summary(archive, deep=deep, scheduler=scheduler)


@app.command()
@verb
def clutter(
    archive: Archive,
    out: Annotated[Path, typer.Option(metavar="C.nc", help="File for the mask; its map is C.png.")],
    excess: Annotated[
        float, typer.Option(help="By how much its wet frequency exceeds the median around it, 0 to 1.")
    ] = 0.3,
    spread: Annotated[float, typer.Option(help="The same, in standard deviations around it.")] = 4.0,
    scheduler: Scheduler = None,
) -> int:
    """Find static clutter: pixels that are wet far more often than the pixels around them.

    The mask is for «stormcell archive --clutter C.nc».
    """
    from stormcell.cli import clutter

    return clutter.clutter(archive, out, excess=excess, spread=spread, scheduler=scheduler)


@app.command()
@verb
def train(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="A.zarr [B.zarr ...] [key=value ...]",
            help="Archives, of any grids and time steps, and settings of the recipe, such as max_minutes=15.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the training run.")],
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Model to start from, a file or the name of a shipped one: fine-tune it on the archives.",
        ),
    ] = None,
    validate_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="C.zarr",
            help="Archive to validate on, such as that of another network of radars; then all frames of the "
            "others are trained on. Can be repeated.",
        ),
    ] = None,
    leave_one_out: Annotated[
        bool,
        typer.Option(
            "--leave-one-out",
            help="Train once without each network of radars, and validate on it; networks are "
            "recognised by their source.",
        ),
    ] = False,
) -> int:
    """Train a nowcaster on one archive or several.

    Repeating the command resumes a stopped run.
    """
    from stormcell.cli import train

    archives, settings = train.from_words(words)
    return train.train(
        archives, settings, out, start=start, validate_on=validate_on or [], leave_one_out=leave_one_out
    )


@app.command()
@verb
def verify(
    archive: Annotated[
        list[Path], typer.Argument(metavar="A.zarr", help="Archive; with --merge, folders of reports.")
    ],
    out: Annotated[Path, typer.Option(metavar="REPORT", help="Folder for scores.json and report.html.")],
    forecaster: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Model file, or persistence, extrapolation, sprog, pysteps-sprog, anvil or steps. "
            "Can be repeated. Default: the shipped model, persistence, extrapolation and sprog.",
        ),
    ] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="TIME", help="First time to score.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Last time to score.")] = None,
    every: Annotated[
        int | None,
        typer.Option(
            metavar="MINUTES",
            help="Only issue times at multiples of these minutes: 60 for every full hour.",
        ),
    ] = None,
    steps: Steps = None,
    members: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Score ensembles of N members of forecasters that have them."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the members.")] = 0,
    reference: Annotated[
        str | None, typer.Option(metavar="NAME", help="Forecaster to compare the others with.")
    ] = None,
    resample: Annotated[
        Resampled, typer.Option(help="Draw issue times, blocks of them, or whole events for intervals.")
    ] = "block",
    merge: Annotated[
        bool, typer.Option("--merge", help="Merge reports of different periods into one report.")
    ] = False,
    scheduler: Scheduler = None,
) -> int:
    """Score forecasters side by side, by default on the model's test period.

    Repeating an interrupted command resumes it.
    """
    from stormcell.cli import verify
    from stormcell.errors import ArgumentError

    if merge:
        if forecaster or start or end or every or steps or members or seed:
            raise ArgumentError("verify --merge: expected folders of reports and --out, found other options")
        verify.merge(archive, out, reference=reference, resampled=resample)
    elif len(archive) > 1:
        raise ArgumentError(f"verify: expected one archive, found {len(archive)} (--merge takes reports)")
    else:
        verify.verify(
            archive[0],
            forecaster or [],
            out,
            start=start,
            end=end,
            every=every,
            steps=steps,
            members=members,
            seed=seed,
            reference=reference,
            resampled=resample,
            scheduler=scheduler,
        )
    return ALL_DONE


@app.command(context_settings={"allow_extra_args": True})
@verb
def forecast(
    context: typer.Context,
    archive: Archive,
    out: Annotated[
        Path,
        typer.Option(metavar="F.nc", help="Output file: NetCDF (.nc), Zarr (.zarr) or GeoTIFF (.tif)."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Model file, or persistence, extrapolation, sprog, pysteps-sprog, anvil or steps. "
            "Default: the shipped model.",
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Issue time. Default: the newest frame.")
    ] = None,
    steps: Steps = None,
    members: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Write an ensemble of N members.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the members.")] = 0,
    probabilities: Annotated[
        str | None,
        typer.Option(
            metavar="R,R,…", help="Also write the probabilities of rates at or above these, in mm/h."
        ),
    ] = None,
    quantiles: Annotated[
        str | None, typer.Option(metavar="P,P,…", help="Also write these quantiles, such as .1,.5,.9.")
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Names and units in NetCDF and Zarr: cf, fews (Delft-FEWS) or pysteps.",
        ),
    ] = "cf",
) -> int:
    """Forecast the rain that follows a frame of an archive."""
    from stormcell.cli import forecast

    if context.args:  # MODEL A.zarr, as in earlier versions
        archive, model = forecast.from_old_order([str(archive), *context.args], model)
    return forecast.forecast(
        archive,
        model,
        out,
        at=at,
        steps=steps,
        members=members,
        seed=seed,
        probabilities=probabilities,
        quantiles=quantiles,
        layout=layout,
    )


app.command()(live_verbs.live)
app.command()(live_verbs.status)
app.command()(live_verbs.serve)
app.command()(live_verbs.rehearse)


@app.command()
@verb
def experiment(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="paper-moving-mnist, paper-radar, openstl-moving-mnist, hko7-protocol, hko7-moving-mnist, "
            "mnist-patches or moving-digit-actions.",
        ),
    ],
    budget: Annotated[
        str,
        typer.Option(
            metavar="2m|500u",
            help="Minutes of training shared by all contenders, or updates of each contender.",
        ),
    ] = "20m",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run. Default: runs/NAME.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Folder of MNIST or archive of rain. Default: downloaded or generated."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of initial weights and training examples.")] = 0,
    search: Annotated[
        bool, typer.Option("--search", help="Search the learning rate of every contender in the same way.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Train only this contender. Can be repeated.")
    ] = None,
    tests: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of test examples. Default: as many as time allows."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Examples per update and process.")
    ] = None,
    precision: Annotated[Precision, typer.Option(help="Arithmetic of training and test.")] = "auto",
) -> int:
    """Repeat an experiment of a paper.

    Repeating the command resumes a stopped run.
    """
    from stormcell.cli import experiment

    return experiment.experiment(
        name,
        budget=budget,
        out=out,
        data=data,
        seed=seed,
        search=search,
        contenders=only or [],
        tests=tests,
        batch_size=batch,
        precision=precision,
    )
