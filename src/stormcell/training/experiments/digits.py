"""MNIST where it is, or fetched where it is not."""

from pathlib import Path

from rich.console import Console

from stormcell.data import mnist


def folder(told: Path | None, console: Console) -> Path:
    """The folder with MNIST's four files: the one told, or the usual one, into which they are fetched.

    Raises:
        InputError: They cannot be fetched.
    """
    if told is not None:
        return told
    found = mnist.find()
    if not all(any(found.glob(f"{name}*")) for name in mnist.CHECKSUMS):
        console.print(
            f"MNIST (© Yann LeCun and Corinna Cortes, CC BY-SA 3.0) is fetched into {found}", soft_wrap=True
        )
        with console.status("") as status:
            mnist.download(found, lambda name, size: status.update(f"{name}: {size / 1e6:.1f} MB"))
    return found
