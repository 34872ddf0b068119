"""The radar files that the user means: files, and those in folders of the disk and of object stores."""

from collections.abc import Callable, Container, Iterable, Iterator
from os import walk
from pathlib import Path

from stormcell.data.object_store import Location, ObjectUrl
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import formats, is_folder_source, looks_like_radar
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

# One of them is in each folder of a Zarr store that is a group or an array.
_ZARR_FILES = ("zarr.json", ".zgroup", ".zarray")


def radar_files(
    locations: Iterable[Location],
    refused: dict[Location, str],
    options: ReadOptions | None = None,
    *,
    but: Location | None = None,
    listed: Callable[[Iterable[Location]], Container[Location]] = lambda _: (),
) -> Iterator[Location]:
    """Yield the files, and the radar files in folders and their subfolders.

    Args:
        locations: Files and folders. In an object store, a folder is the beginning of names of files.
        refused: Is given the folders without a radar file, and the reasons.
        options: Statements about the files.
        but: An archive in one of the folders, which is left out.
        listed: Returns those files that are known as radar files, which need not be recognised.
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
        known = listed(below)
        radar = [file for file in below if file in known or _is_read(file, options, but)]
        if not radar:
            packed = next((file.name for file in below if _is_packed(file)), "")
            found = f"only packed ones such as {packed}; unpack them first" if packed else f"no {formats()}"
            refused[place] = f"expected a folder with radar files, found {found}"
            if isinstance(place, ObjectUrl):
                refused[place] += "; Zarr stores in an object store are not archived"
        yield from radar


def _is_packed(file: Location) -> bool:
    try:
        return bool(Source(file).packed)
    except InputError:  # an empty file, for example
        return False


def _below(place: Location) -> list[Path] | list[ObjectUrl] | None:
    """Return the files in a folder, in the order of their names; None for a file.

    A folder that is read as one file, such as a Zarr store, counts as a file.
    """
    if isinstance(place, Path):
        return sorted(_walk(place)) if place.is_dir() and not is_folder_source(place) else None
    files = [] if place.is_file() else place.files()
    return _outside_zarr(files) if files else None


def _outside_zarr(files: list[ObjectUrl]) -> list[ObjectUrl]:
    """Return the files that do not belong to a Zarr store, such as an archive in the same folder."""
    stores = tuple({f"{file.parent}/" for file in files if file.name in _ZARR_FILES})
    return [file for file in files if not str(file).startswith(stores)]


def _walk(place: Path) -> Iterator[Path]:
    for folder, inner, names in walk(place):
        yield from (Path(folder, name) for name in names)
        sources = [name for name in inner if is_folder_source(Path(folder, name))]
        yield from (Path(folder, name) for name in sources)
        inner[:] = [name for name in inner if name not in sources and not name.startswith(".")]


def _is_read(file: Location, options: ReadOptions | None, but: Location | None) -> bool:
    """Whether a file in a folder, or a folder that counts as a file, is to be read."""
    if isinstance(file, Path) and file.is_dir():
        return not (isinstance(but, Path) and but.resolve() == file.resolve())
    return looks_like_radar(file, options)
