"""Shipped models: names that :func:`stormcell.load` accepts in place of a path."""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from stormcell.errors import ModelFileError

if TYPE_CHECKING:
    from stormcell.models.model_file import Card

RUN_MODEL = "model.safetensors"  # the model file in the folder of a run
FOLDER = Path(__file__).parent / "data"  # of the model files, which are installed with Stormcell
_TABLE = "shipped.json"  # the SHA-256 of each model by its name; the first is the default


def names() -> list[str]:
    """Return the names of the shipped models; the first is the default."""
    return list(_table())


def shipped() -> dict[str, "Card"]:
    """Return the cards of the shipped models by name; the first model is the default.

    Raises:
        ModelFileError: A file is missing or is not the one that was shipped.

    Example:
        >>> import stormcell.models
        >>> for name, card in stormcell.models.shipped().items():
        ...     print(name, card.title)
        nowcaster-1 nowcaster-1
    """
    from stormcell.models.model_file import read_card

    return {name: read_card(name) for name in names()}


def locate(path_or_name: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Return the path of a model file, and the SHA-256 that it must have if it is a shipped model.

    The folder of a run stands for the model file in it.

    Raises:
        ModelFileError: There is no such model or file.
    """
    table = _table()
    if isinstance(path_or_name, str) and path_or_name in table:
        path = _file(path_or_name)
        if not path.is_file():
            raise ModelFileError(f"{path_or_name}: expected its model file at {path}, found no such file")
        return path, table[path_or_name]
    path = Path(path_or_name)
    if not path.exists():
        known = f" or one of the shipped models {', '.join(table)}" if table else ""
        raise ModelFileError(f"{path}: expected a model file{known}, found no such file")
    if path.is_dir():
        if not (path / RUN_MODEL).is_file():
            raise ModelFileError(
                f"{path}: expected a model file or a run with {RUN_MODEL}, found a folder without it"
            )
        path /= RUN_MODEL
    return path, None


def add_shipped(name: str, path: Path) -> Path:
    """Copy a model file into the package under a name, which becomes its title, and return its path there.

    It is the default if it is the first.

    Raises:
        ModelFileError: ``path`` is not a model file.
    """
    from stormcell.models import model_file

    network, card, _ = model_file.load(path)
    FOLDER.mkdir(exist_ok=True)
    added = _file(name)
    model_file.save(added, network, card.model_copy(update={"title": name}))
    table = _table() | {name: hashlib.sha256(added.read_bytes()).hexdigest()}
    (FOLDER / _TABLE).write_text(json.dumps(table, indent=2) + "\n", "utf-8")
    return added


def _file(name: str) -> Path:
    return FOLDER / f"{name}.safetensors"


def _table() -> dict[str, str]:
    path = FOLDER / _TABLE
    found: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found
