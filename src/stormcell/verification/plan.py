"""The plan of a verification: the period to score, and the issue times of the forecasts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stormcell.data.splits import Block, windows
from stormcell.data.time_axis import TimeAxis, Times
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast.contract import DescribedForecaster, usual_steps

_ABSENT = "The test period of the models, {}, is not in the archive, so all of the archive is scored."


@dataclass(frozen=True)
class Plan:
    """A plan of a verification.

    Attributes:
        period: Period of the valid times to score.
        issue_times: Issue times, the same for all forecasters.
        steps: Number of lead times.
        notes: Remarks for readers of the report.
        members: Number of members to ask every ensemble forecaster for; None for no ensembles.
        seed: Seed of the members.
    """

    period: Block
    issue_times: Times
    steps: int
    notes: tuple[str, ...] = ()
    members: int | None = None
    seed: int = 0


def make_plan(
    axis: TimeAxis,
    forecasters: Mapping[str, DescribedForecaster],
    *,
    start: np.datetime64 | None = None,
    end: np.datetime64 | None = None,
    every: int | None = None,
    steps: int | None = None,
    members: int | None = None,
    seed: int = 0,
) -> Plan:
    """Plan to score forecasters at all issue times of a period at which each has the frames that it needs.

    The default period is the test block of the models, or of several models the time that their test blocks
    have in common. Without a model, or if that period is not in the archive, it is the whole archive.

    Of a model that was trained on several archives, only the test blocks with frames of this one count.

    Args:
        axis: Times of the archive.
        forecasters: Forecasters by name.
        start: First valid time to score; None for that of the default period.
        end: Last valid time to score; None for that of the default period.
        every: Minutes between issue times, which are multiples of it since 1970; None for all.
        steps: Number of lead times; None for the largest number that a model was trained on.
        members: Number of members to ask every ensemble forecaster for; None for no ensembles.
        seed: Seed of the members.

    Raises:
        ArgumentError: The period ends before it starts, the models' test blocks have no time in common, or
            ``every`` is less than a minute.
        FramesError: The period has no issue time with the frames that are needed.

    Example:
        >>> from stormcell.forecast.baselines import baseline
        >>> axis = TimeAxis(np.arange("2024-06-01T00:00", "2024-06-01T01:00", 5, dtype="datetime64[m]"))
        >>> plan = make_plan(axis, {"persistence": baseline("persistence")}, every=20)
        >>> str(plan.period), plan.issue_times.astype(str).tolist()
        ('2024-06-01T00:00 to 2024-06-01T00:55', ['2024-06-01T00:20', '2024-06-01T00:40'])
    """
    if every is not None and every < 1:
        raise ArgumentError(f"--every: expected 1 minute or more, found {every}")
    tests = {test for one in forecasters.values() for test in _tests(one, axis)}
    absent = bool(tests) and not any(Block(*test).contains(axis.times).any() for test in tests)
    bounded = tests if not absent else set()
    first = max((np.datetime64(a) for a, _ in bounded), default=axis.times[0]) if start is None else start
    last = min((np.datetime64(b) for _, b in bounded), default=axis.times[-1]) if end is None else end
    if first > last and len(bounded) > 1 and (start is None or end is None):
        raise ArgumentError("verify: the models' test periods have no time in common; use --from and --to")
    if first > last:
        given = [np.datetime_as_string(time, unit="m") for time in (first, last)]
        of = "" if end is not None else ", the last time that can be scored"
        raise ArgumentError(f"verify: expected a start before the end, found {given[0]} and {given[1]}{of}")
    period = Block.between(first, last)
    if steps is None:
        steps = usual_steps(forecasters.values(), axis.step)
    inputs = max(one.needs.frames for one in forecasters.values())
    found = windows(axis, period, inputs=inputs, steps=steps)
    issue_times = axis.times[[window.issue for window in found]]
    if every is not None:
        issue_times = issue_times[issue_times.astype("datetime64[s]").astype(int) % (60 * every) == 0]
    if not issue_times.size:
        held = Block.between(axis.times[0], axis.times[-1])
        raise FramesError(
            f"verify: expected an issue time with {inputs} frames up to it and one after it in {period}"
            f"{'' if every is None else f', at a multiple of {every} min'}, found none in the archive, {held}"
        )
    notes = [_ABSENT.format(" and ".join(sorted(str(Block(*test)) for test in tests)))]
    absent_now = absent and (start is None or end is None)
    return Plan(period, issue_times, steps, tuple(notes) if absent_now else (), members, seed)


def _tests(forecaster: DescribedForecaster, axis: TimeAxis) -> set[tuple[str, str]]:
    """Return a forecaster's test blocks that have a frame in the archive; all of them if not one has."""
    tests = {blocks["test"] for blocks in forecaster.blocks if "test" in blocks}
    return {test for test in tests if Block(*test).contains(axis.times).any()} or tests
