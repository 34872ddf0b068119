"""The training and test sets of the papers."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from stormcell.errors import ArgumentError, InputError
from stormcell.experiments import mnist
from stormcell.experiments.mnist import Images
from stormcell.experiments.moving_mnist.actions import MovingActions
from stormcell.experiments.moving_mnist.counter_rng import Numbers, shuffled
from stormcell.experiments.moving_mnist.digits import Frames, MovingDigits
from stormcell.experiments.moving_mnist.mnist_plus_plus import MovingDigitsPlus

Part = Literal["train", "validation", "test"]
PaperPart = Literal["train", "validation", "test", "out-of-domain"]

PAPER_SEED = 1506_04214
PAPER_DIGITS = 500
# The first sequence of each part, and its number of sequences.
PAPER_PARTS = {
    "train": (0, 10_000),
    "validation": (10_000, 2_000),
    "test": (12_000, 3_000),
    "out-of-domain": (15_000, 3_000),
}
HELD_OUT = 10_000  # digits at the end of MNIST's training part, used for validation
OPENSTL_STEP = 3.6  # pixels per frame: a tenth of 64 - 28
STANDARD_SHAPE = (20, 10_000, 64, 64)


@dataclass(frozen=True, eq=False)
class FixedSequences:
    """A fixed set of a generator's sequences.

    Attributes:
        source: The generator.
        seed: Seed of the sequences.
        begin: Number of the first sequence.
        count: Number of sequences.
    """

    source: MovingDigits
    seed: int
    begin: int
    count: int

    def __len__(self) -> int:
        return self.count

    def sequences(self, first: int, size: int) -> Frames:
        """Return sequences in their fixed order: brightness, 0 to 255, uint8 ``(size, frames, H, W)``.

        Raises:
            ArgumentError: The range is not within the set.
        """
        if not 0 <= first <= first + size <= self.count:
            raise ArgumentError(
                f"sequences: expected a range in 0 to {self.count - 1}, found {first} to {first + size - 1}"
            )
        return self.source.draw(self._numbers[first : first + size])

    def batch(self, seed: int, first: int, size: int) -> Frames:
        """Return sequences for training: epoch after epoch, each in another random order.

        Args:
            seed: Seed of the orders, ≥ 0.
            first: First position in the stream of all epochs, ≥ 0.
            size: Number of sequences, ≥ 0.

        Returns:
            Brightness, 0 to 255, uint8 ``(size, frames, H, W)``; sequence k depends only on ``seed`` and
            ``first + k``.

        Raises:
            ArgumentError: An argument is negative.
        """
        if min(seed, first, size) < 0:
            raise ArgumentError(
                f"sequences: expected seed, first and size of 0 or more, found {seed}, {first} and {size}"
            )
        places = [divmod(k, self.count) for k in range(first, first + size)]
        chosen = [shuffled(seed, epoch, self.count)[place] for epoch, place in places]
        return self.source.draw(self._numbers[np.asarray(chosen, np.int64)])

    @cached_property
    def _numbers(self) -> Numbers:
        return self.source.numbers(self.seed, self.begin, self.count)


def paper(folder: Path | str, part: PaperPart, digits: int | None = None) -> FixedSequences:
    """Return Moving MNIST of the ConvLSTM paper: Shi et al. (2015), arXiv:1506.04214, §4.1.

    15 000 sequences of 20 frames, 64 × 64, of two digits out of 500, at 3 to 5 pixels per frame: 10 000 for
    training, 2 000 for validation and 3 000 for testing. No sequence is in two parts. The 500 digits are the
    same in all three, as the paper says. The out-of-domain set has 3 000 sequences of three digits out of
    another 500. The paper did not publish its digits and sequences; these are drawn from MNIST's training
    part with a fixed seed.

    Args:
        folder: Folder of MNIST.
        part: ``"train"``, ``"validation"``, ``"test"`` or ``"out-of-domain"``.
        digits: Digits per sequence; None for the paper's number: 3 out of domain, otherwise 2.

    Raises:
        ArgumentError: The part is unknown, or ``digits`` is not positive.
        InputError: MNIST cannot be read.
    """
    if part not in PAPER_PARTS:
        raise ArgumentError(f"moving MNIST part: expected one of {', '.join(PAPER_PARTS)}, found {part}")
    images = mnist.read(folder, "train").images
    beyond = part == "out-of-domain"
    order = shuffled(PAPER_SEED, 0, len(images))
    chosen = order[PAPER_DIGITS : 2 * PAPER_DIGITS] if beyond else order[:PAPER_DIGITS]
    source = MovingDigits(images[chosen], digits=digits if digits is not None else 2 + beyond)
    return FixedSequences(source, PAPER_SEED, *PAPER_PARTS[part])


def endless(folder: Path | str, part: Part, digits: int = 2) -> MovingDigits:
    """Return a generator of sequences like the ConvLSTM paper's. The parts share no digits.

    Args:
        folder: Folder of MNIST.
        part: ``"train"``: the first 50 000 digits of MNIST's training part; ``"validation"``: the other
            10 000; ``"test"``: MNIST's test part.
        digits: Digits per sequence.

    Raises:
        ArgumentError: The part is unknown, or ``digits`` is not positive.
        InputError: MNIST cannot be read.
    """
    images, stream = _part(folder, part)
    return MovingDigits(images, digits=digits, stream=stream)


def openstl(folder: Path | str, part: Part) -> MovingDigits:
    """Return a generator of sequences like OpenSTL's for training: Tan et al. (2023), arXiv:2306.11249.

    Two digits move at 3.6 pixels per frame, and a step ends at the wall. OpenSTL trains on all 60 000 digits
    of MNIST's training part and tests on :func:`standard_test`. Here the parts are those of :func:`endless`:
    validation uses digits that are not trained on, and a test is possible without that file.

    Args:
        folder: Folder of MNIST.
        part: See :func:`endless`.

    Raises:
        ArgumentError: The part is unknown.
        InputError: MNIST cannot be read.
    """
    images, stream = _part(folder, part)
    return MovingDigits(images, speed=(OPENSTL_STEP, OPENSTL_STEP), walls="stop", stream=stream)


def variants(folder: Path | str, part: Part) -> MovingDigitsPlus:
    """Return a generator of MovingMNIST++, :class:`MovingDigitsPlus`, with the parts of :func:`endless`.

    Raises:
        ArgumentError: The part is unknown.
        InputError: MNIST cannot be read.
    """
    images, stream = _part(folder, part)
    return MovingDigitsPlus(images, stream=stream)


def actions(folder: Path | str, part: Part) -> MovingActions:
    """Return a generator of action clips, :class:`MovingActions`, with the parts of :func:`endless`.

    Raises:
        ArgumentError: The part is unknown.
        InputError: MNIST cannot be read.
    """
    images, stream = _part(folder, part)
    return MovingActions(images, stream=stream)


def standard_test(path: Path | str) -> Frames:
    """Open the 10 000 sequences that most papers test on: ``mnist_test_seq.npy``, Srivastava et al. (2015).

    The file is from https://www.cs.toronto.edu/~nitish/unsupervised_video/. It is mapped into memory.

    Args:
        path: The file, uint8 ``(20, 10000, 64, 64)``.

    Returns:
        Brightness, 0 to 255, uint8 ``(10000, 20, 64, 64)``, read-only.

    Raises:
        InputError: The file is not the standard test set, or it is incomplete.
    """
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected a complete .npy file without pickled objects, found: {error}"
        ) from None
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.shape != STANDARD_SHAPE:
        found = (
            f"{frames.dtype} {frames.shape}"
            if isinstance(frames, np.ndarray)
            else "an archive of several arrays"
        )
        raise InputError(f"{path}: expected uint8 {STANDARD_SHAPE}, found {found}")
    return frames.swapaxes(0, 1)


def _part(folder: Path | str, part: Part) -> tuple[Images, int]:
    """Return the digits of a part and its stream, so that with one seed the parts have different motions."""
    parts: tuple[str, ...] = get_args(Part)
    if part not in parts:
        raise ArgumentError(f"moving MNIST part: expected one of {', '.join(parts)}, found {part}")
    stream = parts.index(part)
    if part == "test":
        return mnist.read(folder, "test").images, stream
    images = mnist.read(folder, "train").images
    return images[:-HELD_OUT] if part == "train" else images[-HELD_OUT:], stream
