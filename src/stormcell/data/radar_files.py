"""The radar files that the user means: files, and those in folders of the disk and of object stores."""

from collections.abc import Iterable, Iterator
from os import walk
from pathlib import Path

from stormcell.data.object_store import Location, ObjectUrl
from stormcell.data.readers import formats, looks_like_radar


def radar_files(locations: Iterable[Location], refused: dict[Location, str]) -> Iterator[Location]:
    """Yield the files, and the radar files in folders and their subfolders.

    Args:
        locations: Files and folders. In an object store, a folder is the beginning of names of files.
        refused: Is given the folders without a radar file, and the reasons.
    """
    for place in locations:
        try:
            below = _below(place)
        except OSError as error:
            refused[place] = f"expected a file or a folder, found {error.strerror}"
            continue
        if below is None:
            yield place
            continue
        radar = [file for file in below if looks_like_radar(file)]
        if not radar:
            refused[place] = f"expected a folder with radar files, found no {formats()}"
        yield from radar


def _below(place: Location) -> list[Path] | list[ObjectUrl] | None:
    """Return the files in a folder, in the order of their names; None for what is not a folder."""
    if isinstance(place, Path):
        if not place.is_dir():
            return None
        return sorted(Path(folder, name) for folder, _, names in walk(place) for name in names)
    return None if place.is_file() else place.files() or None
