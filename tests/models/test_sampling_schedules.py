import math

import numpy as np
import pytest
import torch

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.models import rollout as fed_by
from stormcell.models.sampling_schedules import (
    FreeRunning,
    ReverseScheduledSampling,
    ScheduledSampling,
    TeacherForcing,
)


def within(found: float, expected: float, draws: int) -> bool:
    """Five standard deviations of a share of so many draws: a fair one is outside once in a million."""
    return abs(found - expected) <= 5 * math.sqrt(max(expected * (1 - expected), 1e-9) / draws)


@pytest.mark.parametrize(
    ("fed", "known", "later"),
    [
        (FreeRunning(), 1.0, 0.0),
        (TeacherForcing(), 1.0, 1.0),
        (ScheduledSampling(0.3), 1.0, 0.3),
        (ScheduledSampling(0.0), 1.0, 0.0),
        (ScheduledSampling(1.0), 1.0, 1.0),
        (ReverseScheduledSampling(0.8, 0.25), 0.8, 0.25),
    ],
)
def test_frames_are_given_as_often_as_the_feeding_says(fed, known, later):
    given = fed.given(2000, 10, 7, torch.Generator().manual_seed(0))
    assert given.shape == (2000, 16)
    assert given.dtype == torch.bool
    assert given[:, 0].all()
    for columns, expected in ((given[:, 1:10], known), (given[:, 10:], later)):
        for column in columns.T:
            assert within(column.float().mean().item(), expected, len(column))


def test_sequences_and_frames_are_drawn_for_themselves():
    """No two columns, nor two rows, agree more often than by chance."""
    given = ScheduledSampling(0.5).given(4000, 1, 9, torch.Generator().manual_seed(1))[:, 1:]
    for one in range(8):
        for other in range(one):
            assert within((given[:, one] == given[:, other]).float().mean().item(), 0.5, 4000)
    assert within((given[::2] == given[1::2]).float().mean().item(), 0.5, 16000)


def test_a_generator_says_what_is_drawn():
    def draw(seed):
        return ScheduledSampling(0.5).given(8, 3, 20, torch.Generator().manual_seed(seed))

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


def test_openstl_s_schedule():
    """Its own way: the share is lowered a little by every update, and gone after the last."""
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
def test_predrnn_s_schedule(update, known, later):
    found = ReverseScheduledSampling.at(update)
    assert (found.known, found.later) == (pytest.approx(known), pytest.approx(later))


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "half", True])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ArgumentError, match="probability: expected a probability, found"):
        ScheduledSampling(p)
    with pytest.raises(ArgumentError, match="later: expected a probability, found"):
        ReverseScheduledSampling(0.5, p)


X, TRUTH = torch.zeros(2, 3, 1, 4, 4), torch.zeros(2, 4, 1, 4, 4)


@pytest.mark.parametrize(
    ("fed", "truth", "message"),
    [
        ("free", None, "feeding: expected a feeding or bools (2, 6), found a str"),
        (
            torch.ones(2, 5, dtype=torch.bool),
            TRUTH,
            "feeding: expected bools (2, 6), found (2, 5) of torch.bool",
        ),
        (torch.ones(2, 6), TRUTH, "feeding: expected bools (2, 6), found (2, 6) of torch.float32"),
        (
            torch.zeros(2, 6, dtype=torch.bool),
            TRUTH,
            "feeding: expected the first frame to be given, found False",
        ),
        (
            TeacherForcing(),
            None,
            "truth: expected (2, 4, …), as TeacherForcing() gives frames of it, found None",
        ),
        (
            ScheduledSampling(1.0),
            TRUTH[:, :2],
            "truth: expected (2, 4, 1, 4, 4), as x is, found (2, 2, 1, 4, 4)",
        ),
        (FreeRunning(), TRUTH[..., :2], "truth: expected (2, 4, 1, 4, 4), as x is, found (2, 4, 1, 4, 2)"),
    ],
)
def test_what_cannot_be_fed_is_refused(fed, truth, message):
    with pytest.raises(ArgumentError) as caught:
        fed_by.drawn(fed, X, truth, 4)
    assert str(caught.value) == message


def test_a_tensor_may_say_which_frames_are_given():
    given = ScheduledSampling(0.5).given(2, 3, 4)
    assert torch.equal(fed_by.drawn(given, X, TRUTH, 4), given)


@pytest.mark.parametrize(
    "fed", [TeacherForcing(), ScheduledSampling(0.0), torch.ones(1, 1, dtype=torch.bool)]
)
def test_a_network_that_reads_nothing_refuses_to_be_fed(fed):
    with pytest.raises(NotOfferedError, match=r"^feeding: expected FreeRunning\(\), as it is so, found "):
        fed_by.unfed(fed, "it is so")
    fed_by.unfed(FreeRunning(), "it is so")
