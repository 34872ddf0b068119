import numpy as np
import pytest

from stormcell.data.time_text import parse_step, parse_time, time_in_name, without_time
from stormcell.errors import InputError

MOMENT = np.datetime64("2016-09-28T14:45")


@pytest.mark.parametrize(
    "text",
    [
        "2016-09-28T14:45",
        "2016-09-28 14:45:00",
        "2016-09-28T14:45Z",
        "2016-09-28T14:45:00.000Z",
        "2016-09-28T16:45+02:00",
        "2016-09-28T09:45-0500",
        "201609281445",
        "20160928144500",
        "20160928T1445",
        "20160928_144500",
        "2016:09:28 14:45:00",
        "2016-09-28 14:45 UTC",
    ],
)
def test_parse_time_common_forms_give_utc(text):
    assert parse_time(text) == MOMENT


@pytest.mark.parametrize("text", ["", "2016-09-28", "2016-13-28T14:45", "14:45", "x201609281445"])
def test_parse_time_other_text_raises(text):
    with pytest.raises(InputError, match="time: expected one such as"):
        parse_time(text)


@pytest.mark.parametrize(
    "name",
    [
        "201609281445_FINUTM.tif",
        "radar_20160928_1445.tif",
        "RAD_NL25_RAC_RE_201609281445.tif",
        "rain.2016-09-28T14-45Z.tiff",
        "mosaic-20160928-144500_v2.tif",
        "rain_2016_09_28_14_45.tif",
        "201609281445/201609281445.tif",
    ],
)
def test_time_in_name_common_forms_are_found(name):
    assert time_in_name(name) == MOMENT


@pytest.mark.parametrize(
    "name",
    ["rain.tif", "rain_20160928.tif", "9201609281445", "201609281445_201609281545.tif", "16092814.tif"],
)
def test_time_in_name_without_one_time_is_none(name):
    assert time_in_name(name) is None


def test_without_time_leaves_the_rest():
    assert without_time("201609281445 rain rate") == "rain rate"


@pytest.mark.parametrize(("text", "seconds"), [("5min", 300), ("1h", 3600), ("PT5M", 300), ("00:05:00", 300)])
def test_parse_step_durations_are_read(text, seconds):
    assert parse_step(text) == np.timedelta64(seconds, "s")


@pytest.mark.parametrize("text", ["", "5", "often", "-5min", "0min", "1ms", "1.5s", "NaT", "99999999999999d"])
def test_parse_step_other_text_raises(text):
    with pytest.raises(InputError, match="step: expected one such as 5min"):
        parse_step(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2016-09-28T14:44:59.9996", "2016-09-28T14:45:00"),
        ("2016-09-28T14:45:00.0004Z", "2016-09-28T14:45:00"),
    ],
)
def test_parse_time_fraction_of_a_second_is_rounded_and_not_cut(text, expected):
    assert parse_time(text) == np.datetime64(expected)
