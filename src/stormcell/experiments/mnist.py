"""MNIST, the handwritten digits of LeCun, Cortes & Burges: find, download and read its IDX files.

The four files are ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, each gzipped or not. The digits are
© Yann LeCun and Corinna Cortes, CC BY-SA 3.0.
"""

import gzip
import hashlib
import math
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from stormcell.atomic import make_folder, write_file
from stormcell.errors import ArgumentError, InputError
from stormcell.experiments.experiment import DataDescription

Images = NDArray[np.uint8]
Part = Literal["train", "test"]

SIDE = 28  # pixels
PREFIXES = {"train": "train", "test": "t10k"}
# SHA-256 of the unpacked files, so that it does not depend on the compression.
CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
TIMEOUT = 30.0  # seconds to wait for a mirror
SOURCE = {"title": "MNIST", "credit": "© Yann LeCun and Corinna Cortes", "license": "CC BY-SA 3.0"}
CHUNK = 2**16  # bytes read between two reports of progress
MOST_PACKED, MOST_UNPACKED = 2**24, 2**26  # bytes: the largest file has 9.9 and 47 million
_GZIP = b"\x1f\x8b"
_MOST_EXPANSION = 1032  # largest ratio of unpacked to packed size in deflate


@dataclass(frozen=True, eq=False)
class Digits:
    """Images of digits with their labels.

    Attributes:
        images: Brightness, 0 (background) to 255, uint8 ``(N, 28, 28)``, read-only.
        labels: 0 to 9, uint8 ``(N,)``, read-only.
    """

    images: Images
    labels: NDArray[np.uint8]


def find() -> Path:
    """Return the default folder of MNIST, whether or not it exists.

    That is the environment variable ``STORMCELL_MNIST``, if it is set; otherwise ``stormcell/mnist`` in the
    user's cache directory.

    Example:
        >>> from unittest.mock import patch
        >>> with patch.dict(os.environ, STORMCELL_MNIST="digits"):
        ...     find().as_posix()
        'digits'
    """
    if folder := os.environ.get("STORMCELL_MNIST"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stormcell" / "mnist"


def folder(given: Path | None, console: Console) -> Path:
    """Return the folder of MNIST, and download the files that are missing from the default folder.

    Args:
        given: The user's folder; None for :func:`find`.
        console: Console on which the download is shown.

    Raises:
        InputError: The files cannot be downloaded.
        OutputError: A file cannot be written.
    """
    if given is not None:
        return given
    found = find()
    if not complete(found):
        console.print(
            f"downloading MNIST ({SOURCE['credit']}, {SOURCE['license']}) to {found}", soft_wrap=True
        )
        with console.status("") as status:
            download(found, lambda name, size: status.update(f"{name}: {size / 1e6:.1f} MB"))
    return found


def read(folder: Path | str, part: Part) -> Digits:
    """Read one part of MNIST.

    Args:
        folder: Folder of the IDX files, each gzipped (``.gz``) or not.
        part: ``"train"``, 60 000 digits, or ``"test"``, 10 000.

    Returns:
        All digits of the files.

    Raises:
        ArgumentError: The part is unknown.
        InputError: A file is missing or damaged, its size differs from its header, or it does not contain
            digits.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     images, labels = (Path(folder) / f"train-{n}-ubyte" for n in ("images-idx3", "labels-idx1"))
        ...     _ = images.write_bytes(bytes.fromhex("00000803 00000002 0000001c 0000001c") + bytes(2 * 784))
        ...     _ = labels.write_bytes(bytes.fromhex("00000801 00000002 07 02"))
        ...     digits = read(folder, "train")
        >>> digits.images.shape, digits.labels.tolist()
        ((2, 28, 28), [7, 2])
    """
    if part not in PREFIXES:
        raise ArgumentError(f'MNIST part: expected "train" or "test", found "{part}"')
    images_file = _existing(Path(folder), f"{PREFIXES[part]}-images-idx3-ubyte")
    labels_file = _existing(Path(folder), f"{PREFIXES[part]}-labels-idx1-ubyte")
    images, labels = _idx(images_file, 3), _idx(labels_file, 1)
    if images.shape[1:] != (SIDE, SIDE):
        raise InputError(f"{images_file}: expected images of {SIDE} × {SIDE}, found {images.shape[1:]}")
    if len(images) == 0 or len(images) != len(labels):
        raise InputError(
            f"{labels_file}: expected a label for each image, found {len(labels)} for {len(images)}"
        )
    if labels.max() > 9:
        raise InputError(f"{labels_file}: expected labels 0 to 9, found {labels.max()}")
    return Digits(images, labels)


def describe(folder: Path, summary: str) -> DataDescription:
    """Return the description of an experiment's data, which are made of a folder's digits.

    Args:
        folder: Folder of MNIST.
        summary: One line, in which ``{digest}`` becomes the first 16 characters of the digits' SHA-256.

    Raises:
        InputError: A file is missing or damaged, or does not contain digits.
    """
    parts: tuple[Part, ...] = ("train", "test")
    known = hashlib.sha256()
    for digits in (read(folder, part) for part in parts):
        known.update(digits.images.tobytes())
        known.update(digits.labels.tobytes())
    digest = known.hexdigest()
    return DataDescription(summary.format(digest=digest[:16]), digest, SOURCE)


def patches(images: Images) -> Images:
    """Split images into 16 steps of 7 × 7 pixels, row by row from the upper left.

    Args:
        images: ``(N, 28, 28)``.

    Returns:
        ``(N, 16, 7, 7)``: sequences for a classifier that reads an image patch by patch.

    Raises:
        ArgumentError: The images are not 28 × 28 pixels.

    Example:
        >>> image = np.arange(784).reshape(1, 28, 28)
        >>> patches(image)[0, :5, 0, 0].tolist()
        [0, 7, 14, 21, 196]
    """
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise ArgumentError(f"patches: expected images (N, {SIDE}, {SIDE}), found shape {images.shape}")
    grid = images.reshape(len(images), 4, 7, 4, 7)
    return grid.transpose(0, 1, 3, 2, 4).reshape(len(images), 16, 7, 7)


def download(folder: Path | str, progress: Callable[[str, int], None] = lambda _name, _bytes: None) -> None:
    """Download the missing files from a public mirror. Existing files are not changed.

    Args:
        folder: Created if it does not exist.
        progress: Called with the file's name and the number of packed bytes received.

    Raises:
        InputError: No mirror has the right file. Files downloaded before it remain.
        OutputError: A file cannot be written.
    """
    folder = Path(folder)
    for name in CHECKSUMS:
        if _file(folder, name) is None:
            content = _download_file(name, progress)
            make_folder(folder)
            write_file(folder / f"{name}.gz", content)


def complete(folder: Path) -> bool:
    """Whether all four files exist."""
    return all(_file(folder, name) for name in CHECKSUMS)


def _file(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / f"{name}.gz", folder / name) if file.is_file()), None)


def _existing(folder: Path, name: str) -> Path:
    if file := _file(folder, name):
        return file
    raise InputError(f"{folder}: expected {name}, or {name}.gz, found neither")


def _idx(file: Path, axes: int) -> NDArray[np.uint8]:
    """Read an IDX file of bytes: two zeros, 8 for bytes, the number of axes, the sizes, the values."""
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            limit = file.stat().st_size * (_MOST_EXPANSION if packed else 1)
            return _values(gzip.GzipFile(fileobj=raw) if packed else raw, file, axes, limit)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"{file}: expected a complete file, found a truncated or damaged one: {error}"
        ) from None


def _values(stream: gzip.GzipFile | BufferedReader, file: Path, axes: int, limit: int) -> NDArray[np.uint8]:
    head = stream.read(4 + 4 * axes)
    if len(head) < 4 + 4 * axes or head[:4] != bytes([0, 0, 8, axes]):
        raise InputError(f"{file}: expected an IDX file of bytes with {axes} axes, found {head[:4].hex(' ')}")
    shape = tuple(int(n) for n in np.frombuffer(head, ">u4", offset=4))
    expected = math.prod(shape)
    if expected > limit:  # before memory is allocated
        raise InputError(f"{file}: expected {expected} bytes from its header, found {limit} at most")
    values = stream.read(expected + 1)
    if len(values) != expected:
        found = f"{len(values)}" if len(values) < expected else "more"
        raise InputError(f"{file}: expected {expected} bytes from its header, found {found}")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _download_file(name: str, progress: Callable[[str, int], None]) -> bytes:
    """Return the packed file from the first mirror that has the right one."""
    failures = []
    for mirror in MIRRORS:
        url = f"{mirror}{name}.gz"
        try:
            content = _download_url(url, name, progress)
            unpacked = gzip.GzipFile(fileobj=BytesIO(content)).read(MOST_UNPACKED)
            if hashlib.sha256(unpacked).hexdigest() == CHECKSUMS[name]:
                return content
            failures.append(f"{url}: its SHA-256 is not MNIST's")
        except (EOFError, OSError, zlib.error) as error:  # urllib's errors are OSErrors
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            failures.append(f"{url}: {reason}")
    raise InputError(
        f"MNIST: expected {name}.gz from a mirror, found {'; '.join(failures)}; "
        "put the four files into a folder and set STORMCELL_MNIST to its path"
    )


def _download_url(url: str, name: str, progress: Callable[[str, int], None]) -> bytes:
    chunks, size = [], 0
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        while chunk := response.read(CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > MOST_PACKED:
                raise OSError(f"expected at most {MOST_PACKED} bytes, found more")
            progress(name, size)
    return b"".join(chunks)
