"""``paper-moving-mnist``: table 1 of the ConvLSTM paper."""

from collections.abc import Callable, Sequence

from torch import Tensor

from stormcell.experiments import mnist, moving_mnist, plots
from stormcell.experiments.catalogue import Options
from stormcell.experiments.contenders import baselines, fed, free_running
from stormcell.experiments.experiment import Contender, Experiment
from stormcell.experiments.protocol_losses import cross_entropy
from stormcell.experiments.protocols import OpenSTL, PaperMovingMnist
from stormcell.experiments.protocols.extrapolation import LAST_FRAME, OPTICAL_FLOWS
from stormcell.experiments.streams import Endless, Finite
from stormcell.models import EncoderForecaster, FCLSTMForecaster, NextFrameForecaster, ScheduledSampling
from stormcell.models.base import Network
from stormcell.training.task import Moment

STEPS = 10
_VALIDATED = 16
_LEARNING_RATE = 1e-3


def nats(output: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
    """Return the cross-entropy in nats per sequence, scaled to the number of forecast frames."""
    assert mask is None
    return cross_entropy(output, truth) * (STEPS / truth.shape[1])


def half_way(moment: Moment) -> ScheduledSampling:
    """Return OpenSTL's schedule, with its 50 000 updates mapped to the first half of the budget."""
    return ScheduledSampling(max(0.0, 1 - 2 * moment.progress))


def experiment(options: Options) -> Experiment:
    """Build the experiment: the six networks of the paper's table 1 and OpenSTL's on the paper's data."""
    folder = mnist.folder(options.data, options.console)
    train, validation, test, beyond = (
        moving_mnist.paper(folder, part) for part in ("train", "validation", "test", "out-of-domain")
    )
    return Experiment(
        name="paper-moving-mnist",
        about="Table 1 of the ConvLSTM paper, arXiv:1506.04214: 10 input frames of two moving digits, "
        "10 targets; RMSProp on the cross-entropy.",
        data=mnist.describe(folder, "Moving MNIST, the paper's sets, of digits {digest}"),
        training=Endless(train, options.seed, STEPS),
        validation=Finite(validation.sequences, _VALIDATED, STEPS),
        tests={
            "": Finite(test.sequences, len(test), STEPS),
            "three digits": Finite(beyond.sequences, len(beyond), STEPS),
        },
        contenders=(
            _conv_lstm("5×5/5×5 128-64-64", [128, 64, 64], 5, 5),
            _contender("FC-LSTM-2048-2048", FCLSTMForecaster),
            _conv_lstm("5×5/5×5 128-128", [128, 128], 5, 5),
            _conv_lstm("5×5/5×5 256", [256], 5, 5),
            _conv_lstm("9×9/1×1 128-128", [128, 128], 9, 1),
            _conv_lstm("9×9/1×1 128-64-64", [128, 64, 64], 9, 1),
            fed(
                "OpenSTL's ConvLSTM 5×5 4×128",
                lambda: NextFrameForecaster(feedback="sigmoid"),
                _LEARNING_RATE,
                nats,
                "logits",
                STEPS,
                half_way,
            ),
        ),
        baselines=baselines([LAST_FRAME, OPTICAL_FLOWS[0]], STEPS),
        protocols=(PaperMovingMnist(STEPS), OpenSTL(STEPS)),
        leading="cross_entropy",
        on_screen=("cross_entropy", "mse", "cross_entropy three digits"),
        batch_size=options.batch_size or 8,
        optimizer="rmsprop",
        learning_rates=(1e-4, 3e-4, 1e-3, 3e-3),
        gradient_clip=None,
        frames=2 * STEPS,
        drawn=2,
        draw=plots.frames(),
        published=PaperMovingMnist.published,
        remarks=(
            "The paper does not give its 500 digits, its batch size, or the order of its forecaster's "
            "layers. It trained until early stopping. Out of domain, on three digits, its ConvLSTM "
            "5×5/5×5 128-64-64 had 6379.42 nats.",
            "Like the others, OpenSTL's ConvLSTM is trained here on the cross-entropy of logits, but with "
            "scheduled sampling and with a loss on every frame.",
        ),
    )


def _conv_lstm(name: str, hidden: Sequence[int], kernel: int, recurrent: int) -> Contender:
    def build() -> Network:
        return EncoderForecaster(1, hidden, kernel, recurrent_kernel_size=recurrent)

    return _contender(f"ConvLSTM {name}", build)


def _contender(name: str, build: Callable[[], Network]) -> Contender:
    return free_running(name, build, _LEARNING_RATE, nats, "logits", STEPS)
