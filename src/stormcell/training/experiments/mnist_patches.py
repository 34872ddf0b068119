"""``mnist-patches``: digits read piece by piece."""

from dataclasses import dataclass

import torch

from stormcell.data import mnist
from stormcell.data.mnist import Digits
from stormcell.models import SequenceClassifier
from stormcell.training.experiments import digits, pictures
from stormcell.training.experiments.accuracy import Accuracy
from stormcell.training.experiments.classifying import classifier
from stormcell.training.experiments.experiment import Batch, Experiment
from stormcell.training.experiments.options import Options
from stormcell.training.experiments.orders import Epochs
from stormcell.training.experiments.sequences import grey

_HELD_OUT = 5_000  # images at the end of the training part, to validate on …
_VALIDATED = 1_000  # … with the first of them


@dataclass(frozen=True)
class _Pieces:
    """Images as 16 steps of 7 × 7 pixels, row by row, and their digits."""

    digits: Digits

    def __len__(self) -> int:
        return len(self.digits.labels)

    def batch(self, first: int, count: int) -> Batch:
        return self.some(slice(first, first + count))

    def some(self, places: slice | list[int]) -> Batch:
        pieces = mnist.patches(self.digits.images[places])
        return Batch(grey(pieces), torch.from_numpy(self.digits.labels[places].astype("int64")))


def experiment(options: Options) -> Experiment:
    """A ConvLSTM reads each image of MNIST in 16 pieces of 7 × 7 pixels, and says which digit it is."""
    folder = digits.folder(options.data, options.console)
    known, test = mnist.read(folder, "train"), mnist.read(folder, "test")
    training = Digits(known.images[:-_HELD_OUT], known.labels[:-_HELD_OUT])
    validation = Digits(known.images[-_HELD_OUT:][:_VALIDATED], known.labels[-_HELD_OUT:][:_VALIDATED])
    pieces = _Pieces(training)
    return Experiment(
        name="mnist-patches",
        about="MNIST, each image read as 16 steps of 7 × 7 pixels, row by row; the last hidden state tells "
        "the digit.",
        data="MNIST",
        training=Epochs(pieces.some, len(pieces), options.seed),
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
        draw=pictures.classes([str(digit) for digit in range(10)]),
        published=(),
    )
