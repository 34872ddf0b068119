"""Atomic checkpoints for Lightning."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from stormcell.atomic import make_folder, write_file
from stormcell.errors import NotOfferedError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints written atomically.

    Lightning writes by way of the folder for temporary files. That folder may be on another disk, and then a
    kill or a full disk leaves half a file in the place of the last checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint atomically.

        Raises:
            OutputError: It cannot be written; the one before is intact.
            NotOfferedError: Storage options are given.
        """
        if storage_options is not None:
            raise NotOfferedError(
                "checkpoint: expected no storage options, because it is a plain file; found some"
            )
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        make_folder(Path(path).parent)
        write_file(Path(path), buffer.getvalue())
