"""What a user says of an experiment's data."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console


@dataclass(frozen=True)
class Options:
    """What an experiment is made from.

    Attributes:
        out: Folder of the run: what must be made to begin is made there.
        console: Where that is shown.
        data: Folder of MNIST, or archive of rain; None for what is usual.
        seed: Of the run.
        batch_size: Examples per update and process; None for the experiment's own.
    """

    out: Path
    console: Console
    data: Path | None = None
    seed: int = 0
    batch_size: int | None = None
