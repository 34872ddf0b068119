"""Drop old publications, and what was left behind by a process that was killed."""

import os
import shutil
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stormcell.errors import OutputError
from stormcell.published.manifest import CELLS, COVERAGE, NAME_OF_TIME
from stormcell.published.reading import Shelf

_LEFT = (".*.part", ".*.part.*", ".*.old", ".*.old.*")  # names of atomic writes


def clear_parts(root: Path) -> list[str]:
    """Delete what a killed process left behind, and return its names.

    Only for the one process that writes into the folder, before it writes.

    Raises:
        OutputError: It cannot be deleted.
    """
    found = sorted({path for pattern in _LEFT for path in root.glob(pattern)})
    for path in found:
        _delete(path)
    return [path.name for path in found]


def prune(
    root: Path,
    keep_pictures: timedelta,
    keep_forecasts: timedelta,
    now: datetime,
    protected: Collection[str] = (),
) -> list[str]:
    """Drop old publications, and pictures and cells of those that are not so old.

    What ``latest.json`` names always stays: the newest publication, and those with the observed frames'
    pictures. The age of a publication is counted from its issue time.

    Args:
        root: The published folder.
        keep_pictures: Age from which pictures and cells are dropped.
        keep_forecasts: Age from which the whole publication is dropped, at least that of pictures.
        now: The time.
        protected: Names of further folders that stay as they are.

    Returns:
        Names of the publications from which something was dropped, oldest first.

    Raises:
        PublicationError: ``latest.json`` is damaged; nothing is dropped.
        OutputError: Something cannot be deleted.
    """
    kept = {*protected, *_named(Shelf(root))}
    dropped = []
    for issue, run in Shelf(root).publications():
        name = f"{issue}-{run}"
        try:
            age = now - datetime.strptime(issue, NAME_OF_TIME).replace(tzinfo=UTC)
        except ValueError:  # digits that are not a time: not of this folder's writers
            continue
        if name in kept or age <= keep_pictures:
            continue
        if age > keep_forecasts:
            _delete(root / name)
            dropped.append(name)
        elif _drop_pictures(root / name):
            dropped.append(name)
    return dropped


def _named(shelf: Shelf) -> set[str]:
    latest = shelf.latest()
    if latest is None:
        return set()
    return {latest.folder, *(frame.folder for frame in latest.observed)}


def _drop_pictures(folder: Path) -> bool:
    found = [path for name in ("frames", CELLS, COVERAGE) if (path := folder / name).exists()]
    for path in found:
        _delete(path)
    return bool(found)


def _delete(path: Path) -> None:
    """Delete a file or a folder, which readers see either whole or not at all."""
    hidden = path if path.name.startswith(".") else path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.is_dir() and not path.is_symlink():
            path.rename(hidden)
            shutil.rmtree(hidden)
        else:
            path.unlink()
    except OSError as error:
        raise OutputError(f"{path}: could not be deleted: {error.strerror}") from error
