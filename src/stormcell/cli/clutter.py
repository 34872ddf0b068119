"""``clutter``: find the static clutter of an archive, and write its mask and map."""

from pathlib import Path

from rich.console import Console

from stormcell.atomic import write_file
from stormcell.cli.exit_status import ALL_DONE
from stormcell.cli.output import bar_on
from stormcell.data import archive, static_clutter
from stormcell.data.parallel import workers
from stormcell.errors import ArgumentError
from stormcell.verification.clutter_map import clutter_map
from stormcell.verification.figures import png


def clutter(path: Path, out: Path, *, excess: float, spread: float, scheduler: str | None = None) -> int:
    """Write a mask of static clutter, and beside it a map as PNG.

    Raises:
        ArgumentError: The output is no NetCDF file, or a threshold is out of range.
        InputError: Too few frames were observed.
    """
    if out.suffix != ".nc" or out.is_dir():
        raise ArgumentError(f"{out}: expected a file that ends in .nc, found {out.suffix or 'another name'}")
    ds = archive.open(path)
    with workers(scheduler) as started, bar_on(Console(stderr=True)) as bar:
        task = bar.add_task("counting")
        found = static_clutter.find(
            ds,
            excess=excess,
            spread=spread,
            workers=started,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    static_clutter.write(found, out)
    picture = out.with_suffix(".png")
    credit = " ".join(str(ds.attrs[name]) for name in ("source", "license") if name in ds.attrs)
    write_file(picture, png(clutter_map(found, credit=credit)))
    number = int(found[static_clutter.MASK].sum())
    observed = int(found[static_clutter.FREQUENCY].notnull().sum())
    print(f"{out}: {number} of {observed} observed pixels are static clutter\n{picture}")
    return ALL_DONE
