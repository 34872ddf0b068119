"""``mnist-patches``: digits that are read patch by patch."""

from dataclasses import dataclass

import numpy as np
import torch

from stormcell.experiments import mnist, plots
from stormcell.experiments.catalogue import Options
from stormcell.experiments.contenders import classifier
from stormcell.experiments.experiment import Array, Batch, Experiment
from stormcell.experiments.mnist import Digits
from stormcell.experiments.moving_mnist.counter_rng import uniforms
from stormcell.experiments.protocols.accuracy import Accuracy
from stormcell.experiments.streams import epoch_indices, grey
from stormcell.models import SequenceClassifier

_HELD_OUT = 5_000  # images at the end of the training part that are not trained on
_VALIDATED = 1_000  # the first of them, used for validation
_SHIFT = 2  # pixels; without shifts the network overfits within ten epochs


@dataclass(frozen=True)
class _Patches:
    """Images as 16 steps of 7 × 7 pixels, row by row, with their labels."""

    digits: Digits

    def __len__(self) -> int:
        return len(self.digits.labels)

    def batch(self, first: int, count: int) -> Batch:
        some = slice(first, first + count)
        return _batch(self.digits.images[some], self.digits.labels[some])


@dataclass(frozen=True)
class _Shifted:
    """Training images, epoch after epoch, each time shifted by another random number of pixels."""

    digits: Digits
    seed: int

    def batch(self, first: int, count: int) -> Batch:
        places = epoch_indices(self.seed, first, count, len(self.digits.labels))
        shifts = (uniforms(self.seed, first, count, 2) * (2 * _SHIFT + 1)).astype(int)
        wide = np.pad(self.digits.images[places], ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT)))
        side = mnist.SIDE
        shifted = [image[y : y + side, x : x + side] for image, (y, x) in zip(wide, shifts, strict=True)]
        return _batch(np.stack(shifted), self.digits.labels[places])


def _batch(images: Array, labels: Array) -> Batch:
    return Batch(grey(mnist.patches(images)), torch.from_numpy(labels.astype("int64")))


def experiment(options: Options) -> Experiment:
    """Build the experiment: a ConvLSTM reads MNIST in 16 patches of 7 × 7 pixels and classifies the digit."""
    folder = mnist.folder(options.data, options.console)
    known, test = mnist.read(folder, "train"), mnist.read(folder, "test")
    training = Digits(known.images[:-_HELD_OUT], known.labels[:-_HELD_OUT])
    validation = Digits(known.images[-_HELD_OUT:][:_VALIDATED], known.labels[-_HELD_OUT:][:_VALIDATED])
    return Experiment(
        name="mnist-patches",
        about="MNIST, each image read as 16 steps of 7 × 7 pixels, row by row; the digit is "
        f"classified from the last hidden state. Training images are shifted by up to {_SHIFT} pixels in "
        "each direction.",
        data=mnist.describe(folder, "MNIST, digits {digest}"),
        training=_Shifted(training, options.seed),
        validation=_Patches(validation),
        tests={"": _Patches(test)},
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
