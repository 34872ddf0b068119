"""The types of options that several verbs share: their help texts, and how they are grouped."""

from typing import Annotated

import typer

_METADATA = "Options for metadata that the files do not give"

Variable = Annotated[
    str | None, typer.Option(metavar="NAME", help="Variable to read, in files that have several.")
]
MinQuality = Annotated[
    float | None,
    typer.Option(metavar="Q", help="Lowest quality of observed pixels, on the scale of the files."),
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
Durable = Annotated[bool, typer.Option("--durable", help="Flush each change to the disk, for power cuts.")]
