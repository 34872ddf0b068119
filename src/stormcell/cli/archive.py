"""``archive`` and ``check``."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from stormcell.cli.exit_status import ALL_DONE, NOTHING_DONE, SOME_REFUSED
from stormcell.data import archive
from stormcell.data.quantity import Told
from stormcell.data.summary import describe


def append(files: Sequence[Path], out: Path, told: Told) -> int:
    """Add files to an archive, and name those that could not be."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("reading")
        done = archive.append(
            out, files, told=told, progress=lambda n, total: bar.update(task, completed=n, total=total)
        )
    for file, reason in done.refused:
        console.print(f"refused {file}: {reason}", highlight=False, soft_wrap=True, markup=False)
    added, present = len(done.added), len(done.present)
    print(f"{out}: {added} frames added, {present} there already, {len(done.refused)} files refused")
    if not done.refused:
        return ALL_DONE
    return SOME_REFUSED if added or present else NOTHING_DONE


def check(path: Path) -> int:
    """Print what is in an archive; a status of 1 says that something is wrong with it."""
    found = describe(archive.open(path))
    print(found)
    return SOME_REFUSED if found.problems else ALL_DONE
