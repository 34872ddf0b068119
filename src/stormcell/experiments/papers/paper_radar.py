"""``paper-radar``: table 2 of the ConvLSTM paper, on any archive."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stormcell.experiments import plots
from stormcell.experiments.catalogue import Options
from stormcell.experiments.contenders import baselines, free_running
from stormcell.experiments.experiment import Experiment
from stormcell.experiments.protocols import PaperRadar
from stormcell.experiments.protocols.extrapolation import LAST_FRAME, OPTICAL_FLOWS
from stormcell.experiments.rain import first_windows, radar_examples
from stormcell.models import EncoderForecaster, FCLSTMForecaster

INPUTS, STEPS, SIDE = 5, 15, 100
_VALIDATED = 16
_LEARNING_RATE = 1e-3


def observed_nats(output: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
    """Return the cross-entropy in nats per sequence, of the observed pixels."""
    each = F.binary_cross_entropy_with_logits(output, truth, reduction="none")
    counted = each if mask is None else torch.where(mask, each, 0.0)
    return counted.sum() / len(truth)


def experiment(options: Options) -> Experiment:
    """Build the experiment: the paper's ConvLSTM, FC-LSTM and optical flow on radar."""
    protocol = PaperRadar(STEPS)
    found = radar_examples(options, protocol.reflectivity, inputs=INPUTS, steps=STEPS, side=SIDE)
    size = found.size
    return Experiment(
        name="paper-radar",
        about=f"Table 2 of the ConvLSTM paper, arXiv:1506.04214, on another archive: {INPUTS} input frames "
        f"of {size[0]} × {size[1]} pixels, {STEPS} targets; RMSProp on the cross-entropy.",
        data=found.description,
        training=found.training,
        validation=first_windows(found.validation, _VALIDATED),
        tests={"": found.test},
        contenders=(
            free_running(
                "ConvLSTM 3×3-64-3×3-64",
                lambda: EncoderForecaster(1, [64, 64], 3, patch_size=2),
                _LEARNING_RATE,
                observed_nats,
                "logits",
                STEPS,
            ),
            free_running(
                "FC-LSTM-2000-2000",
                lambda: FCLSTMForecaster(1, size, [2000, 2000]),
                _LEARNING_RATE,
                observed_nats,
                "logits",
                STEPS,
            ),
        ),
        baselines=baselines([*OPTICAL_FLOWS, LAST_FRAME], STEPS),
        protocols=(protocol,),
        leading="rainfall_mse",
        on_screen=tuple(PaperRadar.columns),
        batch_size=options.batch_size or 4,
        optimizer="rmsprop",
        learning_rates=(1e-4, 3e-4, 1e-3, 3e-3),
        gradient_clip=None,
        frames=INPUTS + STEPS,
        drawn=2,
        draw=plots.frames(plots.RAIN, protocol.reflectivity.rate),
        published=PaperRadar.published,
        remarks=(
            f"The radar data is {found.description.summary}. The published results are for Hong Kong, 2011 "
            "to 2013: different rain, another radar, and 8148 training sequences.",
            "The paper's disk filter and its removal of noisy pixels are not applied. Pixels that were not "
            "observed are dry in the inputs and do not count in the targets.",
        ),
    )
