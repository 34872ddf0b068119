"""``hko7-protocol``: the HKO-7 benchmark on any archive."""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stormcell.experiments import plots
from stormcell.experiments.catalogue import Options
from stormcell.experiments.contenders import baselines, free_running
from stormcell.experiments.experiment import Experiment
from stormcell.experiments.protocol_losses import balanced_error
from stormcell.experiments.protocols import HKO7
from stormcell.experiments.protocols.extrapolation import LAST_FRAME, OPTICAL_FLOWS
from stormcell.experiments.protocols.hko7 import REFLECTIVITY, THRESHOLDS, faint
from stormcell.experiments.protocols.reflectivity import Pixels
from stormcell.experiments.rain import first_windows, radar_examples
from stormcell.models import MultiscaleForecaster

INPUTS, STEPS, SIDE = 5, 20, 480
_VALIDATED = 16
_LEARNING_RATE = 1e-4
_SCALE = 1e-5  # of the loss; it matters because gradients are clipped at a norm of 50
CELLS = {"ConvLSTM": "conv_lstm", "ConvGRU": "conv_gru", "TrajGRU": "traj_gru"}


def balanced(output: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
    """Return the sum of B-MSE and B-MAE, scaled as in HKO-7."""
    return _SCALE * balanced_error(output, truth, mask)


def counted(truth: Pixels) -> NDArray[np.bool_]:
    """Return whether pixels were observed and their echo is not too faint."""
    return np.isfinite(truth) & ~faint(truth)


def experiment(options: Options) -> Experiment:
    """Build the experiment: the multiscale network with each of its cells, and optical flow, on radar."""
    found = radar_examples(options, REFLECTIVITY, inputs=INPUTS, steps=STEPS, side=SIDE, counts=counted)
    return Experiment(
        name="hko7-protocol",
        about=f"The benchmark of HKO-7, arXiv:1706.03458, on another archive: {INPUTS} input frames "
        f"of {found.size[0]} × {found.size[1]} pixels, {STEPS} targets; Adam on B-MSE + B-MAE.",
        data=found.description,
        training=found.training,
        validation=first_windows(found.validation, _VALIDATED),
        tests={"": found.test},
        contenders=tuple(
            free_running(
                name,
                partial(
                    MultiscaleForecaster,
                    cell=cell,
                    num_flows=[13, 13, 9],
                    recurrent_kernel_size=[5, 5, 3] if cell == "conv_gru" else None,
                ),
                _LEARNING_RATE,
                balanced,
                "pixels",
                STEPS,
            )
            for name, cell in CELLS.items()
        ),
        baselines=baselines([LAST_FRAME, OPTICAL_FLOWS[0]], STEPS),
        protocols=(HKO7(STEPS),),
        leading="b_mse",
        on_screen=(*(f"csi_{threshold:g}" for threshold in THRESHOLDS), "b_mse"),
        batch_size=options.batch_size or 4,
        optimizer="adam",
        learning_rates=(1e-4, 3e-4, 1e-3, 3e-3),
        gradient_clip=50.0,
        frames=INPUTS + STEPS,
        drawn=2,
        draw=plots.frames(plots.RAIN, REFLECTIVITY.rate),
        published=HKO7.published,
        remarks=(
            f"The radar data is {found.description.summary}. The published results are for Hong Kong, 2009 "
            "to 2015, in frames of 480 × 480 pixels: different rain, another radar, and errors summed over "
            "more pixels.",
            "ConvGRU and TrajGRU are HKO-7's, ConvLSTM is Hzzone's. As in HKO-7, the loss is scaled by 1e-5 "
            "and the norm of its gradient is clipped at 50. Here that is the norm for the whole network; in "
            "HKO-7 the encoder and the forecaster are clipped separately. As in HKO-7, echoes below 9.5 dBZ "
            "do not count. Instead of HKO-7's clutter map, the archive's missing pixels are excluded.",
        ),
    )
