"""The model file: weights and all that is needed to use them, in one safetensors file."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from stormcell.atomic import write_file
from stormcell.data.scaling import LogScaling
from stormcell.errors import ModelFileError
from stormcell.models.nowcaster import Nowcaster

_KEY = "stormcell"  # safetensors headers map strings to strings: ours is one JSON text under this name


class Card(BaseModel):
    """What a model file says about itself.

    Attributes:
        format: Version of this list.
        model: Class of the model.
        arguments: What rebuilds it.
        scaling: From mm/h to the network's numbers.
        inputs: Input frames it was trained with.
        steps: Lead times it was trained on.
        coordinates: Whether it forecasts in coordinates that move with the rain.
        time_step_seconds: Time between frames.
        pixel_size: Distance of neighbouring pixels along y and x.
        pixel_unit: Of ``pixel_size``.
        recipe: How it was trained.
        blocks: First and last time of the training, validation and test blocks, UTC.
        data_hash: SHA-256 of the frames it was trained and validated on.
        data_source: Where they came from: title, licence, credit.
        score: What it reached on the validation block, and after how many updates.
        versions: Of Stormcell, PyTorch and numpy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    model: Literal["Nowcaster"] = "Nowcaster"
    arguments: dict[str, Any]
    scaling: LogScaling
    inputs: PositiveInt
    steps: PositiveInt
    coordinates: Literal["moving", "fixed"]
    time_step_seconds: PositiveInt
    pixel_size: tuple[PositiveFloat, PositiveFloat]
    pixel_unit: Literal["m", "degree"]
    recipe: dict[str, Any]
    blocks: dict[Literal["train", "validation", "test"], tuple[str, str]]
    data_hash: str
    data_source: dict[str, str]
    score: dict[str, float]
    versions: dict[str, str]


def save(path: str | os.PathLike[str], nowcaster: Nowcaster, card: Card) -> None:
    """Write a model file; it is there whole, or as it was before.

    Raises:
        OutputError: The file cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in nowcaster.state_dict().items()}
    write_file(Path(path), to_bytes(tensors, metadata={_KEY: card.model_dump_json()}))


def load(path: str | os.PathLike[str]) -> tuple[Nowcaster, Card, str]:
    """Read a model file.

    Returns:
        The model, ready to use; its card; the SHA-256 of the file.

    Raises:
        ModelFileError: The file is missing, is not safetensors, or was not written by Stormcell.
    """
    path = Path(path)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise ModelFileError(f'{path}: expected a model file with "{_KEY}" in its header, found none')
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: there is no such file") from None
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: expected a safetensors file: {error}") from error
    try:
        card = Card.model_validate_json(text)
        # Sizes in the header are only believed as far as the file's own tensors bear them out.
        with torch.device("meta"):
            nowcaster = Nowcaster(card.scaling, **card.arguments)
        nowcaster.load_state_dict(tensors, strict=True, assign=True)
        nowcaster.lay_out()  # the file's tensors are contiguous
    except (ValidationError, json.JSONDecodeError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(f"{path}: its header does not describe its weights: {reason}") from error
    return nowcaster.eval(), card, digest
