"""Atomic writes: after a crash or on a full disk, a path has its old or its new content, never a part.

Content is written beside its destination, flushed to the disk and then renamed. Every failure is an
:class:`~stormcell.errors.OutputError` that names the path and the reason.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from stormcell.errors import OutputError


def write_file(path: Path, content: bytes) -> None:
    """Write a file, or replace it.

    Raises:
        OutputError: It cannot be written; the old content is intact.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_file(Path(folder) / "a.txt", b"rain")
        ...     [entry.name for entry in Path(folder).iterdir()]
        ['a.txt']
    """
    with replacing(path) as part:
        part.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write a file or a folder to, which replaces ``path`` when the block ends without error.

    Raises:
        OutputError: It cannot be written; the old content is intact.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "store") as new:
        ...         new.mkdir()
        ...         size = (new / "a.txt").write_text("rain")
        ...     (Path(folder) / "store" / "a.txt").read_text()
        'rain'
    """
    part = _beside(path, "part")
    try:
        yield part
        _sync(part)
        if path.is_dir():
            _exchange(path, part)
        else:
            part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _failure(path, "written", error) from error
    finally:
        _remove(part)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write several files of one folder; either all of them replace the old ones, or none does.

    Raises:
        OutputError: One of them cannot be written; all old files are intact.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_files(Path(folder), {"a.txt": b"rain", "b.txt": b"snow"})
        ...     sorted(entry.name for entry in Path(folder).iterdir())
        ['a.txt', 'b.txt']
    """
    paths = {folder / name: content for name, content in files.items()}
    replaced = []
    try:
        # Everything that needs disk space comes first. After that, files are only renamed.
        for path, content in paths.items():
            _beside(path, "part").write_bytes(content)
            _sync(_beside(path, "part"))
            if path.exists():
                shutil.copy2(path, _beside(path, "old"))
        for path in paths:
            _beside(path, "part").replace(path)
            replaced.append(path)
        _sync_folder(folder)
    except BaseException as error:
        for earlier in replaced:
            if _beside(earlier, "old").exists():
                _beside(earlier, "old").replace(earlier)
            else:
                earlier.unlink()
        if not isinstance(error, OSError):
            raise
        raise _failure(path, "written", error) from error
    finally:
        for path in paths:
            for kind in ("part", "old"):
                _remove(_beside(path, kind))


def append(path: Path, text: str) -> None:
    r"""Append text to a file, which is created if it does not exist.

    Raises:
        OutputError: It cannot be written; the old content is intact, but part of the text may follow it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     append(Path(folder) / "a.csv", "1,2\n")
        ...     append(Path(folder) / "a.csv", "3,4\n")
        ...     (Path(folder) / "a.csv").read_text()
        '1,2\n3,4\n'
    """
    try:
        with path.open("a") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _failure(path, "written", error) from error


def make_folder(path: Path) -> None:
    """Create a folder for results and its parents, unless it exists.

    Raises:
        OutputError: It cannot be created, or is a Zarr store, such as an archive of radar.
    """
    if any((path / name).is_file() for name in ("zarr.json", ".zgroup")):
        raise OutputError(f"{path}: expected a folder for results, found a Zarr store")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _failure(path, "created", error) from error


def _beside(path: Path, kind: str) -> Path:
    """Return a temporary path in the same folder, with the same suffix, which some writers require."""
    return path.with_name(f".{path.stem}.{os.getpid()}.{kind}{path.suffix}")


def _exchange(folder: Path, new: Path) -> None:
    """Put a new folder in the place of an old one, which is deleted last.

    No system call exchanges two folders. A process that is killed between the two renames leaves the old
    folder under its temporary name.
    """
    old = _beside(folder, "old")
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _sync(path: Path) -> None:
    """Flush a file, or a folder and everything inside it, to the disk."""
    if path.is_dir():
        for inner in path.iterdir():
            _sync(inner)
        _sync_folder(path)
        return
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename survives a power cut."""
    if os.name == "nt":  # Windows cannot open folders.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    """Remove a temporary file or folder, if it still exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _failure(path: Path, action: str, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    failure = OutputError(f"{path}: could not be {action}: {reason}")
    failure.strerror = reason  # so that a caller can give the same reason for something larger
    return failure
