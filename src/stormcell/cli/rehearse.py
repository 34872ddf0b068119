"""``rehearse``: feed an archive to the live loop with faults, and check its promises."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from stormcell.cli.exit_status import ALL_DONE, SOME_REFUSED
from stormcell.cli.extras import needing_serve
from stormcell.cli.live import Reading, log
from stormcell.cli.output import bar_on
from stormcell.errors import ArgumentError
from stormcell.live.child import Child
from stormcell.live.faulty_feed import RATES, Fault
from stormcell.live.invariants import INVARIANTS
from stormcell.live.live_settings import Settings

if TYPE_CHECKING:
    from stormcell.live.rehearsal import Rehearsed


def rehearse(path: Path, out: Path, model: str, rates: Mapping[Fault, float], *, seed: int) -> int:
    """Rehearse, and print the results.

    Raises:
        ArgumentError: A rate is not a share, or the folder is not empty.
        MissingExtraError: The packages for alerts are not installed.
        StormcellError: The rehearsal cannot begin.
    """
    with needing_serve("rehearse"):
        from stormcell.live import rehearsal
    given = {**RATES, **rates}
    if min(given.values()) < 0 or sum(given.values()) > 1:
        raise ArgumentError(f"rates: expected shares of frames that add up to 1 at most, found {given}")
    settings = Settings("", "", out, Reading({}, {}), model=model)
    child, console = Child(settings.memory), Console(stderr=True)
    try:
        with bar_on(console) as bar:
            task = bar.add_task("rehearsing")
            found = rehearsal.rehearse(
                path,
                out,
                settings,
                child,
                rates=given,
                seed=seed,
                log=log,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    finally:
        child.close(patience=2.0)
    Console(highlight=False).print(_table(found))
    return SOME_REFUSED if found.broken else ALL_DONE


def _table(found: "Rehearsed") -> Table:
    """Return what was fed, what became of it, and whether the invariants were kept."""
    table = Table(title="rehearsal", show_header=False)
    table.add_row("frames by fault", _counts(found.faults))
    table.add_row("frames and files by outcome", _counts(found.files))
    table.add_row("publications", str(found.publications))
    table.add_section()
    for name in INVARIANTS:
        table.add_row(name, f"broken: {found.broken[name]}" if name in found.broken else "kept")
    return table


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number)
