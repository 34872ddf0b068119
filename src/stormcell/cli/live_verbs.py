"""The verbs of the live loop, and of the server of what it publishes, with their options."""

from pathlib import Path
from typing import Annotated

import typer

from stormcell.cli.option_types import (
    ZR,
    Archive,
    Attribute,
    Bounds,
    Clutter,
    Crs,
    Format,
    MaxRate,
    MinGroup,
    MinQuality,
    Nodata,
    Quantity,
    Steps,
    TargetGrid,
    Units,
    Variable,
)
from stormcell.cli.verb import verb


@verb
def live(
    feed: Annotated[
        str, typer.Argument(metavar="FEED", help="Folder that radar files arrive in, or s3://bucket/folder.")
    ],
    archive: Annotated[str, typer.Option(metavar="A.zarr", help="Archive to create or to append to.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to publish into.")],
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="As for «stormcell forecast». A file is watched for a newer one."),
    ] = None,
    steps: Steps = None,
    members: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Publish an ensemble of N members.")
    ] = None,
    probabilities: Annotated[
        str, typer.Option(metavar="R,R,…", help="Rates in mm/h whose probabilities are published.")
    ] = ".1,.5,1,5,10",
    quantiles: Annotated[
        str, typer.Option(metavar="P,P,…", help="Quantiles that are published.")
    ] = ".1,.5,.9",
    layout: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also write forecast-NAME.nc: fews (Delft-FEWS) or pysteps. Can be repeated.",
        ),
    ] = None,
    variable: Variable = None,
    min_quality: MinQuality = None,
    nodata: Nodata = None,
    format: Format = None,  # noqa: A002 - the name of the option
    quantity: Quantity = None,
    units: Units = None,
    zr: ZR = None,
    crs: Crs = None,
    bounds: Bounds = None,
    attribute: Attribute = None,
    max_rate: MaxRate = None,
    min_group: MinGroup = 1,
    clutter: Clutter = None,
    grid: TargetGrid = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Names of files to ignore, such as *.xml. Can be repeated."),
    ] = None,
    done: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to move archived files into. Default: they stay."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Publish what is there, and stop.")] = False,
    standby: Annotated[
        bool, typer.Option("--standby", help="Wait while another loop publishes into the folder.")
    ] = False,
    backfill: Annotated[
        bool,
        typer.Option("--backfill", help="Also publish the forecasts of earlier frames that are missing."),
    ] = False,
    grace: Annotated[
        float, typer.Option(min=0, metavar="S", help="Seconds to wait for a missing frame before the newest.")
    ] = 20.0,
    poll: Annotated[float, typer.Option(min=0.1, metavar="S", help="Seconds between looks at FEED.")] = 1.0,
    time_limit: Annotated[
        float, typer.Option(min=1, metavar="S", help="Seconds that a forecast may take.")
    ] = 60.0,
    memory_limit: Annotated[
        int, typer.Option(min=200, metavar="MB", help="Memory of the process that forecasts.")
    ] = 4000,
    keep: Annotated[
        str, typer.Option(metavar="24h", help="Period for which pictures and values at points are kept.")
    ] = "24h",
    keep_files: Annotated[
        str, typer.Option(metavar="7d", help="Period for which forecast.nc is kept.")
    ] = "7d",
    min_free: Annotated[
        int,
        typer.Option(min=0, metavar="MB", help="Free disk space below which old publications are dropped."),
    ] = 500,
    rules: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file of alerts and the webhooks they go to.")
    ] = None,
) -> int:
    """Watch a folder of radar files, and publish a forecast for every new frame, until it is stopped."""
    from stormcell.cli import live

    reading = live.Reading(
        {
            "quantity": quantity,
            "units": units,
            "zr": zr,
            "variable": variable,
            "min_quality": min_quality,
            "nodata": tuple(nodata or ()),
            "crs": crs,
            "bounds": bounds,
            "format": format,
        },
        {
            "max_rate": max_rate,
            "min_group": min_group,
            "clutter": clutter,
            "grid": grid,
            "attribute": attribute or [],
        },
    )
    return live.live(
        live.settings(
            feed,
            archive,
            out,
            reading=reading,
            model=model,
            steps=steps,
            members=members,
            probabilities=probabilities,
            quantiles=quantiles,
            layouts=tuple(layout or ()),
            ignored=tuple(ignore or ()),
            done=done,
            backfill=backfill,
            grace=grace,
            poll=poll,
            forecast_seconds=time_limit,
            memory=memory_limit * 1_000_000,
            keep=keep,
            keep_files=keep_files,
            least_free=min_free * 1_000_000,
            rules=rules,
        ),
        once=once,
        standby=standby,
    )


@verb
def status(
    published: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that «stormcell live» publishes into.")
    ],
    max_age: Annotated[
        str | None,
        typer.Option(metavar="15min", help="Age of the newest frame that is still fresh. Default: 3 steps."),
    ] = None,
) -> int:
    """Print how fresh the forecasts are: status 0 fresh, 1 stale or degraded, 2 nothing."""
    from stormcell.cli import live

    return live.status(published, max_age)


@verb
def serve(
    published: Annotated[
        Path, typer.Argument(metavar="PUBLISHED", help="Folder that «stormcell live» writes.")
    ],
    host: Annotated[
        str, typer.Option(metavar="H", help="Address to listen at; 0.0.0.0 for all of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="P", help="Port to listen at.")] = 8000,
    areas: Annotated[
        Path | None, typer.Option(metavar="FILE", help="GeoJSON polygons whose rain is served by name.")
    ] = None,
    basemap: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Tiles of another basemap, such as https://tile.example/{z}/{x}/{y}.png.",
        ),
    ] = None,
    basemap_credit: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Whose basemap it is, for the credits of the map."),
    ] = None,
) -> int:
    """Serve the map, and the data behind it, until interrupted."""
    from stormcell.cli.serve import serve as run

    return run(published, host, port, areas=areas, basemap=basemap, credit=basemap_credit)


@verb
def rehearse(
    archive: Archive,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Empty folder for the feed and what is made of it.")
    ],
    model: Annotated[str, typer.Option(metavar="NAME", help="As for «stormcell live».")] = "extrapolation",
    late: Annotated[float, typer.Option(metavar="P", help="Share of frames that come late.")] = 0.05,
    torn: Annotated[float, typer.Option(metavar="P", help="Share that come in two parts.")] = 0.05,
    doubled: Annotated[float, typer.Option(metavar="P", help="Share that come twice.")] = 0.05,
    future: Annotated[float, typer.Option(metavar="P", help="Share with a copy of the future.")] = 0.02,
    revised: Annotated[float, typer.Option(metavar="P", help="Share that come again, changed.")] = 0.02,
    blind: Annotated[float, typer.Option(metavar="P", help="Share without an observed pixel.")] = 0.02,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the faults.")] = 0,
) -> int:
    """Feed an archive to the live loop with faults, and check what it promises.

    Status 1: a promise was broken.
    """
    from stormcell.cli import rehearse

    return rehearse.rehearse(
        archive,
        out,
        model,
        {
            "late": late,
            "torn": torn,
            "doubled": doubled,
            "future": future,
            "revised": revised,
            "blind": blind,
        },
        seed=seed,
    )
