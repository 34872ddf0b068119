"""Whether a forecast describes the present rain, by its issue time and the clock."""

from datetime import datetime, timedelta
from typing import Literal

Timeliness = Literal["current", "old", "ahead"]

_STALE_STEPS, _USUAL_STEP = 3, 300
# The clocks of a radar and of a computer differ by less. An issue further ahead comes from a wrong clock.
_AHEAD = timedelta(minutes=2)


def stale_after(step_seconds: int | None) -> timedelta:
    """Return the age of the newest frame from which forecasts are called stale.

    Args:
        step_seconds: Time step of the frames; None if it is not known.
    """
    return timedelta(seconds=_STALE_STEPS * (step_seconds or _USUAL_STEP))


def timeliness(issue: datetime, now: datetime, limit: timedelta) -> Timeliness:
    """Return whether a forecast is current, too old, or dated ahead of the clock.

    Neither of the latter two describes the present rain: if the issue time is ahead, a clock is wrong.

    Args:
        issue: Issue time.
        now: The present time.
        limit: The greatest age that is not too old.

    Example:
        >>> from datetime import UTC
        >>> now = datetime(2026, 11, 28, 3, 25, tzinfo=UTC)
        >>> timeliness(now + timedelta(minutes=3), now, timedelta(minutes=15))
        'ahead'
    """
    age = now - issue
    if age < -_AHEAD:
        return "ahead"
    return "old" if age > limit else "current"
