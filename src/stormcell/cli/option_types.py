"""The types of arguments and options that several verbs share: their help texts, and how they are grouped."""

from pathlib import Path
from typing import Annotated

import typer

_METADATA = "Options for metadata that the files do not give"
_PROCESSING = "Options for cleaning and regridding"

Archive = Annotated[Path, typer.Argument(metavar="A.zarr", help="An archive written by «stormcell archive».")]
Variable = Annotated[
    str | None, typer.Option(metavar="NAME", help="Variable to read, in files that have several.")
]
MinQuality = Annotated[
    float | None,
    typer.Option(metavar="Q", help="Lowest quality of observed pixels, on the scale of the files."),
]
Nodata = Annotated[
    list[float] | None,
    typer.Option(metavar="VALUE", help="A number in the files that means not observed; may be repeated."),
]
Format = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Format of the files, instead of detecting it. pysteps:NAME and xarray:ENGINE use an importer "
        "of pysteps, or an engine of xarray.",
    ),
]
Quantity = Annotated[
    str | None, typer.Option(help="Quantity: rate, dbz or amount.", rich_help_panel=_METADATA)
]
Units = Annotated[
    str | None, typer.Option(help='Units, such as "mm/h" or "mm/5min".', rich_help_panel=_METADATA)
]
ZR = Annotated[
    str | None,
    typer.Option(
        "--zr",
        metavar="A,B",
        help="Constants of the Z–R relation Z = A · R^B.",
        rich_help_panel=_METADATA,
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help='Time of the first frame in UTC, such as "2020-05-01T12:00".',
        rich_help_panel=_METADATA,
    ),
]
Step = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help='Time step, such as "5min".', rich_help_panel=_METADATA),
]
Crs = Annotated[
    str | None,
    typer.Option(
        metavar="CRS", help='Projection: "EPSG:3067", a PROJ string or WKT.', rich_help_panel=_METADATA
    ),
]
Bounds = Annotated[
    str | None,
    typer.Option(
        metavar="W,S,E,N",
        help="Outer edges of the grid, in units of the projection.",
        rich_help_panel=_METADATA,
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Dask scheduler, such as tcp://host:8786; or cores, for those of this machine; or none. "
        "Default: the cores, if there is work for more than some seconds.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Number of lead times. Default: the model's, or those of an hour."),
]
Durable = Annotated[bool, typer.Option("--durable", help="Flush each change to the disk, for power cuts.")]
MaxRate = Annotated[
    str | None,
    typer.Option(
        metavar="R|none",
        help="Rates above R mm/h count as not observed. Default: the world record for the period.",
        rich_help_panel=_PROCESSING,
    ),
]
MinGroup = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Groups of fewer wet pixels count as dry. 1 keeps all.",
        rich_help_panel=_PROCESSING,
    ),
]
Clutter = Annotated[
    Path | None,
    typer.Option(
        metavar="C.nc",
        help="Mask of static clutter from «stormcell clutter», which counts as not observed.",
        rich_help_panel=_PROCESSING,
    ),
]
TargetGrid = Annotated[
    str | None,
    typer.Option(
        "--grid",
        metavar="CRS,SIDE[,W,S,E,N]",
        help="Projection and side of the pixels to regrid to, and outer edges; or an archive with that grid.",
        rich_help_panel=_PROCESSING,
    ),
]
Title = Annotated[str | None, typer.Option(help="Title of the archive.", rich_help_panel=_METADATA)]
License = Annotated[
    str | None,
    typer.Option(help='License of the data, such as "CC-BY-4.0".', rich_help_panel=_METADATA),
]
SourceOfData = Annotated[
    str | None,
    typer.Option("--source", help="Source of the data, as it is to be credited.", rich_help_panel=_METADATA),
]
Institution = Annotated[
    str | None, typer.Option(help="Institution that made the data.", rich_help_panel=_METADATA)
]
Attribute = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Further attribute of the archive. Can be repeated.",
        rich_help_panel=_METADATA,
    ),
]
WholeFrames = Annotated[
    bool,
    typer.Option(
        "--whole-frames",
        help="Make a new archive with one chunk per frame, as MLCast requires; windows are read more slowly.",
    ),
]
