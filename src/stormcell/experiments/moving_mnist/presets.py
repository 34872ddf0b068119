"""The sets that papers train and test on."""

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
# Where each part begins among the sequences of the seed, and how many it has.
PAPER_PARTS = {
    "train": (0, 10_000),
    "validation": (10_000, 2_000),
    "test": (12_000, 3_000),
    "out-of-domain": (15_000, 3_000),
}
HELD_OUT = 10_000  # digits at the end of MNIST's training part, for validation
OPENSTL_STEP = 3.6  # pixels per frame: a tenth of the 36 that a digit can move in a frame of 64
STANDARD_SHAPE = (20, 10_000, 64, 64)


@dataclass(frozen=True, eq=False)
class FixedSequences:
    """So many sequences of a generator, and no more.

    Attributes:
        source: What generates them.
        seed: Of all of them.
        begin: The first.
        count: How many.
    """

    source: MovingDigits
    seed: int
    begin: int
    count: int

    def __len__(self) -> int:
        return self.count

    def sequences(self, first: int, size: int) -> Frames:
        """The set in its own order: brightness, 0 to 255, uint8 ``(size, frames, H, W)``.

        Raises:
            ArgumentError: There are not so many.
        """
        if not 0 <= first <= first + size <= self.count:
            raise ArgumentError(
                f"sequences: expected some of 0 to {self.count - 1}, found {first} to {first + size - 1}"
            )
        return self.source.drawn(self._numbers[first : first + size])

    def batch(self, seed: int, first: int, size: int) -> Frames:
        """The set for training: epoch after epoch, each in an order of its own.

        Args:
            seed: Of the orders, ≥ 0.
            first: Position in the endless row of epochs, ≥ 0.
            size: How many, ≥ 0.

        Returns:
            Brightness, 0 to 255, uint8 ``(size, frames, H, W)``; sequence k is a function of ``seed`` and
            ``first + k``.

        Raises:
            ArgumentError: Something is negative.
        """
        if min(seed, first, size) < 0:
            raise ArgumentError(
                f"sequences: expected seed, first and size of 0 or more, found {seed}, {first} and {size}"
            )
        places = [divmod(k, self.count) for k in range(first, first + size)]
        chosen = [shuffled(seed, epoch, self.count)[place] for epoch, place in places]
        return self.source.drawn(self._numbers[np.asarray(chosen, np.int64)])

    @cached_property
    def _numbers(self) -> Numbers:
        return self.source.numbers(self.seed, self.begin, self.count)


def paper(folder: Path | str, part: PaperPart, digits: int | None = None) -> FixedSequences:
    """Moving MNIST of the ConvLSTM paper: Shi et al. (2015), arXiv:1506.04214, §4.1.

    15 000 sequences of 20 frames, 64 × 64, of two digits out of 500, at 3 to 5 pixels per frame: 10 000 for
    training, 2 000 for validation and 3 000 for testing. No sequence is in two parts; the 500 digits are
    the same in all three, as the paper's text has it. Its out-of-domain set, 3 000 sequences of three
    digits, is of another 500. Which digits they were, and how the sequences fell, was not published: here
    they are drawn from MNIST's training part by a seed that does not change.

    Args:
        folder: Where MNIST is.
        part: ``"train"``, ``"validation"``, ``"test"`` or ``"out-of-domain"``.
        digits: How many in a sequence; None for the paper's, 2, or 3 out of domain.

    Raises:
        ArgumentError: There is no such part, or ``digits`` is not positive.
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
    """Sequences made as they are needed, moving as the ConvLSTM paper's do, no digit of one part in another.

    Args:
        folder: Where MNIST is.
        part: ``"train"``: the first 50 000 digits of MNIST's training part; ``"validation"``: the other
            10 000; ``"test"``: MNIST's test part.
        digits: How many in a sequence.

    Raises:
        ArgumentError: There is no such part, or ``digits`` is not positive.
        InputError: MNIST cannot be read.
    """
    images, stream = _apart(folder, part)
    return MovingDigits(images, digits=digits, stream=stream)


def openstl(folder: Path | str, part: Part) -> MovingDigits:
    """Sequences as OpenSTL makes them to train on: Tan et al. (2023), arXiv:2306.11249.

    Two digits at 3.6 pixels per frame, which stop at the walls they meet. OpenSTL trains on all 60 000
    digits of MNIST's training part and tests on :func:`standard_test`; here the parts are those of
    :func:`endless`, so that there is something to validate on that was not trained on, and a test where
    that file is missing.

    Args:
        folder: Where MNIST is.
        part: As :func:`endless`.

    Raises:
        ArgumentError: There is no such part.
        InputError: MNIST cannot be read.
    """
    images, stream = _apart(folder, part)
    return MovingDigits(images, speed=(OPENSTL_STEP, OPENSTL_STEP), walls="stop", stream=stream)


def variants(folder: Path | str, part: Part) -> MovingDigitsPlus:
    """HKO-7's variants of Moving MNIST, :class:`MovingDigitsPlus`, with the parts of :func:`endless`.

    Raises:
        ArgumentError: There is no such part.
        InputError: MNIST cannot be read.
    """
    images, stream = _apart(folder, part)
    return MovingDigitsPlus(images, stream=stream)


def actions(folder: Path | str, part: Part) -> MovingActions:
    """Clips told apart by their motion, :class:`MovingActions`, with the parts of :func:`endless`.

    Raises:
        ArgumentError: There is no such part.
        InputError: MNIST cannot be read.
    """
    images, stream = _apart(folder, part)
    return MovingActions(images, stream=stream)


def standard_test(path: Path | str) -> Frames:
    """The 10 000 sequences that most papers test on: ``mnist_test_seq.npy`` of Srivastava et al. (2015).

    From https://www.cs.toronto.edu/~nitish/unsupervised_video/. It is not read, but mapped into memory.

    Args:
        path: The file, ``(20, 10000, 64, 64)`` uint8.

    Returns:
        Brightness, 0 to 255, uint8 ``(10000, 20, 64, 64)``, read-only.

    Raises:
        InputError: It is not that file, or not whole.
    """
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected a whole file of numpy's without pickles, found: {error}"
        ) from None
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.shape != STANDARD_SHAPE:
        found = (
            f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else "an archive of several"
        )
        raise InputError(f"{path}: expected uint8 {STANDARD_SHAPE}, found {found}")
    return frames.swapaxes(0, 1)


def _apart(folder: Path | str, part: Part) -> tuple[Images, int]:
    """The digits of a part, and its stream: with the same seed, too, it moves otherwise than the others."""
    parts: tuple[str, ...] = get_args(Part)
    if part not in parts:
        raise ArgumentError(f"moving MNIST part: expected one of {', '.join(parts)}, found {part}")
    stream = parts.index(part)
    if part == "test":
        return mnist.read(folder, "test").images, stream
    images = mnist.read(folder, "train").images
    return images[:-HELD_OUT] if part == "train" else images[-HELD_OUT:], stream
