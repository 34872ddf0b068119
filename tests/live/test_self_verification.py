import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from tests.live.conftest import START, STEP, Rig

from stormcell.data import archive
from stormcell.forecast.baselines import baseline
from stormcell.live.scored_hours import ScoredHour, hour_of, load_hours, save_hour
from stormcell.live.scoring_job import FOLDER, Scored, ScoreForecasts
from stormcell.published.reading import Shelf
from stormcell.verification.evaluate import evaluate


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    rig = Rig(tmp_path_factory.mktemp("scored"), model="sprog")
    rig.scores = True
    for k in range(9):
        rig.arrive(k)
    return rig


@pytest.fixture
def scored(first, tmp_path):
    """A copy of a published folder with scores."""
    shutil.copytree(first.out, tmp_path / "published")
    return SimpleNamespace(settings=first.settings, out=tmp_path / "published")


def test_self_verification_equals_verify_of_the_same_forecasts(scored):
    """At the pixels where both are defined, the scores are those of ``stormcell verify``."""
    found = Shelf(scored.out).scores()[0]
    rain = archive.rain(archive.open(scored.settings.archive)).load()
    both = {name: baseline(name) for name in ("sprog", "extrapolation")}
    expected = evaluate(rain, both, issue_times=rain["time"].values[2:], steps=3).to_scores()
    assert set(found.forecasters) == set(both)
    for name, scores in found.forecasters.items():
        assert scores["n_forecasts"] == expected[name]["n_forecasts"] == [6, 5, 4]
        for key in ("mae", "rmse"):
            np.testing.assert_allclose(scores[key], expected[name][key], rtol=1e-5)
        for threshold, values in scores["csi"].items():
            assert values == expected[name]["csi"][threshold]


def test_self_verification_has_both_periods(scored):
    day, week = Shelf(scored.out).scores()
    assert (day.period, week.period) == ("24h", "7d")
    assert day.end == week.end == START + 8 * STEP
    assert day.lead_minutes == (5.0, 10.0, 15.0)
    assert (day.end - day.start).total_seconds() < 24 * 3600


def test_self_verification_scores_a_frame_once(scored):
    before = (scored.out / "scores.json").read_bytes()
    assert ScoreForecasts(scored.settings.archive, scored.out)() == Scored()
    assert (scored.out / "scores.json").read_bytes() == before


def test_self_verification_after_a_kill_scores_what_was_missed(scored):
    before = Shelf(scored.out).scores()
    for path in (scored.out / FOLDER).iterdir():
        path.unlink()
    ScoreForecasts(scored.settings.archive, scored.out)()
    assert Shelf(scored.out).scores() == before


def test_scored_hours_damaged_file_is_left_out_and_old_ones_are_deleted(scored):
    folder = scored.out / FOLDER
    (hour,) = load_hours(folder, START).values()
    later = hour_of(START) + 12 * STEP
    save_hour(folder, ScoredHour(later, hour.times, hour.tallies))
    path = next(folder.glob("*T00*"))
    path.write_bytes(path.read_bytes()[:-8])
    assert list(load_hours(folder, START)) == [later]
    load_hours(folder, later)
    assert [one.name for one in folder.iterdir()] == [f"{later:%Y%m%dT%H}.safetensors"]


def test_scored_hours_are_the_same_after_they_were_saved(scored):
    folder = scored.out / FOLDER
    (hour,) = load_hours(folder, START).values()
    save_hour(folder, hour)
    (again,) = load_hours(folder, START).values()
    assert again == hour
