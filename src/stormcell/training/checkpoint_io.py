"""Checkpoints that are there whole, or as they were before."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from stormcell.atomic import make_folder, write_file
from stormcell.errors import NotOfferedError


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's own go by way of the folder for temporary files.

    That may be on another disk, and then a kill or a full disk leaves half a file in the place of the last.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint, whole or not at all.

        Raises:
            OutputError: It cannot be written; the one before still is there.
            NotOfferedError: There are storage options.
        """
        if storage_options is not None:
            raise NotOfferedError("checkpoint: expected no storage options, for they are plain files")
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        make_folder(Path(path).parent)
        write_file(Path(path), buffer.getvalue())
