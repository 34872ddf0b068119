"""``moving-digit-actions``: what a digit does, which no single frame tells."""

from dataclasses import dataclass

import torch

from stormcell.experiments import mnist_folder, moving_mnist, plots
from stormcell.experiments.accuracy import Accuracy
from stormcell.experiments.class_contenders import classifier
from stormcell.experiments.experiment import Batch, Experiment
from stormcell.experiments.moving_mnist import MovingActions
from stormcell.experiments.options import Options
from stormcell.experiments.sequences import grey
from stormcell.models import FrameAverageClassifier, SequenceClassifier

_TEST_SEED = 0
_TESTS = 4_000
_VALIDATED = 256
_LEARNING_RATE = 2e-3


@dataclass(frozen=True)
class _Clips:
    """The first so many clips of a seed; to learn from there are more."""

    source: MovingActions
    seed: int
    count: int = 0

    def __len__(self) -> int:
        return self.count

    def batch(self, first: int, count: int) -> Batch:
        frames, labels = self.source.batch(self.seed, first, count)
        return Batch(grey(frames), torch.from_numpy(labels))


def conv_lstm() -> SequenceClassifier:
    """The network that sees motion."""
    return SequenceClassifier(1, [48, 48], 3, classes=len(moving_mnist.ACTIONS), patch_size=4)


def experiment(options: Options) -> Experiment:
    """A ConvLSTM, and a frame-averaging CNN of as many parameters, on clips told apart by motion alone."""
    folder = mnist_folder.folder(options.data, options.console)
    train, validation, test = (moving_mnist.actions(folder, part) for part in ("train", "validation", "test"))
    return Experiment(
        name="moving-digit-actions",
        about=f"Clips of a digit that does one of {len(train.classes)} things: {', '.join(train.classes)}. "
        "Every frame of every class has the same distribution.",
        data=f"moving-digit actions, of digits {mnist_folder.digest(folder)}",
        training=_Clips(train, options.seed),
        validation=_Clips(validation, _TEST_SEED, _VALIDATED),
        tests={"": _Clips(test, _TEST_SEED, _TESTS)},
        contenders=(
            classifier("ConvLSTM 3×3 48-48", conv_lstm, _LEARNING_RATE),
            classifier(
                "frame-averaging CNN", lambda: FrameAverageClassifier.matching(conv_lstm()), _LEARNING_RATE
            ),
        ),
        baselines=(),
        protocols=(Accuracy(),),
        leading="accuracy",
        on_screen=("accuracy",),
        batch_size=options.batch_size or 32,
        optimizer="adam",
        learning_rates=(5e-4, 1e-3, 2e-3, 4e-3),
        gradient_clip=1.0,
        frames=train.frames,
        drawn=8,
        draw=plots.classes(train.classes),
        published=(),
        remarks=(
            f"Guessing is right in {100 / len(train.classes):g} % of clips. What a single frame says is on "
            "average the same for all classes, so that a frame-averaging CNN can do little more than guess. "
            "All frames at once, but without their order, would at best tell which of "
            f"{len(train.classes) // 2} ways of moving it is, and be right in 50 %.",
        ),
    )
