"""``hko7-moving-mnist``: the TrajGRU paper's cells on digits that turn, grow and dim."""

from functools import partial

from stormcell.experiments import mnist, moving_mnist, plots
from stormcell.experiments.catalogue import Options
from stormcell.experiments.contenders import baselines, free_running
from stormcell.experiments.experiment import Experiment
from stormcell.experiments.papers.hko7_protocol import CELLS
from stormcell.experiments.papers.openstl_moving_mnist import per_frame
from stormcell.experiments.protocols import OpenSTL
from stormcell.experiments.protocols.extrapolation import LAST_FRAME, OPTICAL_FLOWS
from stormcell.experiments.streams import Endless, Finite
from stormcell.models import MultiscaleForecaster

STEPS = 10
_TEST_SEED = 0
_TESTS = 4_000
_VALIDATED = 32
_LEARNING_RATE = 1e-3


def experiment(options: Options) -> Experiment:
    """Build the experiment: the multiscale network with each of its cells on MovingMNIST++."""
    folder = mnist.folder(options.data, options.console)
    train, validation, test = (
        moving_mnist.variants(folder, part) for part in ("train", "validation", "test")
    )
    return Experiment(
        name="hko7-moving-mnist",
        about="MovingMNIST++ of arXiv:1706.03458: three digits that move, turn, grow and dim; 10 input "
        "frames, 10 targets; Adam on the squared error; sequences are generated on demand.",
        data=mnist.describe(folder, "MovingMNIST++, of digits {digest}"),
        training=Endless(train, options.seed, STEPS),
        validation=Finite(lambda first, size: validation.batch(_TEST_SEED, first, size), _VALIDATED, STEPS),
        tests={"": Finite(lambda first, size: test.batch(_TEST_SEED, first, size), _TESTS, STEPS)},
        contenders=tuple(
            free_running(
                name,
                partial(
                    MultiscaleForecaster.moving_mnist,
                    cell,
                    hidden_channels=[32, 48, 48],
                    strides=[2, 2, 2],
                    conv_kernel_size=[3, 3, 3],
                ),
                _LEARNING_RATE,
                per_frame,
                "pixels",
                STEPS,
            )
            for name, cell in CELLS.items()
        ),
        baselines=baselines([LAST_FRAME, OPTICAL_FLOWS[0]], STEPS),
        protocols=(OpenSTL(STEPS),),
        leading="mse",
        on_screen=("mse", "mae", "ssim"),
        batch_size=options.batch_size or 8,
        optimizer="adam",
        learning_rates=(3e-4, 1e-3, 3e-3),
        gradient_clip=None,
        frames=2 * STEPS,
        drawn=2,
        draw=plots.frames(),
        published=(),  # OpenSTL's results are for other sequences
        remarks=(
            "The networks are half as wide as the paper's and begin at half its resolution, so that training "
            "on a CPU makes progress within minutes.",
        ),
    )
