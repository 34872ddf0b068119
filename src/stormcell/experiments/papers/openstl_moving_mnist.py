"""``openstl-moving-mnist``: OpenSTL's benchmark on Moving MNIST."""

from torch import Tensor

from stormcell.experiments import mnist, moving_mnist, plots
from stormcell.experiments.catalogue import Options
from stormcell.experiments.contenders import baselines, fed, free_running
from stormcell.experiments.experiment import Examples, Experiment
from stormcell.experiments.papers.paper_moving_mnist import half_way
from stormcell.experiments.protocol_losses import squared_error
from stormcell.experiments.protocols import OpenSTL
from stormcell.experiments.protocols.extrapolation import LAST_FRAME, OPTICAL_FLOWS
from stormcell.experiments.streams import Endless, Finite
from stormcell.models import EncoderForecaster, NextFrameForecaster

STEPS = 10
STANDARD = "mnist_test_seq.npy"
_TEST_SEED = 0
_TESTS = 10_000
_VALIDATED = 32
_LEARNING_RATE = 5e-4


def per_frame(output: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
    """Return the squared error summed over a frame, for frames without a mask."""
    assert mask is None
    return squared_error(output, truth)


def experiment(options: Options) -> Experiment:
    """Build the experiment: OpenSTL's ConvLSTM and the ConvLSTM paper's, on OpenSTL's sequences."""
    folder = mnist.folder(options.data, options.console)
    train, validation, test = (moving_mnist.openstl(folder, part) for part in ("train", "validation", "test"))
    has_standard = (folder / STANDARD).is_file()
    tests: Examples
    if has_standard:
        frames = moving_mnist.standard_test(folder / STANDARD)
        tests = Finite(lambda first, size: frames[first : first + size], len(frames), STEPS)
        about_test = f"The test is the standard one, {STANDARD}."
    else:
        tests = Finite(lambda first, size: test.batch(_TEST_SEED, first, size), _TESTS, STEPS)
        about_test = (
            f"The test is generated from MNIST's test digits; the standard test, {STANDARD}, is used "
            "if it is in MNIST's folder."
        )
    return Experiment(
        name="openstl-moving-mnist",
        about="OpenSTL's benchmark of Moving MNIST, arXiv:2306.11249: 10 input frames, 10 targets; Adam on "
        "the squared error; sequences are generated on demand.",
        data=mnist.describe(
            folder,
            "Moving MNIST, OpenSTL's generator, of digits {digest}; "
            f"{'standard' if has_standard else 'generated'} test",
        ),
        training=Endless(train, options.seed, STEPS),
        validation=Finite(lambda first, size: validation.batch(_TEST_SEED, first, size), _VALIDATED, STEPS),
        tests={"": tests},
        contenders=(
            fed(
                "OpenSTL's ConvLSTM 5×5 4×128",
                NextFrameForecaster,
                _LEARNING_RATE,
                per_frame,
                "pixels",
                STEPS,
                half_way,
            ),
            free_running(
                "the paper's ConvLSTM 5×5 128-64-64",
                EncoderForecaster,
                _LEARNING_RATE,
                per_frame,
                "pixels",
                STEPS,
            ),
        ),
        baselines=baselines([LAST_FRAME, OPTICAL_FLOWS[0]], STEPS),
        protocols=(OpenSTL(STEPS),),
        leading="mse",
        on_screen=tuple(OpenSTL.columns),
        batch_size=options.batch_size or 16,
        optimizer="adam",
        learning_rates=(2e-4, 5e-4, 1e-3, 2e-3),
        gradient_clip=None,
        frames=2 * STEPS,
        drawn=2,
        draw=plots.frames(),
        published=OpenSTL.published,
        remarks=(
            about_test,
            "The published networks were trained for 200 or 2000 epochs of 10 000 sequences. Here scheduled "
            "sampling ends after half of the budget.",
        ),
    )
