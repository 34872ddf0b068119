"""The state of a run's folder: what it was begun with, so that a resume with anything else is refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stormcell.errors import RecipeError


def read_state(path: Path, thing: str) -> dict[str, Any] | None:
    """Read a JSON object, or return None if there is no such file.

    Args:
        path: Path of the file.
        thing: Name of the expected content, for the error.

    Raises:
        RecipeError: The file holds something else.
    """
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise RecipeError(f"{path}: expected {thing}, found something else: {error}") from None
    if not isinstance(stored, dict):
        raise RecipeError(f"{path}: expected {thing}, found {type(stored).__name__}")
    return stored


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the values that differ, such as "seed (was 0, now 1)"; an empty text if none does."""
    names = [name for name in [*now, *(before.keys() - now.keys())] if before.get(name) != now.get(name)]
    return ", ".join(f"{name} (was {before.get(name)}, now {now.get(name)})" for name in names)
