"""Shipped models: names that :func:`stormcell.load` accepts in place of a path."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from stormcell.errors import ModelFileError

if TYPE_CHECKING:
    from stormcell.models.model_file import Card


RUN_MODEL = "model.safetensors"  # the model file in the folder of a run


class Shipped(NamedTuple):
    """The file of a shipped model.

    Attributes:
        file: Name of the file.
        sha256: SHA-256 of the file, 64 hexadecimal digits.
        place: ``"package"`` for a file that is installed with Stormcell, ``"cache"`` for one in the user's
            cache directory.
    """

    file: str
    sha256: str
    place: Literal["package", "cache"] = "package"


SHIPPED: dict[str, Shipped] = {}
"""Shipped models by name. The first is the default."""


def shipped() -> dict[str, "Card"]:
    """Return the cards of the shipped models by name; the first model is the default.

    Raises:
        ModelFileError: A file is missing or is not the one that was shipped.

    Example:
        >>> import stormcell.models
        >>> for name, card in stormcell.models.shipped().items():
        ...     print(name, card.title)
    """
    from stormcell.models.model_file import read_card

    return {name: read_card(name) for name in SHIPPED}


def locate(path_or_name: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Return the path of a model file, and the SHA-256 that it must have if it is a shipped model.

    The folder of a run stands for the model file in it.

    Raises:
        ModelFileError: There is no such model or file.
    """
    if isinstance(path_or_name, str) and path_or_name in SHIPPED:
        model = SHIPPED[path_or_name]
        path = directory(model.place) / model.file
        if not path.is_file():
            raise ModelFileError(f"{path_or_name}: expected its model file at {path}, found no such file")
        return path, model.sha256
    path = Path(path_or_name)
    if not path.exists():
        names = f" or one of the shipped models {', '.join(SHIPPED)}" if SHIPPED else ""
        raise ModelFileError(f"{path}: expected a model file{names}, found no such file")
    if path.is_dir():
        if not (path / RUN_MODEL).is_file():
            raise ModelFileError(
                f"{path}: expected a model file or a run with {RUN_MODEL}, found a folder without it"
            )
        path /= RUN_MODEL
    return path, None


def directory(place: Literal["package", "cache"]) -> Path:
    """Return the directory of shipped model files, in the package or in the user's cache.

    The environment variable ``STORMCELL_CACHE`` sets the one in the cache.
    """
    if place == "package":
        return Path(__file__).parent / "data"
    if cache := os.environ.get("STORMCELL_CACHE"):
        return Path(cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stormcell"
