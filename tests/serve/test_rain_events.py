from datetime import UTC, datetime, timedelta

import pytest

from stormcell.serve.rain_events import Sample, rain_events

START = datetime(2026, 11, 28, tzinfo=UTC)
STEP = timedelta(minutes=5)
NO_GAP = timedelta(0)


def samples(*rates):
    return [Sample(START + k * STEP, rate, STEP) for k, rate in enumerate(rates)]


def minutes(event):
    return tuple(int((time - START) / timedelta(minutes=1)) for time in (event.start, event.end))


def test_rain_events_dry_series_has_none():
    assert rain_events(samples(0, 0.09, 0), 0.1, NO_GAP) == []


def test_rain_events_shower_has_known_ends_peak_and_amount():
    (event,) = rain_events(samples(0, 1.2, 6, 2.4, 0), 0.1, NO_GAP)
    assert minutes(event) == (5, 20)
    assert (event.start_known, event.end_known) == (True, True)
    assert (event.peak_rate, event.peak_time) == (6, START + 2 * STEP)
    assert event.amount == pytest.approx((1.2 + 6 + 2.4) / 12)


def test_rain_events_at_the_ends_of_the_series_are_open():
    (event,) = rain_events(samples(1, 1, 1), 0.1, NO_GAP)
    assert minutes(event) == (0, 10)
    assert (event.start_known, event.end_known) == (False, False)


def test_rain_events_beside_unknown_rates_have_unknown_ends():
    (event,) = rain_events(samples(0, None, 1, None, 0), 0.1, NO_GAP)
    assert minutes(event) == (10, 10)
    assert (event.start_known, event.end_known) == (False, False)


def test_rain_events_missing_time_is_unknown():
    series = samples(1, 1, 0)
    del series[1]
    (event,) = rain_events(series, 0.1, NO_GAP)
    assert event.end_known is False


def test_rain_events_short_dry_time_does_not_end_an_event():
    series = samples(0, 1, 0, 0, 1, 0)
    together, apart = (rain_events(series, 0.1, timedelta(minutes=gap)) for gap in (15, 10))
    assert [minutes(event) for event in together] == [(5, 25)]
    assert [minutes(event) for event in apart] == [(5, 10), (20, 25)]


def test_rain_events_unknown_time_always_ends_an_event():
    assert len(rain_events(samples(0, 1, None, 1, 0), 0.1, timedelta(hours=1))) == 2


def test_rain_events_longer_steps_of_the_forecast_are_no_holes():
    series = [*samples(0, 1), Sample(START + 3 * STEP, 1, 2 * STEP), Sample(START + 5 * STEP, 0, 2 * STEP)]
    (event,) = rain_events(series, 0.1, NO_GAP)
    assert (minutes(event), event.end_known) == ((5, 25), True)
    assert event.amount == pytest.approx(1 / 12 + 1 / 6)
