"""``mnist-patches``: digits read piece by piece."""

from dataclasses import dataclass

import numpy as np
import torch

from stormcell.experiments import mnist, mnist_folder, plots
from stormcell.experiments.accuracy import Accuracy
from stormcell.experiments.class_contenders import classifier
from stormcell.experiments.epochs import epochs
from stormcell.experiments.experiment import Array, Batch, Experiment
from stormcell.experiments.mnist import Digits
from stormcell.experiments.moving_mnist.counter_rng import uniforms
from stormcell.experiments.options import Options
from stormcell.experiments.sequences import grey
from stormcell.models import SequenceClassifier

_HELD_OUT = 5_000  # images at the end of the training part, to validate on …
_VALIDATED = 1_000  # … with the first of them
_SHIFT = 2  # pixels; without, ten epochs know all images by heart, and new ones no better


@dataclass(frozen=True)
class _Pieces:
    """Images as 16 steps of 7 × 7 pixels, row by row, and their digits."""

    digits: Digits

    def __len__(self) -> int:
        return len(self.digits.labels)

    def batch(self, first: int, count: int) -> Batch:
        some = slice(first, first + count)
        return _batch(self.digits.images[some], self.digits.labels[some])


@dataclass(frozen=True)
class _Shifted:
    """The same to learn from: epoch after epoch, each image moved by a few pixels, every time by others."""

    digits: Digits
    seed: int

    def batch(self, first: int, count: int) -> Batch:
        places = epochs(self.seed, first, count, len(self.digits.labels))
        shifts = (uniforms(self.seed, first, count, 2) * (2 * _SHIFT + 1)).astype(int)
        wide = np.pad(self.digits.images[places], ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT)))
        side = mnist.SIDE
        moved = [image[y : y + side, x : x + side] for image, (y, x) in zip(wide, shifts, strict=True)]
        return _batch(np.stack(moved), self.digits.labels[places])


def _batch(images: Array, labels: Array) -> Batch:
    return Batch(grey(mnist.patches(images)), torch.from_numpy(labels.astype("int64")))


def experiment(options: Options) -> Experiment:
    """A ConvLSTM reads each image of MNIST in 16 pieces of 7 × 7 pixels, and says which digit it is."""
    folder = mnist_folder.folder(options.data, options.console)
    known, test = mnist.read(folder, "train"), mnist.read(folder, "test")
    training = Digits(known.images[:-_HELD_OUT], known.labels[:-_HELD_OUT])
    validation = Digits(known.images[-_HELD_OUT:][:_VALIDATED], known.labels[-_HELD_OUT:][:_VALIDATED])
    return Experiment(
        name="mnist-patches",
        about="MNIST, each image read as 16 steps of 7 × 7 pixels, row by row; the last hidden state tells "
        f"the digit. Images to learn from are moved by up to {_SHIFT} pixels either way.",
        data=f"MNIST, digits {mnist_folder.digest(folder)}",
        training=_Shifted(training, options.seed),
        validation=_Pieces(validation),
        tests={"": _Pieces(test)},
        contenders=(
            classifier(
                "ConvLSTM 3×3 32",
                lambda: SequenceClassifier(1, [32], 3, classes=10, spatial="last", spatial_size=(7, 7)),
                learning_rate=6e-3,
            ),
        ),
        baselines=(),
        protocols=(Accuracy(),),
        leading="accuracy",
        on_screen=("accuracy",),
        batch_size=options.batch_size or 64,
        optimizer="adam",
        learning_rates=(1.5e-3, 3e-3, 6e-3, 1.2e-2),
        gradient_clip=1.0,
        frames=16,
        drawn=8,
        draw=plots.classes([str(digit) for digit in range(10)]),
        published=(),
    )
