"""S-PROG, ANVIL and STEPS as pysteps computes them.

pysteps (Pulkkinen et al. 2019, doi:10.5194/gmd-12-4185-2019) is an extra, which is imported only when a
forecast is made. Its forecasts are undefined where the rain of the newest frame would come from a place that
was not observed, as those of all baselines.
"""

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormcell.data.grid import pixel_km
from stormcell.data.time_axis import even_step, in_minutes
from stormcell.forecast.contract import Analysis, Field, Needs
from stormcell.motion.advection import extrapolate
from stormcell.motion.band_filters import LEVELS
from stormcell.motion.decibels import LEAST_DB, LEAST_RAIN, to_decibels

SPROG_NEEDS, ANVIL_NEEDS, STEPS_NEEDS = Needs(frames=3), Needs(frames=4), Needs(frames=3)


def pysteps_sprog(analysis: Analysis, steps: int) -> Field:
    """Forget small scales first: Seed (2003), doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2."""
    frames = analysis.latest(SPROG_NEEDS).values
    options = {"precip_thr": LEAST_DB, "n_cascade_levels": LEVELS}
    return _forecast("sprog", analysis, frames, _decibels(frames), steps, _rate_from_db, options)


def anvil(analysis: Analysis, steps: int) -> Field:
    """Extrapolate growth and decay for a while: Pulkkinen et al. (2020), doi:10.1109/TGRS.2020.2984594."""
    frames = analysis.latest(ANVIL_NEEDS).values
    return _forecast("anvil", analysis, frames, frames, steps, np.asarray, {"n_cascade_levels": LEVELS})


def steps_members(analysis: Analysis, steps: int, members: int, seed: int) -> Field:
    """Add noise where S-PROG forgets, and to the motion: Bowler et al. (2006), doi:10.1256/qj.04.100.

    The settings are those of pysteps's own example of STEPS, with the frames' pixel size and time step.

    Args:
        analysis: The frames known at the issue time.
        steps: Number of lead times, ≥ 1.
        members: Number of members, ≥ 1. Member k depends on it.
        seed: Seed of the members, ≥ 0.

    Returns:
        Rain rates in mm/h ``(members, steps, y, x)``. Also NaN where a member's own motion brings rain from
        outside the grid.

    Raises:
        FramesError: The frames have no coordinates.
    """
    recent = analysis.latest(STEPS_NEEDS)
    frames = recent.values
    options = {
        "precip_thr": LEAST_DB,
        "n_cascade_levels": LEVELS,
        "n_ens_members": members,
        "kmperpixel": float(np.mean(pixel_km(recent))),
        "timestep": float(in_minutes(even_step(recent["time"].values))),
        "seed": int(np.random.SeedSequence(seed).generate_state(1)[0]),
    }
    made = _forecast("steps", analysis, frames, _decibels(frames), steps, _rate_from_db, options)
    # Extrapolation, where pysteps computes nothing, is the same for all members.
    return np.broadcast_to(made, (members, *made.shape)).copy() if made.ndim == 3 else made


def _decibels(frames: Field) -> NDArray[np.float64]:
    """Return frames in dB with what was not observed as dry, in the precision that pysteps computes in."""
    return to_decibels(np.nan_to_num(frames, nan=0.0)).astype(np.float64)


def _rate_from_db(decibels: NDArray[Any]) -> NDArray[Any]:
    rate = 10 ** (decibels / 10)
    return np.where(decibels < LEAST_DB, 0.0, rate)  # NaN is not less, so it stays NaN


def _forecast(
    name: str,
    analysis: Analysis,
    frames: Field,
    transformed: NDArray[Any],
    steps: int,
    inverse: Callable[[NDArray[Any]], NDArray[Any]],
    options: dict[str, Any],
) -> Field:
    """Return a nowcast by pysteps, or extrapolation if pysteps cannot compute one.

    Its correlation matrices are singular if a frame is dry or unobserved throughout, or if nothing varies.
    """
    motion = analysis.motion()
    extrapolated = extrapolate(frames[-1], motion, steps)
    if not (np.fmax.reduce(frames, axis=(1, 2)) >= LEAST_RAIN).all():
        return extrapolated
    with _undisturbed():
        method = importlib.import_module(f"pysteps.nowcasts.{name}")
        try:
            nowcast = method.forecast(transformed, motion, steps, **options)
        except (ArithmeticError, IndexError, RuntimeError, ValueError):
            return extrapolated
        return np.where(np.isnan(extrapolated), np.nan, inverse(nowcast)).astype(np.float32)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Silence pysteps, and leave NumPy's global random numbers as they were.

    It prints, also on import, and warns of divisions by zero that it handles itself. STEPS seeds the global
    generator.
    """
    state = np.random.get_state()  # noqa: NPY002 - the generator that pysteps seeds
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
