"""Packages of the extra ``serve``, which are imported only where they are used."""

from collections.abc import Iterator
from contextlib import contextmanager

from stormcell.errors import MissingExtraError


@contextmanager
def needing_serve(name: str) -> Iterator[None]:
    """Name the extra if a package is missing that the imports of the block need.

    Args:
        name: Verb or option that needs it.

    Raises:
        MissingExtraError: A package is not installed. A missing module of Stormcell is raised as it is.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("stormcell"):
            raise
        raise MissingExtraError(
            f'{name}: {missing.name} is not installed: pip install "stormcell[serve]"'
        ) from None
