import pytest

from stormcell.errors import RecipeError
from stormcell.training.recipes import Recipe, demo, override


def test_override_reads_values_as_yaml():
    changed = override(demo(), ["max_minutes=null", "max_updates=7", "thinning=[2, 3]", "test=60min"])
    assert (changed.max_minutes, changed.max_updates, changed.thinning, changed.test) == (
        None,
        7,
        [2, 3],
        "60min",
    )
    assert changed.crop == demo().crop


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("max_minuts=3", 'unknown key "max_minuts"; the nearest is "max_minutes"'),
        ("crop", 'expected key=value, found "crop"'),
        ("crop=many", "crop: Input should be a valid integer"),
        ("inputs=2", "inputs: Input should be greater than or equal to 3, found 2"),
        ("encoder=gru", "encoder: Input should be 'convlstm', 'convolution' or 'none', found 'gru'"),
        ("crop=[", "crop: expected a value as in YAML"),
        ("thinning=[]", "thinning: List should have at least 1 item"),
        ("weight_average=1", "weight_average: Input should be less than 1, found 1"),
        ("coordinates=fixed", 'unknown key "coordinates"'),
        ("seed=2024-13-45", "seed: expected a value as in YAML"),
        ("seed=4294967296", "seed: Input should be less than 4294967296"),
        ("thinning=[0]", "thinning"),
        ("max_minutes=.inf", "max_minutes: Input should be a finite number"),
    ],
)
def test_override_with_a_wrong_value_names_it(assignment, message):
    with pytest.raises(RecipeError) as caught:
        override(Recipe(), [assignment])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_override_of_max_updates_removes_the_default_minutes():
    assert override(Recipe(), ["max_updates=9"]).max_minutes is None
    both = override(Recipe(), ["max_updates=9", "max_minutes=5"])
    assert (both.max_updates, both.max_minutes) == (9, 5.0)


def test_override_without_any_limit_is_refused():
    with pytest.raises(RecipeError, match="max_updates or max_minutes"):
        override(Recipe(), ["max_minutes=null"])


def test_override_without_validation_must_keep_the_last_weights():
    with pytest.raises(RecipeError, match="validation=0% needs keep=last"):
        override(Recipe(), ["validation=0%"])
    changed = override(Recipe(), ["validation=0%", "keep=last"])
    assert changed.whole
    assert not Recipe().whole
