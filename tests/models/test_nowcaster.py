import math

import pytest
import torch

from stormcell.errors import ArgumentError
from stormcell.models.exceedance import THRESHOLDS, exceedance_logits, log_thresholds
from stormcell.models.nowcaster import Nowcaster
from stormcell.models.rain_cascade import decompose, deviation, expectation, fit_process
from stormcell.models.rain_pyramid import DRY, from_afar, upsample

ENCODERS = ["convlstm", "convolution", "none"]
STEP, PIXEL = torch.tensor([5.0, 2.0]), torch.tensor([1.0, 0.5])


def nowcaster(*, random: bool = True, **changes) -> Nowcaster:
    """A small nowcaster; its last layer is random unless it shall start at the cascade."""
    torch.manual_seed(0)
    made = Nowcaster(**{"channels": 6, "detail_channels": 5} | changes)
    if random:
        torch.nn.init.normal_(made.correction.weight, std=0.5)
        torch.nn.init.normal_(made.correction.bias, std=0.5)
    return made


def rain(batch: int = 2, frames: int = 4, height: int = 64, width: int = 64, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, frames, height // 8 + 1, width // 8 + 1, generator=generator)
    smooth = upsample(coarse, 8)[..., :height, :width]
    return (8 * smooth - 3).clamp_min(0) + torch.rand(batch, frames, height, width, generator=generator) / 4


def test_nowcaster_at_first_has_the_distribution_of_the_cascade():
    rate = rain()
    rate[0, :, :20, :9] = math.nan
    found = nowcaster(random=False)(rate, STEP, PIXEL, steps=3)
    cascade = decompose(rate, from_afar(rate))
    process = fit_process(cascade.moments, STEP, 3)
    for lead in range(1, 4):
        one = process.at(torch.tensor([lead, lead]))
        spread = upsample(torch.sqrt(deviation(cascade, one) ** 2 + 0.05**2), 8)
        expected = exceedance_logits(
            expectation(cascade, one), spread, log_thresholds(torch.zeros(2, 14, 64, 64))
        )
        torch.testing.assert_close(found[:, lead - 1], expected, rtol=1e-5, atol=1e-5)


def test_nowcaster_without_the_cascade_at_first_knows_nothing():
    found = nowcaster(random=False, cascade=False)(rain(), STEP, PIXEL, steps=2)
    one = torch.ones(1, 1, 1, 1)
    expected = exceedance_logits(DRY * one, one, log_thresholds(torch.zeros(1, 14, 1, 1)))
    torch.testing.assert_close(found, expected[:, None].expand_as(found))
    changed = nowcaster(cascade=False)(rain(), STEP, PIXEL, steps=2)
    assert changed.std(dim=(-2, -1)).min() > 0  # trained, it uses what it sees


@pytest.mark.parametrize("encoder", ENCODERS)
def test_nowcaster_logits_fall_from_threshold_to_threshold(encoder):
    made = nowcaster(encoder=encoder)
    with torch.no_grad():
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    logits = made(rain(), STEP, PIXEL, steps=3)
    assert logits.shape == (2, 3, 14, 64, 64)
    assert logits.isfinite().all()
    assert (logits.diff(dim=2) < 0).all()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_nowcaster_every_parameter_has_a_gradient(encoder):
    made = nowcaster(encoder=encoder)
    rate = rain()
    rate[1, :2, :30] = math.nan
    made(rate, STEP, PIXEL, steps=2).sigmoid().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_nowcaster_without_an_encoder_has_no_such_layers():
    names = {name.partition(".")[0] for name, _ in nowcaster(encoder="none").named_parameters()}
    assert names == {"pixel", "join", "correction"}


@pytest.mark.parametrize("number", ["lead", "step", "pixel"])
@pytest.mark.parametrize("encoder", ["convlstm", "none"])
def test_nowcaster_numbers_matter_for_their_example_only(number, encoder):
    """The lead time matters for the forecast, even if the cascade is left out, which depends on it, too."""
    made = nowcaster(encoder=encoder, cascade=False)
    rate = rain()

    def logits(leads=(1, 1), steps=(5.0, 5.0), pixels=(1.0, 1.0)):
        scene = made.read(rate, torch.tensor(steps), torch.tensor(pixels), 3)
        return made.logits(scene, torch.tensor(leads))

    changed = {
        "lead": logits(leads=(1, 3)),
        "step": logits(steps=(5.0, 10.0)),
        "pixel": logits(pixels=(1.0, 2.0)),
    }[number]
    before = logits()
    # Convolutions of a batch are summed in the same order, whatever is in it.
    torch.testing.assert_close(changed[0], before[0], rtol=1e-5, atol=1e-5)
    assert (changed[1] - before[1]).abs().mean() > 1e-3


@pytest.mark.parametrize("encoder", ENCODERS)
def test_nowcaster_example_does_not_depend_on_the_others(encoder):
    made, rate = nowcaster(encoder=encoder).double(), rain().double()
    together = made(rate, STEP.double(), PIXEL.double(), steps=2)
    for k in range(2):
        alone = made(rate[k : k + 1], STEP[k : k + 1].double(), PIXEL[k : k + 1].double(), steps=2)
        torch.testing.assert_close(together[k : k + 1], alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_nowcaster_given_fewer_frames_counts_older_ones_as_unobserved(encoder):
    made = nowcaster(inputs=5, encoder=encoder)
    rate = rain(frames=3)
    filled = torch.cat([torch.full_like(rate[:, :2], math.nan), rate], dim=1)
    torch.testing.assert_close(made(rate, STEP, PIXEL, steps=1), made(filled, STEP, PIXEL, steps=1))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_nowcaster_given_more_frames_reads_the_newest(encoder):
    made, rate = nowcaster(inputs=3, encoder=encoder), rain(frames=6)
    given = made(rate, STEP, PIXEL, steps=1)
    torch.testing.assert_close(given, made(rate[:, 3:], STEP, PIXEL, steps=1))
    changed = rate.clone()
    changed[:, 3] *= 3
    assert not torch.equal(given, made(changed, STEP, PIXEL, steps=1))


def test_nowcaster_encoder_reads_frames_that_the_cascade_does_not():
    rate = rain(frames=4)
    older = rate.clone()
    older[:, 0] *= 3
    differs = {
        encoder: not torch.equal(made(rate, STEP, PIXEL, steps=1), made(older, STEP, PIXEL, steps=1))
        for encoder, made in ((name, nowcaster(encoder=name)) for name in ENCODERS)
    }
    assert differs == {"convlstm": True, "convolution": True, "none": False}


@pytest.mark.parametrize(("height", "width"), [(70, 41), (1, 1), (128, 5)])
def test_nowcaster_takes_frames_of_any_size(height, width):
    logits = nowcaster()(rain(height=height, width=width), STEP, PIXEL, steps=2)
    assert logits.shape == (2, 2, 14, height, width)
    assert logits.isfinite().all()


def test_nowcaster_pixels_beyond_the_frame_are_not_observed():
    """Frames are padded to multiples of 64 with NaN, so that a frame padded before has the same forecast."""
    rate, made = rain(height=70, width=50), nowcaster()
    padded = torch.nn.functional.pad(rate, (0, 14, 0, 20), value=math.nan)
    whole = made(padded, STEP, PIXEL, steps=1)
    torch.testing.assert_close(made(rate, STEP, PIXEL, steps=1), whole[..., :70, :50])


def test_nowcaster_given_nothing_observed_is_finite():
    rate = torch.full((2, 4, 64, 64), math.nan)
    assert nowcaster()(rate, STEP, PIXEL, steps=2).isfinite().all()


def test_nowcaster_given_dry_frames_hardly_forecasts_rain_at_first():
    logits = nowcaster(random=False)(torch.zeros(2, 3, 64, 64), STEP, PIXEL, steps=2)
    # 0.5 below the logarithm of the least rain, in a logistic distribution of the least deviation.
    assert torch.sigmoid(logits).max() <= 1 / (1 + math.exp(1.702 * 0.5 / 0.05)) * 1.001


@pytest.mark.parametrize(
    "area",
    [
        (slice(0, 64), slice(0, 70)),
        (slice(64, 192), slice(64, 170)),
        (slice(192, 300), slice(2, 9)),
        (slice(256, 299), slice(168, 170)),
    ],
)
@pytest.mark.parametrize("encoder", ["convlstm", "none"])
def test_nowcaster_logits_of_an_area_are_those_of_the_whole(area, encoder):
    made, rate = nowcaster(encoder=encoder).double(), rain(height=300, width=170).double()
    rate[:, :, 100:140, :30] = math.nan
    scene = made.read(rate, STEP.double(), PIXEL.double(), 2)
    lead = torch.tensor([1, 2])
    with torch.no_grad():
        whole, part = made.logits(scene, lead), made.logits_in(scene, made.first_guess(scene, lead), area)
    torch.testing.assert_close(part, whole[..., area[0], area[1]], rtol=0, atol=1e-11)  # rounding of float64


@pytest.mark.parametrize("encoder", ["convlstm", "convolution", "none"])
def test_nowcaster_arguments_build_the_same_nowcaster(encoder):
    made = nowcaster(inputs=5, encoder=encoder, thresholds=(0.1, 1.0, 10.0))
    assert made.arguments["encoder"] == encoder
    again = Nowcaster(**made.arguments)
    again.load_state_dict(made.state_dict())
    assert again.thresholds == (0.1, 1.0, 10.0)
    rate = rain()
    assert torch.equal(again(rate, STEP, PIXEL, steps=1), made(rate, STEP, PIXEL, steps=1))


def test_nowcaster_arguments_are_recorded_for_the_card():
    assert Nowcaster(channels=8).arguments == {
        "inputs": 4,
        "thresholds": list(THRESHOLDS),
        "channels": 8,
        "detail_channels": 32,
        "encoder": "convlstm",
        "cascade": True,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": 2}, "inputs: expected 3 or more, found 2"),
        ({"thresholds": (1.0, 0.5)}, "thresholds: expected ascending rates, found (1.0, 0.5)"),
        ({"encoder": "gru"}, 'encoder: expected "convlstm", "convolution" or "none", found "gru"'),
    ],
)
def test_nowcaster_with_an_impossible_argument_names_it(arguments, message):
    with pytest.raises(ArgumentError) as caught:
        Nowcaster(**arguments)
    assert str(caught.value) == message


def test_nowcaster_size_allows_to_ship_it():
    """In float32, the default nowcaster has less than 5 MB."""
    assert 4 * sum(parameter.numel() for parameter in Nowcaster().parameters()) < 5e6
