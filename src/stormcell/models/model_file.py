"""The model file: weights and all that is needed to use them, in one safetensors file."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any, Literal

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from stormcell.atomic import write_file
from stormcell.errors import ArgumentError, ModelFileError
from stormcell.models.base import Network
from stormcell.models.registry import network_class
from stormcell.models.shipped_models import locate

_KEY = "stormcell"  # safetensors headers map strings to strings: the card is one JSON text under this name


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Units(_Record):
    """Units of a network's inputs and outputs.

    Attributes:
        inputs: ``"mm/h"``, or ``"1"`` for pixel values from 0 to 1.
        outputs: The same, or ``"logit"`` for a network whose output becomes a pixel value by the sigmoid, or
            class probabilities by the softmax.
    """

    inputs: str
    outputs: str


class TrainingData(_Record):
    """An archive that a nowcaster was trained on.

    Attributes:
        time_step_seconds: Time between frames in training.
        pixel_size: Distance between neighbouring pixels along y and along x.
        pixel_unit: Unit of ``pixel_size``.
        extent: First and last pixel centre along y, and along x; None in model files of format 2.
        share: Share of the archive in the examples; 0 if its training block is dry.
        blocks: First and last time (UTC) of the training, validation and test blocks.
        data_hash: SHA-256 of the frames that were used.
        data_source: Origin of the archive: title, source, license and credit.
    """

    time_step_seconds: PositiveInt
    pixel_size: tuple[PositiveFloat, PositiveFloat]
    pixel_unit: Literal["m", "degree"]
    extent: tuple[float, float, float, float] | None = None
    share: NonNegativeFloat = 1.0
    blocks: dict[Literal["train", "validation", "test"], tuple[str, str]] = {}
    data_hash: str = ""
    data_source: dict[str, str] = {}


class Nowcasting(_Record):
    """The forecasts of a nowcaster, and the archives that it learned from.

    Attributes:
        lead_minutes: Longest lead time in training.
        archives: Archives that it was trained on, one for each time step.
    """

    lead_minutes: PositiveFloat
    archives: tuple[TrainingData, ...] = Field(min_length=1)


class Card(_Record):
    """A model file's description of itself.

    Attributes:
        format: Version of this list of fields. Files of formats 2 and 3 are read too, but not their
            nowcasters.
        model: Name of the network's class, one of :data:`stormcell.models.registry.MODULES`.
        title: Name for figures and tables, such as "nowcaster"; of a shipped model, its own.
        arguments: Arguments that rebuild the network.
        units: Units of the inputs and outputs.
        inputs: Number of input frames in training.
        steps: Number of lead times in training; None for a classifier and a nowcaster.
        nowcasting: The frames of a nowcaster; None for other networks.
        settings: All settings of the training: a nowcaster's recipe, or those of an experiment.
        data_hash: SHA-256 of the data that the network was trained and validated on; of several archives,
            that of their hashes.
        data_source: Origin of these data: title, source, license and credit, of several archives together.
        scores: Scores on the validation data, and the number of updates.
        versions: Versions of Stormcell, PyTorch, numpy and Python.
    """

    format: Literal[4] = 4
    model: str
    title: str
    arguments: dict[str, Any]
    units: Units
    inputs: PositiveInt
    steps: PositiveInt | None
    nowcasting: Nowcasting | None = None
    settings: dict[str, Any]
    data_hash: str
    data_source: dict[str, str]
    scores: dict[str, float]
    versions: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _from_older(cls, fields: Any) -> Any:
        """Bring the fields of older formats to this one."""
        if not isinstance(fields, dict) or fields.get("format") not in (2, 3):
            return fields
        if fields.get("nowcasting") is not None:
            raise ValueError("a nowcaster of an earlier version of Stormcell; train it again")
        dropped = ("scaling", "blocks")
        return {name: value for name, value in fields.items() if name not in dropped} | {"format": 4}


@dataclass(frozen=True)
class LoadedModel:
    """A network from a model file; calling it runs the network.

    Attributes:
        network: The network, in evaluation mode.
        card: The model file's description of itself.
        digest: SHA-256 of the model file.
    """

    network: Network
    card: Card
    digest: str

    @torch.inference_mode()
    def __call__(self, x: torch.Tensor, *args: Any, **keywords: Any) -> torch.Tensor:
        """Run the network on its own device, without gradients; the arguments are the network's.

        Args:
            x: The input, on any device.
            *args: Further arguments, such as ``steps``.
            **keywords: Further arguments by name.

        Returns:
            The network's output, on the CPU.
        """
        device = next(self.network.parameters()).device
        output: torch.Tensor = self.network(x.to(device), *args, **keywords)
        return output.cpu()


def save(path: str | os.PathLike[str], network: Network, card: Card) -> None:
    """Write a model file atomically.

    Raises:
        OutputError: The file cannot be written; the old one is intact.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_file(Path(path), to_bytes(tensors, metadata={_KEY: card.model_dump_json()}))


def load(
    path_or_name: str | os.PathLike[str], device: str | torch.device = "cpu"
) -> tuple[Network, Card, str]:
    """Read a model file.

    Args:
        path_or_name: The file, or the name of a shipped model.
        device: Device that the network is moved to.

    Returns:
        The network in evaluation mode, its card, and the SHA-256 of the file.

    Raises:
        ModelFileError: The file is missing, is not safetensors, was not written by Stormcell, or is not the
            shipped one.
        ArgumentError: PyTorch has no such device.
    """
    path, sha256 = locate(path_or_name)
    _check_device(device)
    with _opened(path, sha256) as (file, card, digest):
        # Copies are aligned in memory, and those in a file are not. Without them, the last bits of a forecast
        # depend on the way in which a network came into memory, such as that into a worker process.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
        with _described(path):
            # The file's tensors bound the memory that its card can ask for: without data, sizes cost nothing.
            with torch.device("meta"):
                network = network_class(card.model).from_card(card)
            network.load_state_dict(tensors, strict=True, assign=True)
            network.lay_out()  # the file's tensors are contiguous
    return network.to(device).eval(), card, digest


def read_card(path_or_name: str | os.PathLike[str]) -> Card:
    """Read the card of a model file, or of a shipped model.

    Raises:
        ModelFileError: As :func:`load`.
    """
    with _opened(*locate(path_or_name)) as (_, card, _):
        return card


def joined_hash(hashes: Sequence[str]) -> str:
    """Return the hash of several archives: the hash of a single one, else the SHA-256 of all hashes."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def joined_source(sources: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the origin of several archives, each different text once.

    Example:
        >>> joined_source([{"license": "CC-BY-4.0", "title": "a"}, {"license": "CC-BY-4.0", "title": "b"}])
        {'license': 'CC-BY-4.0', 'title': 'a; b'}
    """
    names = dict.fromkeys(name for source in sources for name in source)
    return {
        name: "; ".join(dict.fromkeys(source[name] for source in sources if name in source)) for name in names
    }


def versions() -> dict[str, str]:
    """Return the versions of Stormcell and the packages that its results depend on."""
    return {
        "stormcell": version("stormcell"),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "python": python_version(),
    }


@contextmanager
def _opened(path: Path, sha256: str | None) -> Iterator[tuple[Any, Card, str]]:
    """Open a model file, and yield it with its card and its SHA-256."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if sha256 not in (None, digest):
            raise ModelFileError(f"{path}: expected SHA-256 {sha256}, found {digest}")
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise ModelFileError(f'{path}: expected a model file with "{_KEY}" in its header, found none')
            with _described(path):
                card = Card.model_validate_json(text)
            yield file, card, digest
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: expected a safetensors file: {error}") from error


@contextmanager
def _described(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValidationError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(f"{path}: its header does not describe its weights: {reason}") from error


def _check_device(device: str | torch.device) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a PyTorch without CUDA asserts
        reason = str(error).partition("\n")[0]
        raise ArgumentError(
            f'device: expected one that PyTorch can use, found "{device}": {reason}'
        ) from error
