import pytest

from stormcell.errors import RecipeError
from stormcell.training.recipes import Recipe, demo, override


def test_values_are_read_as_yaml():
    changed = override(demo(), ["max_minutes=null", "max_updates=7", "hidden_channels=[8, 4]", "test=60min"])
    assert (changed.max_minutes, changed.max_updates, changed.hidden_channels, changed.test) == (
        None,
        7,
        [8, 4],
        "60min",
    )
    assert changed.crop == demo().crop


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("max_minuts=3", 'unknown key "max_minuts"; the nearest is "max_minutes"'),
        ("steps", 'expected key=value, found "steps"'),
        ("steps=many", "steps: Input should be a valid integer"),
        ("steps=0", "steps: Input should be greater than or equal to 1, found 0"),
        ("coordinates=polar", "coordinates: Input should be 'moving' or 'fixed', found 'polar'"),
        ("steps=[", "steps: expected a value as in YAML"),
        ("seed=2024-13-45", "seed: expected a value as in YAML"),
        ("seed=4294967296", "seed: Input should be less than 4294967296"),
        ("hidden_channels=[0]", "hidden_channels"),
        ("max_minutes=.inf", "max_minutes: Input should be a finite number"),
    ],
)
def test_what_does_not_fit_is_named(assignment, message):
    with pytest.raises(RecipeError) as caught:
        override(Recipe(), [assignment])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_limit_in_updates_is_not_cut_short_by_the_default_one_in_time():
    assert override(Recipe(), ["max_updates=9"]).max_minutes is None
    both = override(Recipe(), ["max_updates=9", "max_minutes=5"])
    assert (both.max_updates, both.max_minutes) == (9, 5.0)


def test_a_run_must_end_somehow():
    with pytest.raises(RecipeError, match="max_updates or max_minutes"):
        override(Recipe(), ["max_minutes=null"])
