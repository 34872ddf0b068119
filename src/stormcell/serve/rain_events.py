"""Times of rain in a series: their start and end, and whether these are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Sample:
    """The rate of a time step.

    Attributes:
        time: End of the step.
        rate: In mm/h; None if it is not known.
        step: Its duration.
    """

    time: datetime
    rate: float | None
    step: timedelta

    @property
    def amount(self) -> float:
        """Rain of the step in mm, 0 if it is not known."""
        return (self.rate or 0.0) * (self.step / timedelta(hours=1))


@dataclass(frozen=True)
class RainEvent:
    """A time of rain.

    Attributes:
        start: Time of the first wet sample.
        end: Time of the first dry sample after the rain, or of the last wet one if its end is not known.
        start_known: Whether the sample before is dry, so that the rain did not start earlier.
        end_known: Whether a dry sample follows.
        peak_rate: Highest rate in mm/h.
        peak_time: When.
        amount: Rain in mm.
    """

    start: datetime
    end: datetime
    start_known: bool
    end_known: bool
    peak_rate: float
    peak_time: datetime
    amount: float


def rain_events(samples: Sequence[Sample], threshold: float, gap: timedelta) -> list[RainEvent]:
    """Return the times of rain in a series.

    Args:
        samples: Ascending. Times that are missing between them are not known.
        threshold: Rate in mm/h from which a sample is wet, > 0.
        gap: Dry times shorter than this do not end an event.

    Example:
        >>> start = datetime(2026, 11, 28)
        >>> rates = [0.0, 0.0, 6.0, 1.2, 0.0]
        >>> step = timedelta(minutes=5)
        >>> samples = [Sample(start + k * step, rate, step) for k, rate in enumerate(rates)]
        >>> event, = rain_events(samples, 0.1, timedelta(0))
        >>> event.start.minute, event.end.minute, event.peak_rate, event.amount
        (10, 20, 6.0, 0.6)
    """
    whole = _without_holes(samples)
    wet = [k for k, sample in enumerate(whole) if sample.rate is not None and sample.rate >= threshold]
    groups: list[list[int]] = []
    for k in wet:
        if groups and _is_short(whole, groups[-1][-1], k, gap):
            groups[-1].append(k)
        else:
            groups.append([k])
    return [_event(whole, group[0], group[-1]) for group in groups]


def _without_holes(samples: Sequence[Sample]) -> list[Sample]:
    """Put a sample that is not known into each hole."""
    whole: list[Sample] = []
    for sample in samples:
        if whole and sample.time - whole[-1].time > 1.5 * sample.step:
            whole.append(Sample(sample.time - sample.step, None, sample.step))
        whole.append(sample)
    return whole


def _is_short(samples: Sequence[Sample], last: int, following: int, gap: timedelta) -> bool:
    between = samples[last + 1 : following]
    if not between:
        return True
    dry = samples[following].time - between[0].time
    return dry < gap and all(sample.rate is not None for sample in between)


def _event(samples: Sequence[Sample], first: int, last: int) -> RainEvent:
    during = [sample for sample in samples[first : last + 1] if sample.rate is not None]
    peak = max(during, key=lambda sample: sample.rate or 0.0)
    before = samples[first - 1] if first else None
    after = samples[last + 1] if last + 1 < len(samples) else None
    end_known = after is not None and after.rate is not None
    return RainEvent(
        start=samples[first].time,
        end=after.time if after is not None and end_known else samples[last].time,
        start_known=before is not None and before.rate is not None,
        end_known=end_known,
        peak_rate=peak.rate or 0.0,
        peak_time=peak.time,
        amount=round(sum(sample.amount for sample in during), 3),
    )
