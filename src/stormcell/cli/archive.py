"""``archive``, ``prune`` and ``check``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from stormcell.cli.exit_status import ALL_DONE, NOTHING_DONE, SOME_REFUSED
from stormcell.cli.output import bar_on
from stormcell.data import archive, cleaning, pruning
from stormcell.data.object_store import location
from stormcell.data.parallel import workers
from stormcell.data.processing import Processing
from stormcell.data.read_options import ReadOptions
from stormcell.data.summary import describe


def append(
    files: Sequence[Path],
    out: Path,
    options: ReadOptions,
    processing: Processing | None = None,
    *,
    replace: bool = False,
    durable: bool = False,
    scheduler: str | None = None,
) -> int:
    """Append files to an archive, and name the refused ones."""
    console = Console(stderr=True)
    with workers(scheduler) as started, bar_on(console) as bar:
        task = bar.add_task("reading")
        done = archive.append(
            out,
            files,
            options=options,
            processing=processing,
            replace=replace,
            durable=durable,
            workers=started,
            progress=lambda n, total: bar.update(task, completed=n, total=total),
        )
    for file, reason in done.refused:
        console.print(f"refused {file}: {reason}", highlight=False, soft_wrap=True, markup=False)
    added, present = len(done.added), len(done.present)
    counts = [f"{_count(added, 'frame')} added", f"{present} already present"]
    counts += [f"{len(done.replaced)} replaced"] * bool(done.replaced)
    counts += [f"{len(done.pruned)} older than those kept"] * bool(done.pruned)
    print(f"{done.path}: {', '.join(counts)}, {_count(len(done.refused), 'file')} refused")
    if removed := cleaning.describe(np.array(done.cleaned, np.int64).reshape(-1, len(cleaning.RULES))):
        print(f"{done.path}: {removed}")
    if not done.refused:
        return ALL_DONE
    return SOME_REFUSED if added or present or done.replaced or done.pruned else NOTHING_DONE


def prune(path: Path, *, keep: str | None, before: str | None, durable: bool) -> int:
    """Drop the oldest frames of an archive."""
    dropped = pruning.prune(path, keep=keep, before=before, durable=durable)
    print(f"{location(path)}: {_count(len(dropped), 'frame')} dropped")
    return ALL_DONE


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def check(path: Path, *, deep: bool = False, scheduler: str | None = None) -> int:
    """Print the summary of an archive; the status is 1 if it has problems."""
    with workers(scheduler) as started:
        found = describe(archive.open(path), deep=deep, workers=started)
    print(found)
    return SOME_REFUSED if found.problems else ALL_DONE
