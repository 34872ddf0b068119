"""Read a published folder: what is the newest, manifests, values of cells, and the paths of files."""

import re
from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyproj
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter, ValidationError

from stormcell.data.grid import Grid
from stormcell.errors import NotPublishedError, PrunedError, PublicationError, StormcellError
from stormcell.published import manifest as contract
from stormcell.published.alerts import ALERTS, Alerts
from stormcell.published.manifest import (
    CELLS,
    FORECAST,
    LATEST,
    MANIFEST,
    SCORES,
    STATUS,
    Latest,
    Manifest,
    Product,
    Scores,
    Status,
    picture_name,
    time_name,
)

_ISSUE = re.compile(r"[0-9]{8}T[0-9]{4}Z")
RUN = re.compile(r"[0-9a-f]{8}")
_FOLDER = re.compile(rf"(?P<issue>{_ISSUE.pattern})-(?P<run>{RUN.pattern})")
_LARGEST_JSON = 2**24  # bytes
_HELD = 64  # manifests

Model = TypeVar("Model", bound=BaseModel)


class Shelf:
    """A published folder, to read.

    All names that come from outside are checked before they become part of a path.

    Args:
        root: The folder; it need not exist yet.

    Example:
        >>> from pathlib import Path
        >>> print(Shelf(Path("nowhere")).latest())
        None
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._manifests: OrderedDict[str, Manifest] = OrderedDict()

    def latest(self) -> Latest | None:
        """Return which publication is the newest; None before the first.

        Raises:
            PublicationError: The file is damaged.
        """
        return _read(self.root / LATEST, Latest)

    def status(self) -> Status | None:
        """Return how the loop is; None before its first turn.

        Raises:
            PublicationError: The file is damaged.
        """
        return _read(self.root / STATUS, Status)

    def scores(self) -> list[Scores]:
        """Return how good the forecasts of the periods have been; empty before the first.

        Raises:
            PublicationError: The file is damaged.
        """
        path = self.root / SCORES
        content = _content(path)
        if content is None:
            return []
        try:
            return TypeAdapter(list[Scores]).validate_json(content)
        except ValidationError as error:
            raise _damaged(path, error) from None

    def alerts(self) -> Alerts | None:
        """Return the states of the rules; None if the loop has no rules.

        Raises:
            PublicationError: The file is damaged.
        """
        return _read(self.root / ALERTS, Alerts)

    def publications(self) -> list[tuple[str, str]]:
        """Return the names of issue and run of all publications, the oldest issue first."""
        try:
            names = [entry.name for entry in self.root.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PublicationError(f"{self.root}: could not be read: {error.strerror}") from None
        found = (_FOLDER.fullmatch(name) for name in names)
        return sorted((match["issue"], match["run"]) for match in found if match)

    def manifest(self, issue: str, run: str) -> Manifest:
        """Return the manifest of a publication.

        Args:
            issue: Name of its issue time, such as ``20261128T0325Z``.
            run: Its run, 8 hexadecimal digits.

        Raises:
            NotPublishedError: There is no such publication.
            PrunedError: There was one, or may have been: its issue time is before that of all that remain.
            PublicationError: The manifest is damaged.
        """
        if not (_ISSUE.fullmatch(issue) and RUN.fullmatch(run)):
            raise NotPublishedError(
                "publication: expected an issue such as 20261128T0325Z and a run of 8 hexadecimal digits, "
                f"found {issue[:40]!r} and {run[:40]!r}"
            )
        name = f"{issue}-{run}"
        path = self.root / name / MANIFEST
        held = self._manifests.get(name)
        if held is not None and path.is_file():
            return held
        found = _read(path, Manifest)
        if found is None:
            self._manifests.pop(name, None)
            oldest = next(iter(self.publications()), None)
            if oldest is not None and issue < oldest[0]:
                raise PrunedError(f"{name}: this publication is no longer kept")
            raise NotPublishedError(f"{name}: expected a publication, found none")
        if found.folder != name:
            raise PublicationError(f"{path}: expected the manifest of {name}, found that of {found.folder}")
        self._manifests[name] = found
        if len(self._manifests) > _HELD:
            self._manifests.popitem(last=False)
        return found

    def cells(self, manifest: Manifest) -> NDArray[np.uint8]:
        """Return the levels ``(y, x, layer)`` of all products, as a memory map.

        Raises:
            PrunedError: They are no longer kept.
            PublicationError: The file does not have the shape that the manifest says.
        """
        layers = sum(len(one.times) for one in manifest.products if one.first_layer is not None)
        return _array(self._file(manifest, CELLS), np.dtype(np.uint8), (*manifest.grid.shape, layers))

    def often_observed(self, manifest: Manifest) -> NDArray[np.bool_]:
        """Return where the radar usually observes, ``(y, x)``, as a memory map.

        Raises:
            PrunedError: It is no longer kept.
            PublicationError: The file does not have the shape that the manifest says.
        """
        path = self._file(manifest, contract.COVERAGE)
        return _array(path, np.dtype(np.bool_), manifest.grid.shape)

    def picture(self, manifest: Manifest, product: str, valid: datetime, overview: int = 1) -> Path:
        """Return the path of a picture.

        Raises:
            NotPublishedError: The publication does not have the product, the time or the overview.
            PrunedError: The picture is no longer kept.
        """
        found = product_of(manifest, product)
        if valid not in found.times:
            raise NotPublishedError(
                f"{manifest.folder}: expected a time of {product} from {time_name(found.times[0])} to "
                f"{time_name(found.times[-1])}, found {time_name(valid)}"
            )
        if overview not in (1, *manifest.raster.overviews):
            offered = ", ".join(map(str, (1, *manifest.raster.overviews)))
            raise NotPublishedError(f"{manifest.folder}: expected an overview of {offered}, found {overview}")
        return self._file(manifest, picture_name(product, valid, overview))

    def forecast(self, manifest: Manifest) -> Path:
        """Return the path of ``forecast.nc``.

        Raises:
            NotPublishedError: The publication does not have one.
            PrunedError: It is no longer kept.
        """
        if FORECAST not in manifest.files:
            raise NotPublishedError(f"{manifest.folder}: expected a {FORECAST}, found none")
        return self._file(manifest, FORECAST)

    def _file(self, manifest: Manifest, name: str) -> Path:
        path = self.root / manifest.folder / name
        if not path.is_file():
            raise PrunedError(f"{manifest.folder}: {name} is no longer kept")
        return path


def product_of(manifest: Manifest, name: str) -> Product:
    """Return a product of a publication by its name.

    Raises:
        NotPublishedError: The publication does not have it.
    """
    for product in manifest.products:
        if product.name == name:
            return product
    offered = ", ".join(product.name for product in manifest.products)
    raise NotPublishedError(f"{manifest.folder}: expected a product of {offered}, found {name[:40]!r}")


def radar_grid(grid: contract.Grid) -> Grid:
    """Return the grid of a manifest with the positions of its pixels.

    Raises:
        PublicationError: It is not a grid on the earth.
    """
    try:
        (north, south), (west, east), (rows, columns) = grid.y, grid.x, grid.shape
        return Grid.from_centres(
            pyproj.CRS.from_wkt(grid.crs_wkt),
            np.linspace(west, east, columns),
            np.linspace(north, south, rows),
        )
    except (StormcellError, pyproj.exceptions.CRSError) as error:
        raise PublicationError(f"manifest: expected the grid of a radar: {error}") from None


def _read(path: Path, model: type[Model]) -> Model | None:
    content = _content(path)
    if content is None:
        return None
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise _damaged(path, error) from None


def _content(path: Path) -> bytes | None:
    """Return the content of a JSON file, None if there is no such file."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_JSON + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PublicationError(f"{path}: could not be read: {error.strerror}") from None
    if len(content) > _LARGEST_JSON:
        raise PublicationError(f"{path}: expected at most {_LARGEST_JSON} bytes, found more")
    return content


def _damaged(path: Path, error: ValidationError) -> PublicationError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    return PublicationError(f"{path}: expected a file of this version, found {where}: {first['msg']}")


def _array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a memory map of a ``.npy`` file whose header and size are as expected."""
    try:
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version of the format")
            found = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
    except (OSError, ValueError) as error:
        raise PublicationError(f"{path}: expected an array file, found {error}") from None
    size = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if found != (shape, False, dtype) or path.stat().st_size != size:
        raise PublicationError(
            f"{path}: expected {dtype} {shape} in {size} bytes, "
            f"found {found[2]} {found[0]} in {path.stat().st_size} bytes"
        )
    return np.memmap(path, dtype, "r", start, shape)
