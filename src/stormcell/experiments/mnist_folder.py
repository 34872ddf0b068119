"""MNIST where it is, or fetched where it is not."""

import hashlib
from pathlib import Path

from rich.console import Console

from stormcell.experiments import mnist


def folder(told: Path | None, console: Console) -> Path:
    """The folder with MNIST's four files: the one told, or the usual one, into which they are fetched.

    Raises:
        InputError: They cannot be fetched.
    """
    if told is not None:
        return told
    found = mnist.find()
    if not mnist.complete(found):
        console.print(
            f"MNIST (© Yann LeCun and Corinna Cortes, CC BY-SA 3.0) is fetched into {found}", soft_wrap=True
        )
        with console.status("") as status:
            mnist.download(found, lambda name, size: status.update(f"{name}: {size / 1e6:.1f} MB"))
    return found


def digest(folder: Path) -> str:
    """What tells MNIST's digits from others in files of the same form: 16 letters of their SHA-256.

    Raises:
        InputError: A file is missing, damaged, or holds no digits.
    """
    parts: tuple[mnist.Part, ...] = ("train", "test")
    told = hashlib.sha256()
    for known in (mnist.read(folder, part) for part in parts):
        told.update(known.images.tobytes())
        told.update(known.labels.tobytes())
    return told.hexdigest()[:16]
