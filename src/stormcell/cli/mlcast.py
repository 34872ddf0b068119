"""``check --mlcast``: MLCast's requirements on a store, and whether each is met."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stormcell.cli.exit_status import ALL_DONE, SOME_REFUSED
from stormcell.data import archive, mlcast
from stormcell.data.mlcast_attributes import VALIDATOR

_WIDTH = 140  # columns of the table if the output is not a terminal
_STYLES = {"pass": "green", "warning": "yellow", "fail": "red", "cannot": "magenta"}


def check(path: Path) -> int:
    """Print a table of all requirements; the status is 1 if one is not met that can be met."""
    results = mlcast.check(archive.open_as_stored(path))
    table = Table(title=f"requirements of mlcast-dataset-validator {VALIDATOR}")
    for name in ("section", "requirement", "result", "found"):
        table.add_column(name, overflow="fold")
    for one in results:
        state = f"[{_STYLES[one.state]}]{one.state}[/]"
        table.add_row(one.section, one.requirement, state, one.detail.replace("[", r"\["))
    screen = Console(highlight=False)
    if not screen.is_terminal:
        screen.width = _WIDTH
    screen.print(table)
    counts = Counter(str(one.state) for one in results)
    screen.print(", ".join(f"{counts[state]} {state}" for state in _STYLES if counts[state]))
    if counts["cannot"]:
        screen.print("cannot: met only inside the MLCast organisation")
    return SOME_REFUSED if counts["fail"] else ALL_DONE
