import re

from stormcell.published.runs import run_hash


def test_run_hash_differs_by_frames_and_by_model():
    runs = [
        run_hash("a", "b"),
        run_hash("a", "c"),
        run_hash("c", "b"),
        run_hash("ab", ""),
        run_hash("", "ab"),
    ]
    assert len(set(runs)) == len(runs)
    assert all(re.fullmatch("[0-9a-f]{8}", run) for run in runs)


def test_run_hash_of_the_same_is_the_same_in_every_version():
    assert run_hash("rain", "extrapolation") == "a1490423"
