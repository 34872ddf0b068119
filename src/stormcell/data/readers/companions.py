"""Files that belong to a radar file and lie beside it, or in a folder above."""

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from stormcell.data.object_store import Location, ObjectUrl
from stormcell.data.readers.source import Source


def companions(source: Source, pattern: str, above: int = 0) -> Iterator[Location]:
    """Yield the files of a name beside a radar file, then those in the folders above it.

    Args:
        source: The radar file.
        pattern: Name of the files, with ``*`` and ``?`` for any characters.
        above: Number of folders above to look into.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     (Path(folder) / "coordinates.npz").touch()
        ...     beside = companions(Source(Path(folder) / "rain.npz"), "coord*.npz")
        ...     [path.name for path in beside]
        ['coordinates.npz']
    """
    if isinstance(source.path, Path):
        folder = source.path.absolute().parent
        for place in (folder, *folder.parents[:above]):
            yield from sorted(path for path in place.glob(pattern) if path.is_file())
        return
    folder_url = _parent(source.path)
    for _ in range(above + 1):
        if folder_url.text.endswith(":/") or "/" not in folder_url.text.partition("://")[2]:
            return  # the bucket itself was the last
        if any(character in pattern for character in "*?["):
            depth = folder_url.text.count("/") + 1
            for url in folder_url.files():
                if url.text.count("/") == depth and fnmatch(url.name, pattern):
                    yield url
        elif (folder_url / pattern).is_file():
            yield folder_url / pattern
        folder_url = _parent(folder_url)


def _parent(url: ObjectUrl) -> ObjectUrl:
    return ObjectUrl(url.text.rpartition("/")[0])
