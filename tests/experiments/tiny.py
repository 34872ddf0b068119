"""An experiment small enough for tests: blobs that move over 32 × 32 pixels, networks of a few channels."""

from functools import partial

import numpy as np
from torch import Tensor

from stormcell.experiments import plots
from stormcell.experiments.contenders import baselines, fed, free_running
from stormcell.experiments.experiment import DataDescription, Experiment
from stormcell.experiments.moving_mnist import MovingDigits
from stormcell.experiments.protocol_losses import cross_entropy
from stormcell.experiments.protocols import OpenSTL, PaperMovingMnist
from stormcell.experiments.protocols.extrapolation import LAST_FRAME
from stormcell.experiments.streams import Endless, Finite
from stormcell.models import EncoderForecaster, FCLSTMForecaster, NextFrameForecaster, ScheduledSampling

STEPS = 3


def blobs() -> MovingDigits:
    y, x = np.mgrid[:28, :28]
    images = [255 * np.exp(-((y - 14) ** 2 + (x - 14) ** 2) / size) for size in (12.0, 30.0, 60.0)]
    return MovingDigits(
        np.stack(images).astype(np.uint8), digits=1, frames=2 * STEPS, size=32, speed=(1.0, 2.0)
    )


def nats(output: Tensor, truth: Tensor, _mask: Tensor | None) -> Tensor:
    return cross_entropy(output, truth)


def experiment(batch_size: int = 2, learning_rate: float = 1e-2, seed: int = 0) -> Experiment:
    """Three contenders, one of each kind of learning, and a baseline."""
    source = blobs()
    return Experiment(
        name="tiny",
        about="Blobs.",
        data=DataDescription("blobs", "0" * 64, {"title": "blobs", "license": "CC0-1.0"}),
        training=Endless(source, seed, STEPS),
        validation=Finite(partial(source.batch, 1), 3, STEPS),
        tests={
            "": Finite(partial(source.batch, 2), 5, STEPS),
            "more": Finite(partial(source.batch, 3), 2, STEPS),
        },
        contenders=(
            free_running(
                "ConvLSTM 3×3", partial(EncoderForecaster, 1, [4], 3), learning_rate, nats, "logits", STEPS
            ),
            free_running(
                "FC-LSTM", partial(FCLSTMForecaster, 1, (32, 32), [8]), learning_rate, nats, "logits", STEPS
            ),
            fed(
                "next frame",
                partial(NextFrameForecaster, 1, [4], 3, feedback="sigmoid"),
                learning_rate,
                nats,
                "logits",
                STEPS,
                lambda moment: ScheduledSampling(1 - moment.progress),
            ),
        ),
        baselines=baselines([LAST_FRAME], STEPS),
        protocols=(PaperMovingMnist(STEPS), OpenSTL(STEPS)),
        leading="cross_entropy",
        on_screen=("cross_entropy", "mse more"),
        batch_size=batch_size,
        optimizer="rmsprop",
        learning_rates=(1e-3, 1e-2),
        gradient_clip=None,
        frames=2 * STEPS,
        drawn=2,
        draw=plots.frames(),
        published=({"model": "theirs", "parameters": 1234, "cross_entropy": 12.3456, "source": "a paper"},),
        remarks=("A remark.",),
    )
