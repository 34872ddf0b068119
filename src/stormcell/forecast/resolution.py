"""The resolution of frames in time and space, for which a network was trained."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from stormcell.data.grid import Spacing
from stormcell.data.time_axis import even_step, in_minutes
from stormcell.errors import FramesError


@dataclass(frozen=True)
class Resolution:
    """Resolution of frames in time and space.

    Attributes:
        time_step: Time from frame to frame.
        spacing: Grid spacing.

    Example:
        >>> str(Resolution(np.timedelta64(300, "s"), Spacing(1000.0, 1000.0, "m")))
        '1000 × 1000 m every 5 min'
    """

    time_step: np.timedelta64
    spacing: Spacing

    def __str__(self) -> str:
        return f"{self.spacing} every {in_minutes(self.time_step):g} min"


def expect_resolution(frames: xr.DataArray, accepted: tuple[Resolution, ...]) -> None:
    """Refuse frames whose resolution is not among those that a forecaster accepts.

    Args:
        frames: Rain rates ``(time, y, x)``; of a single frame, only the spacing is compared.
        accepted: Accepted resolutions; empty accepts any.

    Raises:
        FramesError: The frames have another time step or grid spacing, or a gap.
    """
    if not accepted:
        return
    step = even_step(frames["time"].values) if frames.sizes["time"] > 1 else None
    steps = {one.time_step for one in accepted}
    if step is not None and step not in steps:
        expected = " or ".join(f"{in_minutes(one):g}" for one in sorted(steps))
        raise FramesError(
            f"frames: expected one every {expected} min, found one every {in_minutes(step):g} min"
        )
    spacing = Spacing.of(frames)
    suited = [one.spacing for one in accepted if step in (None, one.time_step)]
    if not any(spacing.same_as(one) for one in suited):
        expected = " or ".join(dict.fromkeys(map(str, suited)))
        raise FramesError(f"frames: expected the model's grid spacing, {expected}, found {spacing}")
