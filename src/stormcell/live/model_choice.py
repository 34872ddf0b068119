"""The forecaster of a live loop: which one is in use, and whether a new model file may take its place."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stormcell.atomic import make_folder, write_file
from stormcell.errors import InputError, ModelFileError, StormcellError

# In the published folder. A forecast that is made again needs the very file, which its owner may replace.
FOLDER = ".models"

Modified = tuple[int, int]


@dataclass(frozen=True)
class Choice:
    """A forecaster that has been tried.

    Attributes:
        by: Name of a baseline or a shipped model, or path of a model file.
        name: Name for people and scores: of the baseline or model, or of the file that was given.
        title: What the forecaster calls itself.
        digest: SHA-256 of the model file; the name of a baseline.
    """

    by: str
    name: str
    title: str
    digest: str


@dataclass(frozen=True)
class TryForecaster:
    """Load a forecaster, and forecast the newest frames of an archive with it, if it has enough.

    Attributes:
        by: Name of a baseline or a shipped model, or path of a model file; None for the first shipped model.
        name: Name for people; None for ``by``.
        archive: The archive, which need not exist.
    """

    by: str | None
    name: str | None
    archive: str

    def __call__(self) -> Choice:
        """Do it.

        Raises:
            ArgumentError: No baseline, file or shipped model has that name.
            ModelFileError: The file is not a model file, or its forecast cannot be rain.
            MissingExtraError: The baseline needs a package that is not installed.
        """
        from stormcell.forecast.resolve import forecaster, shipped_name
        from stormcell.live.trial import forecast_of_newest

        by = shipped_name() if self.by is None else self.by
        chosen = forecaster(by)
        forecast_of_newest(chosen, self.archive)
        return Choice(by, self.name or by, chosen.title, getattr(chosen, "digest", by))


class ModelFile:
    """A model file that may be replaced by another while the loop runs.

    Args:
        path: The file.
        archive: The archive whose newest frames a new file is tried on.
        out: The published folder.
        run: Does a job in the child.
    """

    def __init__(self, path: Path, archive: str, out: Path, run: Callable[[TryForecaster], Choice]) -> None:
        self._path, self._archive, self._folder, self._run = path, archive, out / FOLDER, run
        self._taken: Modified | None = None
        self._before: Modified | None = None

    def first(self) -> tuple[Choice, str | None]:
        """Return the forecaster to begin with, and a problem if it is not that of the file.

        Raises:
            StormcellError: The file cannot be used, and no earlier one was kept.
        """
        try:
            self._taken = self._modified()
            return self._try(), None
        except StormcellError as error:
            for kept in self._kept():
                return self._run(TryForecaster(str(kept), self._path.name, self._archive)), str(error)
            raise

    def newer(self) -> Choice | None:
        """Return the forecaster of a new file, if there is one, and it is whole and was tried.

        Raises:
            StormcellError: A new file cannot be used; it is not tried again until it changes.
        """
        found = self._modified()
        whole, self._before = found == self._before, found
        if found is None or found == self._taken or not whole:
            return None
        self._taken = found
        return self._try()

    def _modified(self) -> Modified | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_size, stat.st_mtime_ns

    def _try(self) -> Choice:
        """Try a copy, so that it is the file that was tried which is used."""
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise ModelFileError(f"{self._path}: expected a model file, found {error.strerror}") from None
        make_folder(self._folder)
        copy = self._folder / f"{hashlib.sha256(content).hexdigest()[:16]}{self._path.suffix}"
        if not copy.exists():
            write_file(copy, content)
        try:
            choice = self._run(TryForecaster(str(copy), self._path.name, self._archive))
        except StormcellError as error:
            copy.unlink(missing_ok=True)
            raise InputError(f"{self._path}: {str(error).removeprefix(f'{copy}: ')}") from None
        for other in self._kept():
            if other != copy:
                other.unlink(missing_ok=True)
        return choice

    def _kept(self) -> list[Path]:
        """Return the files that were taken; after a kill, perhaps also the one before."""
        if not self._folder.is_dir():
            return []
        return [path for path in self._folder.iterdir() if re.match(r"[0-9a-f]{16}\.", path.name)]
