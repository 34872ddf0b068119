"""Files in object stores, by address: ``s3://bucket/key``, ``gs://``, ``az://``, ``https://`` and ``http://``.

obstore does the transfer, and takes credentials and settings from the environment: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, ``AWS_ENDPOINT_URL`` for other stores that speak S3, and
``AWS_SKIP_SIGNATURE=true`` (or ``AWS_NO_SIGN_REQUEST=YES``) for public data without credentials.
``memory://`` is a store inside this process, for tests.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from errno import EIO, ENOENT
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import url2pathname

from stormcell.errors import ArgumentError, MissingExtraError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# Of the address, the number of parts between slashes that name the store: az://account/container/key.
_STORE_PARTS = {"s3": 1, "gs": 1, "az": 2, "http": 1, "https": 1, "memory": 0}
# A Path of an address has lost one of its slashes.
_ADDRESS = re.compile(rf"({'|'.join(_STORE_PARTS)}|file):/+(.*)", re.DOTALL)
_SETTINGS = ("AWS_", "GOOGLE_", "AZURE_", "HTTP_PROXY", "HTTPS_PROXY")
_PART_BYTES = 2**22
_LONGEST_REASON = 300
_YES = ("YES", "TRUE", "1")


@dataclass(frozen=True, order=True)
class ObjectUrl:
    """The address of a file in an object store, or of a folder: of all files whose names begin with it.

    Attributes:
        text: The address, without a slash at the end.

    Example:
        >>> url = ObjectUrl("s3://bucket/2024/a.h5")
        >>> url.name, str(url), str(url / "b")
        ('a.h5', 's3://bucket/2024/a.h5', 's3://bucket/2024/a.h5/b')
    """

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> "ObjectUrl":
        return ObjectUrl(f"{self.text}/{name}")

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.text.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """The address without its last part."""
        return self.text.rpartition("/")[0]

    def store(self) -> "tuple[ObjectStore, str]":
        """Return the obstore store, and the name in it."""
        scheme, _, rest = self.text.partition("://")
        parts = rest.split("/")
        count = _STORE_PARTS[scheme]
        return _store(f"{scheme}://{'/'.join(parts[:count])}", _settings()), "/".join(parts[count:])

    def is_file(self) -> bool:
        """Whether there is a file of this name.

        Raises:
            OSError: The store cannot be reached or refuses access.
        """
        import obstore

        try:
            with errors():
                obstore.head(*self.store())
        except FileNotFoundError:
            return False
        return True

    def files(self) -> list["ObjectUrl"]:
        """Return all files below, in the order of their names; none on a web server, which cannot list them.

        Raises:
            OSError: The store cannot be reached or refuses access.
        """
        return [found.url for found in self.listed()]

    def version(self) -> tuple[int, datetime, str]:
        """Return the size of the file, when it was written, and the tag of its contents.

        Raises:
            OSError: There is no such file, or the store cannot be reached or refuses access.
        """
        import obstore

        with errors():
            found = obstore.head(*self.store())
        return found["size"], found["last_modified"], found["e_tag"] or ""

    def listed(self, *, after: "ObjectUrl | None" = None) -> "list[Listed]":
        """Return all files below with their sizes and times; see :meth:`files`.

        Args:
            after: Only files whose names follow that of this one.

        Raises:
            OSError: The store cannot be reached or refuses access.
        """
        import obstore

        if self.text.startswith("http"):
            return []
        store, name = self.store()
        with errors():
            offset = None if after is None else after.store()[1]
            found = [entry for chunk in obstore.list(store, name or None, offset=offset) for entry in chunk]
        start = self.text.removesuffix(name) if name else f"{self.text.rstrip('/')}/"
        return sorted(
            Listed(ObjectUrl(start + entry["path"]), entry["size"], entry["last_modified"]) for entry in found
        )

    def read(self, most: int) -> bytes:
        """Return the beginning of the file, in one request.

        Args:
            most: Number of bytes to read at most.

        Raises:
            OSError: There is no such file, or the store cannot be reached or refuses access.
        """
        import obstore

        content = bytearray()
        with errors():
            # What the server says about the size does not matter: the reading ends here.
            for part in obstore.get(*self.store()).stream(min_chunk_size=_PART_BYTES):
                content += memoryview(part)[: most - len(content)]
                if len(content) == most:
                    break
        return bytes(content)


@dataclass(frozen=True, order=True)
class Listed:
    """A file in an object store, as a list of its folder has it.

    Attributes:
        url: Its address.
        size: In bytes.
        modified: When it was written.
    """

    url: ObjectUrl
    size: int
    modified: datetime


Location = Path | ObjectUrl


def location(name: str | PathLike[str]) -> Location:
    """Return a path, or the address of an object store.

    Raises:
        ArgumentError: It is an address with a query or without a bucket.
        MissingExtraError: It is an address, and obstore is not installed.

    Example:
        >>> location("a.h5"), str(location("s3://bucket/2024/")), location("file:///tmp/a.h5")
        (PosixPath('a.h5'), 's3://bucket/2024', PosixPath('/tmp/a.h5'))
    """
    text = os.fspath(name)
    address = _ADDRESS.fullmatch(text)
    if address is None:
        return Path(text)
    scheme, rest = address[1], address[2].rstrip("/")
    if scheme == "file":
        return Path(url2pathname("/" + rest))
    _expect_obstore(text)
    parts = [part for part in rest.split("/") if part]
    if len(parts) < max(1, _STORE_PARTS[scheme]) or (scheme.startswith("http") and "?" in rest):
        raise ArgumentError(f"{text}: expected an address such as s3://bucket/key, without a query")
    return ObjectUrl(f"{scheme}://{rest}")


def _expect_obstore(address: str) -> None:
    try:
        import obstore  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError(f'{address}: obstore is not installed: pip install "stormcell[s3]"') from None


def _settings() -> frozenset[tuple[str, str]]:
    """Return the environment's settings, because a store keeps those with which it was made."""
    return frozenset(
        (name, value) for name, value in os.environ.items() if name.upper().startswith(_SETTINGS)
    )


@lru_cache(maxsize=64)
def _store(base: str, settings: frozenset[tuple[str, str]]) -> "ObjectStore":
    from obstore import store as stores

    scheme, environment = base.partition("://")[0], dict(settings)
    if scheme == "memory":
        return stores.MemoryStore()
    endpoint = environment.get("AWS_ENDPOINT_URL", "") if scheme == "s3" else base
    options: dict[str, Any] = {
        # The default of 30 seconds is too short for a large file on a slow line.
        "client_options": {"timeout": timedelta(minutes=10), "allow_http": endpoint.startswith("http://")},
        "retry_config": {"max_retries": 5, "retry_timeout": timedelta(minutes=2)},
    }
    if scheme.startswith("http"):
        return stores.HTTPStore.from_url(base, **options)
    if scheme == "s3" and environment.get("AWS_NO_SIGN_REQUEST", "").upper() in _YES:
        options["skip_signature"] = True
    return stores.from_url(base, **options)


@contextmanager
def errors() -> Iterator[None]:
    """Turn the errors of obstore into OSError, with a message of one line.

    Raises:
        OSError: The store cannot be reached or refuses access.
        FileNotFoundError: There is no such file.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(ENOENT, "no such file") from None
    except BaseError as error:
        raise OSError(EIO, _reason(str(error))) from error


def _reason(message: str) -> str:
    """Return what a person needs of a message of obstore, which quotes the server's answer and the source."""
    return " ".join(message.partition("\n\nDebug source")[0].split())[:_LONGEST_REASON]
