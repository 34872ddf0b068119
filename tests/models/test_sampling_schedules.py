import math

import numpy as np
import pytest
import torch

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.models import rollout
from stormcell.models.sampling_schedules import (
    FreeRunning,
    ReverseScheduledSampling,
    ScheduledSampling,
    TeacherForcing,
)


def within(found: float, expected: float, draws: int) -> bool:
    """Compare a share of draws within five standard deviations, which chance exceeds once in a million."""
    return abs(found - expected) <= 5 * math.sqrt(max(expected * (1 - expected), 1e-9) / draws)


@pytest.mark.parametrize(
    ("schedule", "known", "later"),
    [
        (FreeRunning(), 1.0, 0.0),
        (TeacherForcing(), 1.0, 1.0),
        (ScheduledSampling(0.3), 1.0, 0.3),
        (ScheduledSampling(0.0), 1.0, 0.0),
        (ScheduledSampling(1.0), 1.0, 1.0),
        (ReverseScheduledSampling(0.8, 0.25), 0.8, 0.25),
    ],
)
def test_schedules_give_frames_with_their_probabilities(schedule, known, later):
    given = schedule.given(2000, 10, 7, torch.Generator().manual_seed(0))
    assert given.shape == (2000, 16)
    assert given.dtype == torch.bool
    assert given[:, 0].all()
    for columns, expected in ((given[:, 1:10], known), (given[:, 10:], later)):
        for column in columns.T:
            assert within(column.float().mean().item(), expected, len(column))


def test_scheduled_sampling_draws_sequences_and_frames_independently():
    """Two columns, or two rows, agree as often as by chance."""
    given = ScheduledSampling(0.5).given(4000, 1, 9, torch.Generator().manual_seed(1))[:, 1:]
    for one in range(8):
        for other in range(one):
            assert within((given[:, one] == given[:, other]).float().mean().item(), 0.5, 4000)
    assert within((given[::2] == given[1::2]).float().mean().item(), 0.5, 16000)


def test_scheduled_sampling_is_reproducible_by_its_generator():
    def draw(seed):
        return ScheduledSampling(0.5).given(8, 3, 20, torch.Generator().manual_seed(seed))

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


def test_scheduled_sampling_at_an_update_equals_openstl():
    """Compute the probability as OpenSTL does, by a subtraction at every update."""
    share = 1.0
    for update in range(50_010):
        share = share - 0.00002 if update < 50_000 else 0.0
        if update % 997 == 0 or update > 49_990:
            # Fifty thousand subtractions of numbers below 1, each rounded by at most 2⁻⁵⁴.
            assert ScheduledSampling.at(update).probability == pytest.approx(share, abs=50_000 * 2**-53)


@pytest.mark.parametrize(
    ("update", "known", "later"),
    [
        (0, 0.5, 0.5),
        (24_999, 0.5, 0.5),
        (25_000, 0.5, 0.5),
        (30_000, 1 - 0.5 * np.exp(-1), 0.5 - 0.5 / 25_000 * 5_000),
        (49_999, 1 - 0.5 * np.exp(-24_999 / 5_000), 0.5 - 0.5 / 25_000 * 24_999),
        (50_000, 1.0, 0.0),
        (10**6, 1.0, 0.0),
    ],
)
def test_reverse_scheduled_sampling_at_an_update_equals_predrnn(update, known, later):
    found = ReverseScheduledSampling.at(update)
    assert (found.known, found.later) == (pytest.approx(known), pytest.approx(later))


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "half", True])
def test_schedules_given_something_else_than_a_probability_are_refused(p):
    with pytest.raises(ArgumentError, match="probability: expected a probability, found"):
        ScheduledSampling(p)
    with pytest.raises(ArgumentError, match="later: expected a probability, found"):
        ReverseScheduledSampling(0.5, p)


X, TARGETS = torch.zeros(2, 3, 1, 4, 4), torch.zeros(2, 4, 1, 4, 4)


@pytest.mark.parametrize(
    ("schedule", "targets", "message"),
    [
        ("free", None, "schedule: expected a sampling schedule or bools (2, 6), found a str"),
        (
            torch.ones(2, 5, dtype=torch.bool),
            TARGETS,
            "schedule: expected bools (2, 6), found (2, 5) of torch.bool",
        ),
        (torch.ones(2, 6), TARGETS, "schedule: expected bools (2, 6), found (2, 6) of torch.float32"),
        (
            torch.zeros(2, 6, dtype=torch.bool),
            TARGETS,
            "schedule: expected the first frame to be given, found False",
        ),
        (
            TeacherForcing(),
            None,
            "targets: expected (2, 4, …), as the schedule gives some of them, found None",
        ),
        (
            ScheduledSampling(1.0),
            TARGETS[:, :2],
            "targets: expected (2, 4, 1, 4, 4) for this x, found (2, 2, 1, 4, 4)",
        ),
        (
            FreeRunning(),
            TARGETS[..., :2],
            "targets: expected (2, 4, 1, 4, 4) for this x, found (2, 4, 1, 4, 2)",
        ),
    ],
)
def test_draw_given_refuses_what_does_not_fit(schedule, targets, message):
    with pytest.raises(ArgumentError) as caught:
        rollout.draw_given(schedule, X, targets, 4)
    assert str(caught.value) == message


def test_draw_given_of_an_earlier_draw_returns_it():
    given = ScheduledSampling(0.5).given(2, 3, 4)
    assert torch.equal(rollout.draw_given(given, X, TARGETS, 4).each, given)


@pytest.mark.parametrize(
    "schedule", [TeacherForcing(), ScheduledSampling(0.0), torch.ones(1, 1, dtype=torch.bool)]
)
def test_check_free_running_refuses_other_schedules(schedule):
    with pytest.raises(NotOfferedError, match=r"^schedule: expected FreeRunning\(\), as a reason, found "):
        rollout.check_free_running(schedule, "a reason")
    rollout.check_free_running(FreeRunning(), "a reason")
