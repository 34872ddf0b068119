"""Curves of a training as CSV files."""

from collections.abc import Sequence
from pathlib import Path

from stormcell.atomic import append, write_file
from stormcell.errors import RecipeError


class CurveFile:
    """A CSV file whose first column is the number of updates, and to which rows are appended.

    Numbers are written with all their digits, so that reading gives the same bits.

    Args:
        path: Path of the file.
        columns: Names of the columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path, self._heading = path, ",".join(columns)

    def truncate(self, updates: int) -> None:
        """Create the file, or delete the rows after a number of updates, which a resume writes again."""
        rows = [line for line in self._rows() if int(line.partition(",")[0]) <= updates]
        write_file(self._path, ("\n".join([self._heading, *rows]) + "\n").encode())

    def append(self, *values: float) -> None:
        """Append a row."""
        append(self._path, ",".join(repr(value) for value in values) + "\n")

    def _rows(self) -> list[str]:
        # A kill may have cut off the last line.
        complete = self._path.read_text().rpartition("\n")[0] if self._path.exists() else ""
        return complete.splitlines()[1:]


def read_curve(path: Path) -> dict[str, list[float]]:
    """Return the columns of a curve by name.

    Raises:
        RecipeError: The file is missing, or is not a curve.
    """
    try:
        heading, *lines = path.read_text().splitlines()
        rows = [[float(cell) for cell in line.split(",")] for line in lines]
        columns = zip(*rows, strict=True) if rows else [()] * len(heading.split(","))
        return {name: list(column) for name, column in zip(heading.split(","), columns, strict=True)}
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: expected a curve, found something else: {error}") from None
