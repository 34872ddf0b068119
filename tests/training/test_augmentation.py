import math

import numpy as np
import pytest

from stormcell.training.augmentation import NO_CHANGE, Augmentation, draw


def crop(height: int = 6, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Four inputs and two targets."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(1, 2, (6, height, width)).astype(np.float32)
    return rate[:4], rate[4:]


def many(count: int = 2000, inputs: int = 5, *, square: bool = True) -> list[Augmentation]:
    rng = np.random.default_rng(0)
    return [draw(rng, inputs=inputs, square=square) for _ in range(count)]


def test_no_change_leaves_a_crop_as_it_is():
    inputs, targets = crop()
    changed = NO_CHANGE.apply(inputs, targets)
    np.testing.assert_array_equal(changed[0], inputs)
    np.testing.assert_array_equal(changed[1], targets)
    vectors = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    np.testing.assert_array_equal(NO_CHANGE.jittered(vectors), vectors)


def test_apply_does_not_change_the_frames_that_it_is_given():
    inputs, targets = crop()
    kept = inputs.copy(), targets.copy()
    Augmentation(rate=2.0, missing=1, detected=5.0, sector=(0.5, 0.5, -1.0, 1.0)).apply(inputs, targets)
    np.testing.assert_array_equal(inputs, kept[0])
    np.testing.assert_array_equal(targets, kept[1])


@pytest.mark.parametrize(
    ("flips", "expected"),
    [
        ((True, False, False), [[3, 4], [1, 2]]),
        ((False, True, False), [[2, 1], [4, 3]]),
        ((False, False, True), [[1, 3], [2, 4]]),
        ((True, True, True), [[4, 2], [3, 1]]),
    ],
)
def test_apply_flips_and_transposes(flips, expected):
    frame = np.array([[[1, 2], [3, 4]]], np.float32)
    for changed in Augmentation(flips=flips).apply(frame, frame):
        assert changed[0].tolist() == expected


def test_apply_multiplies_rates_and_cuts_what_is_not_detected_in_inputs_and_targets():
    frame = np.array([[[0.05, 0.1, 1.0, np.nan]]], np.float32)
    for changed in Augmentation(rate=1.5, detected=0.1).apply(frame, frame):
        np.testing.assert_allclose(changed[0, 0], [0, 0.15, 1.5, np.nan], rtol=1e-6)


def test_apply_joins_pixels_to_their_mean():
    inputs, targets = crop(4, 5)
    inputs[0, 0, 0] = np.nan
    changed, _ = Augmentation(coarser=2).apply(inputs, targets)
    assert changed.shape == inputs.shape
    np.testing.assert_allclose(changed[1, 1, 1], inputs[1, 2:4, 2:4].mean(), rtol=1e-6)
    assert np.isnan(changed[0, 0, 0])  # one of four was not observed
    assert np.isnan(changed[:, 2:]).all()
    assert np.isnan(changed[:, :, 2:]).all()


def test_apply_hides_the_oldest_inputs_and_a_sector_of_all_but_no_target():
    inputs, targets = crop(20, 20)
    changed, later = Augmentation(missing=2, sector=(0.5, 0.5, 0.0, math.pi / 2)).apply(inputs, targets)
    assert np.isnan(changed[:2]).all()
    quarter = np.zeros((20, 20), bool)
    quarter[10:, 11:] = True  # angles from that of the row to that of the column, the second not included
    quarter[10, 10] = True  # the centre has the angle 0
    np.testing.assert_array_equal(np.isnan(changed[2:]), [quarter, quarter])
    np.testing.assert_array_equal(later, targets)


def test_jittered_changes_motion_and_not_places():
    vectors = np.array([[5.0, 6.0, 2.0, -4.0]], np.float32)
    changed = Augmentation(motion=(1.1, 0.5, -0.25)).jittered(vectors)
    np.testing.assert_allclose(changed, [[5.0, 6.0, 2.7, -4.65]], rtol=1e-6)
    assert vectors[0, 2] == 2.0


def test_draw_is_a_function_of_the_random_numbers_and_takes_the_same_amount():
    for inputs, square in ((3, True), (6, False)):
        one, two = np.random.default_rng(5), np.random.default_rng(5)
        assert draw(one, inputs=inputs, square=square) == draw(two, inputs=inputs, square=square)
    after = []
    for seed_change in range(20):
        rng = np.random.default_rng(3)
        draw(rng, inputs=5, square=bool(seed_change % 2))
        after.append(rng.random())
    assert len(set(after)) == 1


def test_draw_has_every_change_with_its_frequency():
    """Of 2000 draws, to five standard errors."""
    drawn = many()

    def share(condition) -> float:
        return float(np.mean([condition(one) for one in drawn]))

    for found, expected in (
        (share(lambda one: one.coarser == 2), 0.2),
        (share(lambda one: one.rate != 1), 0.5),
        (share(lambda one: one.sector is not None), 0.1),
        (share(lambda one: one.detected > 0), 0.3),
        (share(lambda one: one.missing > 0), 0.3 * 2 / 3),  # 0, 1 or 2 of five frames
        *((share(lambda one, k=k: one.flips[k]), 0.5) for k in range(3)),
    ):
        assert abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / len(drawn))


def test_draw_stays_within_what_radars_do():
    drawn = many()
    assert all(2**-0.7 <= one.rate <= 2**0.7 for one in drawn)
    assert all(one.detected == 0 or 0.05 <= one.detected <= 0.2 for one in drawn)
    assert {one.missing for one in drawn} == {0, 1, 2}
    assert all(0.2 <= one.sector[3] - one.sector[2] <= 0.8 for one in drawn if one.sector)
    factor = np.array([one.motion[0] for one in drawn])
    shift = np.array([one.motion[1:] for one in drawn])
    assert abs(factor.mean() - 1) < 5 * 0.05 / np.sqrt(len(drawn))
    assert factor.std() == pytest.approx(0.05, rel=0.1)
    assert shift.std() == pytest.approx(0.2, rel=0.1)


def test_draw_of_three_inputs_hides_none_and_of_oblong_pixels_transposes_none():
    assert {one.missing for one in many(200, inputs=3)} == {0}
    assert not any(one.flips[2] for one in many(200, square=False))
