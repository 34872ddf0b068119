"""``moving-digit-actions``: the action of a digit, which a single frame does not reveal."""

from dataclasses import dataclass

import torch

from stormcell.experiments import mnist, moving_mnist, plots
from stormcell.experiments.catalogue import Options
from stormcell.experiments.contenders import classifier
from stormcell.experiments.experiment import Batch, Experiment
from stormcell.experiments.moving_mnist import MovingActions
from stormcell.experiments.protocols.accuracy import Accuracy
from stormcell.experiments.streams import grey
from stormcell.models import FrameAverageClassifier, SequenceClassifier

_TEST_SEED = 0
_TESTS = 4_000
_VALIDATED = 256
_LEARNING_RATE = 2e-3


@dataclass(frozen=True)
class _Clips:
    """Clips of a seed: an endless stream, and a set of the first ``count`` clips."""

    source: MovingActions
    seed: int
    count: int = 0

    def __len__(self) -> int:
        return self.count

    def batch(self, first: int, count: int) -> Batch:
        frames, labels = self.source.batch(self.seed, first, count)
        return Batch(grey(frames), torch.from_numpy(labels))


def conv_lstm() -> SequenceClassifier:
    """Return the network that can recognise motion."""
    return SequenceClassifier(1, [48, 48], 3, classes=len(moving_mnist.ACTIONS), patch_size=4)


def experiment(options: Options) -> Experiment:
    """Build the experiment: a ConvLSTM and a CNN that averages frames classify clips by their motion."""
    folder = mnist.folder(options.data, options.console)
    train, validation, test = (moving_mnist.actions(folder, part) for part in ("train", "validation", "test"))
    return Experiment(
        name="moving-digit-actions",
        about=f"Clips of a digit that performs one of {len(train.classes)} actions: "
        f"{', '.join(train.classes)}. Every frame of every class has the same distribution.",
        data=mnist.describe(folder, "moving-digit actions, of digits {digest}"),
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
            f"Guessing is right for {100 / len(train.classes):g} % of the clips. A single frame contains no "
            "information on the action, so a CNN that averages frames can do little better. "
            "All frames without their order would reveal at best which of "
            f"{len(train.classes) // 2} pairs of opposite actions is shown, and be right for 50 %.",
        ),
    )
