"""A radar file as a file on the disk, for libraries that open nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from stormcell.data.readers.source import Source


@contextmanager
def plain_file(source: Source) -> Iterator[Path]:
    """Give the path of a radar file, decompressed into a temporary file of the same name if need be.

    A folder is given as it is.

    Example:
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "rain.dat"
        ...     size = path.write_bytes(b"rain")
        ...     with plain_file(Source(path)) as found:
        ...         found == path
        True
    """
    file = source.path if source.is_folder else source.file()
    if isinstance(file, Path):
        yield file
        return
    with TemporaryDirectory(prefix="stormcell-") as folder:
        path = Path(folder) / (Path(source.name).name or "file")
        path.write_bytes(source.contents())
        yield path
