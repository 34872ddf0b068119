"""Drop old publications, and what was left behind by a process that was killed."""

import os
import shutil
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path

from stormcell.errors import OutputError
from stormcell.published.manifest import CELLS, COVERAGE, time_name, time_of_name
from stormcell.published.reading import Shelf
from stormcell.published.writing import leave_out

_LEFT = (".*.part", ".*.part.*", ".*.old", ".*.old.*")  # names of atomic writes


def clear_parts(root: Path) -> list[str]:
    """Delete what a killed process left behind, and return its names.

    Only for the one process that writes into the folder, before it writes.

    Raises:
        OutputError: It cannot be deleted.
    """
    found = sorted({path for pattern in _LEFT for path in root.glob(pattern)})
    for path in found:
        _delete(path, root)
    return [path.name for path in found]


def prune(
    root: Path,
    keep_pictures: timedelta,
    keep_forecasts: timedelta,
    now: datetime,
    protected: Collection[str] = (),
) -> list[str]:
    """Drop old publications, and pictures and cells of those that are not so old.

    What ``latest.json`` names always stays as it is: the newest publication, those with the observed frames'
    pictures, and the earlier ones. The age of a publication is counted from its issue time.

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
            age = now - time_of_name(issue)
        except ValueError:  # digits that are not a time: not of this folder's writers
            continue
        if name in kept or age <= keep_pictures:
            continue
        if age > keep_forecasts:
            _delete(root / name, root)
            dropped.append(name)
        elif _drop_pictures(root, name):
            dropped.append(name)
    return dropped


def make_room(root: Path, enough: Callable[[], bool], protected: Collection[str] = ()) -> list[str]:
    """Drop whole publications, the oldest first, until there is enough free space.

    The newest publication always stays. The earlier ones that ``latest.json`` names are dropped as well,
    after it was changed to name them no longer.

    Args:
        root: The published folder.
        enough: Whether there is enough free space now.
        protected: Names of further folders that stay.

    Returns:
        Names of the dropped publications, oldest first.

    Raises:
        PublicationError: ``latest.json`` is damaged; nothing is dropped.
        OutputError: Something cannot be deleted or written.
    """
    shelf = Shelf(root)
    latest = shelf.latest()
    kept = {*protected, *(() if latest is None else (latest.folder,))}
    dropped: list[str] = []
    for issue, run in shelf.publications():
        name = f"{issue}-{run}"
        if enough():
            break
        if name not in kept:
            leave_out(root, [name])
            _delete(root / name, root)
            dropped.append(name)
    return dropped


def _named(shelf: Shelf) -> set[str]:
    """Return the names of the publications that ``latest.json`` names."""
    latest = shelf.latest()
    if latest is None:
        return set()
    earlier = (f"{time_name(issue)}-{run}" for issue, run in latest.earlier)
    return {latest.folder, *(frame.folder for frame in latest.observed), *earlier}


def _drop_pictures(root: Path, name: str) -> bool:
    """Delete pictures and cells of a publication, and return whether it had any."""
    found = [path for part in ("frames", CELLS, COVERAGE) if (path := root / name / part).exists()]
    for path in found:
        _delete(path, root)
    return bool(found)


def _delete(path: Path, root: Path) -> None:
    """Delete a file or a folder, which readers see either whole or not at all."""
    part = path if path.parent == root and path.name.startswith(".") else root / _part_name(path)
    try:
        path.rename(part)
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part)
        else:
            part.unlink()
    except OSError as error:
        raise OutputError(f"{path}: could not be deleted: {error.strerror}") from error


def _part_name(path: Path) -> str:
    return f".{path.parent.name}-{path.name}.{os.getpid()}.part"
