"""The protocols' scores, compared with plain loops over pixels, torchmetrics and scikit-image."""

import itertools
import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.experiments.protocols import HKO7, OpenSTL, PaperMovingMnist, PaperRadar
from stormcell.experiments.protocols.hko7 import REFLECTIVITY, THRESHOLDS, balance, faint, pixel_thresholds
from stormcell.experiments.protocols.openstl import structural_similarity
from stormcell.experiments.protocols.reflectivity import Reflectivity
from stormcell.experiments.protocols.sequence_tally import SequenceTally

LEADS = 3
SHAPE = (4, LEADS, 12, 9)
PROTOCOLS = (PaperMovingMnist(LEADS), OpenSTL(LEADS), HKO7(LEADS), PaperRadar(LEADS))
names = [protocol.name for protocol in PROTOCOLS]
MASKED = PROTOCOLS[2:]


def pixels(seed=0, shape=SHAPE):
    """Return a prediction, a similar truth with all five classes and exact thresholds, and a mask."""
    generator = np.random.default_rng(seed)
    truth = generator.beta(2, 2, shape).astype(np.float32)
    truth.flat[::7] = REFLECTIVITY.pixel(np.resize(THRESHOLDS, truth.flat[::7].shape))
    prediction = np.clip(truth + generator.normal(0, 0.1, shape), 0, 1).astype(np.float32)
    prediction.flat[::5] = REFLECTIVITY.pixel(np.resize(THRESHOLDS, truth.flat[::5].shape))
    return prediction, truth, generator.random(shape) < 0.7


def scores_of(protocol, prediction, truth, mask=None):
    return protocol.scores(protocol.count(prediction, truth, mask))


def contingency_by_loop(prediction, truth, mask, thresholds):
    """Return hits, misses, false alarms and correct negatives by (lead, threshold)."""
    table = {}
    for lead, threshold in itertools.product(range(truth.shape[1]), range(len(thresholds))):
        a = b = c = d = 0
        for predicted, observed, inside in zip(
            prediction[:, lead].flat, truth[:, lead].flat, mask[:, lead].flat, strict=True
        ):
            if inside:
                event, forecast = observed >= thresholds[threshold], predicted >= thresholds[threshold]
                a, c = a + (event and forecast), c + (event and not forecast)
                b, d = b + (forecast and not event), d + (not forecast and not event)
        table[lead, threshold] = int(a), int(c), int(b), int(d)
    return table


def test_cross_entropy_equals_the_paper_s_sum():
    generator = np.random.default_rng(0)
    logits, truth = generator.normal(0, 3, SHAPE), generator.random(SHAPE)
    total = 0.0
    for z, t in zip(logits.flat, truth.flat, strict=True):
        p = 1 / (1 + math.exp(-z))
        total -= t * math.log(p) + (1 - t) * math.log(1 - p)
    # 324 additions of numbers of the same sign, and 1 − p, whose error grows with z: 12 ulp at most.
    assert scores_of(PROTOCOLS[0], logits, truth)["cross_entropy"] == pytest.approx(total / 4, rel=1e-12)


def test_cross_entropy_of_extreme_logits_is_finite():
    logits = np.full(SHAPE, 1000.0, np.float32)
    assert scores_of(PROTOCOLS[0], logits, np.ones(SHAPE)) == {"cross_entropy": 0.0}
    assert scores_of(PROTOCOLS[0], logits, np.zeros(SHAPE)) == {"cross_entropy": 1000.0 * LEADS * 12 * 9}


def test_openstl_errors_are_sums_over_a_frame():
    prediction, truth, _ = pixels()
    prediction = (
        prediction.astype(np.float64) * 1.5 - 0.2
    )  # outside 0…1, because these two scores do not clip
    squared = absolute = 0.0
    for p, t in zip(prediction.flat, truth.flat, strict=True):
        squared, absolute = squared + (p - float(t)) ** 2, absolute + abs(p - float(t))
    scores = scores_of(PROTOCOLS[1], prediction, truth)
    # 1296 float64 additions of numbers of the same sign.
    assert scores["mse"] == pytest.approx(squared / (4 * LEADS), rel=1e-12)
    assert scores["mae"] == pytest.approx(absolute / (4 * LEADS), rel=1e-12)


@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_ssim_equals_torchmetrics(data_range):
    prediction, truth, _ = pixels(shape=(5, 3, 20, 17))
    forecast, observed = (torch.from_numpy(frames.astype(np.float64)) for frames in (prediction, truth))
    # torchmetrics uses the population covariance, scikit-image the sample covariance, 49/48 of it. Another
    # k₂ has the same effect on the ratio of covariances and (k₂ · range)². The padded border is removed.
    _, image = structural_similarity_index_measure(
        forecast,
        observed,
        gaussian_kernel=False,
        kernel_size=7,
        data_range=data_range,
        k2=0.03 * math.sqrt(48 / 49),
        return_full_image=True,
    )
    expected = image[:, :, 3:-3, 3:-3].mean(dim=(-2, -1)).numpy()
    ours = structural_similarity(forecast.numpy(), observed.numpy(), data_range=data_range)
    # E[x²] − E[x]² of 49 pixels in 0…1 has an error of about 50 ε, and the denominator is at least c₂ = 9e-4.
    np.testing.assert_allclose(ours, expected, rtol=0, atol=50 * 2.3e-16 / 9e-4)


def test_ssim_equals_scikit_image():
    i, j = np.mgrid[:20, :24].astype(np.float64)
    truth = np.cos(0.5 * i - 0.2 * j) ** 2
    prediction = 0.8 * truth + 0.2 * np.abs(np.sin(0.3 * i + 0.7 * j))
    # Results of skimage.metrics.structural_similarity 0.26, which sums in another order.
    for data_range, expected in ((2.0, 0.9571139311648224), (1.0, 0.9565888321680338)):
        assert structural_similarity(prediction, truth, data_range=data_range) == pytest.approx(
            expected, abs=2e-11
        )
    alone = prediction[None, None], truth[None, None]
    assert scores_of(OpenSTL(1), *alone)["ssim"] == structural_similarity(prediction, truth, data_range=2.0)


def test_psnr_equals_torchmetrics():
    prediction, truth, _ = pixels()
    forecast, observed = torch.from_numpy(prediction * 1.4 - 0.1).double(), torch.from_numpy(truth).double()
    each = [
        peak_signal_noise_ratio(p.clamp(0, 1), t, data_range=1.0).item()
        for p, t in zip(forecast.flatten(0, 1), observed.flatten(0, 1), strict=True)
    ]
    # torchmetrics divides by the logarithm of 10 in float32: half an ulp, doubled for safety.
    assert scores_of(PROTOCOLS[1], forecast.numpy(), truth)["psnr"] == pytest.approx(
        np.mean(each), rel=1.2e-7
    )


def test_psnr_of_a_perfect_frame_is_infinite():
    prediction, truth, _ = pixels()
    prediction[0, 0] = truth[0, 0]
    assert scores_of(PROTOCOLS[1], prediction, truth)["psnr"] == math.inf


def test_hko7_balanced_errors_are_weighted_sums():
    prediction, truth, mask = pixels()
    squared = absolute = 0.0
    for p, t, inside in zip(prediction.flat, truth.flat, mask.flat, strict=True):
        if inside:
            # A rate on a threshold may be half a float32 ulp below it; the factor moves it above.
            rate = 1.0001 * (10 ** ((70 * float(t) - 10) / 10) / 58.53) ** (1 / 1.56)
            weight = 1 if rate < 2 else 2 if rate < 5 else 5 if rate < 10 else 10 if rate < 30 else 30
            squared += weight * (float(p) - float(t)) ** 2
            absolute += weight * abs(float(p) - float(t))
    scores = scores_of(PROTOCOLS[2], prediction, truth, mask)
    # About a thousand float64 additions of numbers of the same sign.
    assert scores["b_mse"] == pytest.approx(squared / (4 * LEADS), rel=1e-12)
    assert scores["b_mae"] == pytest.approx(absolute / (4 * LEADS), rel=1e-12)


def test_hko7_clips_predictions():
    prediction, truth, mask = pixels()
    wild = 3 * prediction - 1
    assert wild.min() < 0
    assert wild.max() > 1
    clipped = scores_of(PROTOCOLS[2], np.clip(wild, 0, 1), truth, mask)
    assert scores_of(PROTOCOLS[2], wild, truth, mask) == clipped


def test_faint_is_hko7_s_noise_range():
    # As in its iterator, for bytes: above 0 and below round(0.28 · 255).
    grey = range(256)
    assert faint(np.array(grey, np.float32) / 255).tolist() == [0 < g < round(0.28 * 255) for g in grey]
    assert not faint(np.array([np.nan]))


def test_hko7_skill_is_the_mean_over_lead_times():
    prediction, truth, mask = pixels()
    table = contingency_by_loop(prediction, truth, mask, pixel_thresholds())
    scores = scores_of(PROTOCOLS[2], prediction, truth, mask)
    for k, threshold in enumerate(THRESHOLDS):
        by_lead = {name: [] for name in ("csi", "pod", "far", "hss", "gss")}
        for lead in range(LEADS):
            a, c, b, d = table[lead, k]
            by_lead["csi"].append(a / (a + b + c))
            by_lead["pod"].append(a / (a + c))
            by_lead["far"].append(b / (a + b))
            by_lead["hss"].append(2 * (a * d - b * c) / ((a + c) * (c + d) + (a + b) * (b + d)))
            chance = (a + b) / (a + b + c + d) * (a + c)
            by_lead["gss"].append((a - chance) / (a + b + c - chance))
        for name, values in by_lead.items():
            # A few operations in float64; a − chance may cancel a digit or two.
            assert scores[f"{name}_{threshold:g}"] == pytest.approx(np.mean(values), rel=1e-12), name


def test_pixel_thresholds_match_hko7_s_formula():
    # HKO-7's formula: (10 log₁₀ 58.53 + 15.6 log₁₀ R + 10) / 70.
    np.testing.assert_allclose(pixel_thresholds(), [0.3283, 0.4624, 0.5511, 0.6182, 0.7245], atol=5e-5)


def test_hko7_rate_on_a_threshold_is_an_event():
    truth = REFLECTIVITY.pixel(np.float32(THRESHOLDS).reshape(1, 1, 1, 5))
    assert balance(truth).ravel().tolist() == [1, 2, 5, 10, 30]
    counts = HKO7(1).count(truth, truth).counts
    assert counts["hits"].tolist() == [[5, 4, 3, 2, 1]]
    assert balance(np.nextafter(truth, np.float32(0))).ravel().tolist() == [1, 1, 2, 5, 10]


def test_reflectivity_pixel_and_rate_are_inverse():
    rates = np.array([[0.02, 0.5, 7.3], [30.0, 100.0, 250.0]])
    # Rounding a pixel to float32 costs 3e-8, which is 2e-6 dBZ of 70, and a relative 3e-7 of a rate.
    np.testing.assert_allclose(REFLECTIVITY.rate(REFLECTIVITY.pixel(rates)), rates, rtol=3e-7)
    dry, missing, extreme = REFLECTIVITY.pixel([0.0, np.nan, 1e9])
    assert dry == 0
    assert np.isnan(missing)
    assert extreme == 1
    assert REFLECTIVITY.dbz([0, 1]).tolist() == [-10, 60]


def test_paper_radar_scores_equal_a_plain_loop():
    prediction, truth, mask = pixels()
    threshold = (10 * math.log10(118.239) + 15.241 * math.log10(0.5) + 10) / 70
    table = contingency_by_loop(prediction, truth, mask, [np.float32(threshold)])
    expected = {name: [] for name in ("rainfall_mse", "csi", "far", "pod", "correlation")}
    for lead in range(LEADS):
        a, c, b, _ = table[lead, 0]
        expected["csi"].append(a / (a + b + c))
        expected["far"].append(b / (a + b))
        expected["pod"].append(a / (a + c))
        error, pixel_count, correlations = 0.0, 0, []
        for k in range(4):
            pt = pp = tt = 0.0
            for p, t, inside in zip(
                prediction[k, lead].flat, truth[k, lead].flat, mask[k, lead].flat, strict=True
            ):
                if inside:
                    p, t = float(p), float(t)
                    rain = [(10 ** (7 * pixel - 1) / 118.239) ** (1 / 1.5241) for pixel in (p, t)]
                    error, pixel_count = error + (rain[0] - rain[1]) ** 2, pixel_count + 1
                    pt, pp, tt = pt + p * t, pp + p * p, tt + t * t
            correlations.append(pt / (math.sqrt(pp * tt) + 1e-9))
        expected["rainfall_mse"].append(error / pixel_count)
        expected["correlation"].append(np.mean(correlations))
    scores = scores_of(PROTOCOLS[3], prediction, truth, mask)
    assert list(scores) == list(expected)
    for name, values in expected.items():
        # 10^(7 p − 1) and its root: exponents of up to 14, each with an error of one ulp.
        assert scores[name] == pytest.approx(np.mean(values), rel=1e-12), name


def test_correlation_of_a_frame_without_an_echo_is_zero():
    prediction, truth, _ = pixels()
    truth[0] = prediction[0] = 0
    alone = scores_of(PROTOCOLS[3], prediction[1:], truth[1:])["correlation"]
    assert scores_of(PROTOCOLS[3], prediction, truth)["correlation"] == pytest.approx(alone * 3 / 4)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=names)
def test_scores_do_not_depend_on_the_batches(protocol):
    prediction, truth, _ = pixels(1, shape=(11, LEADS, 12, 9))
    whole = protocol.scores(protocol.count(prediction, truth))
    parts = [protocol.count(prediction[k], truth[k]) for k in (slice(8, 11), slice(0, 1), slice(1, 8))]
    assert protocol.scores(sum(parts, start=protocol.zero())) == whole
    assert protocol.scores(parts[2] + (parts[1] + parts[0])) == whole
    assert (protocol.zero() + parts[0]).sequences == 3


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=names)
def test_scores_of_the_empty_tally_are_nan(protocol):
    scores = protocol.scores(protocol.zero())
    assert list(scores) == list(protocol.columns)
    assert all(type(value) is float and math.isnan(value) for value in scores.values())


@pytest.mark.parametrize("protocol", MASKED, ids=names[2:])
def test_scores_ignore_pixels_outside_the_mask(protocol):
    prediction, truth, mask = pixels()
    mask[1], mask[:, 2] = False, mask[:, 2] & (np.arange(9) > 3)
    expected = scores_of(protocol, prediction, truth, mask)
    for nonsense in (1.0, np.nan, np.inf):
        wild = [np.where(mask, values, nonsense).astype(np.float32) for values in (prediction, truth)]
        assert scores_of(protocol, *wild, mask) == expected


@pytest.mark.parametrize("protocol", MASKED, ids=names[2:])
def test_scores_skip_a_lead_time_without_observations(protocol):
    prediction, truth, mask = pixels()
    mask[:, 1] = False
    others = type(protocol)(LEADS - 1)
    expected = scores_of(others, *(values[:, [0, 2]] for values in (prediction, truth, mask)))
    found = scores_of(protocol, prediction, truth, mask)
    balanced = {"b_mse", "b_mae"}  # means over all frames: HKO-7 includes frames without observed pixels
    assert {name: found[name] for name in found if name not in balanced} == {
        name: expected[name] for name in expected if name not in balanced
    }


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=names)
def test_scores_of_a_perfect_forecast_are_perfect(protocol):
    _, truth, _ = pixels()
    if protocol.takes == "logits":
        truth = truth.round()
        scores = scores_of(protocol, np.where(truth > 0, 800.0, -800.0), truth)
    else:
        scores = scores_of(protocol, truth, truth)
    perfect = {"psnr": math.inf}
    for name, column in protocol.columns.items():
        expected = perfect.get(name, 0.0 if column.best == "lowest" else 1.0)
        # The correlation has 1e-9 added to a denominator of at least 1; the others differ by a few ulp.
        assert scores[name] == pytest.approx(expected, abs=2e-9), name


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=names)
def test_published_rows_have_the_protocol_s_scores(protocol):
    models = [row["model"] for row in protocol.published]
    assert len(set(models)) == len(models) >= 5
    for row in protocol.published:
        scores = set(row) - {"model", "source", "parameters"}
        assert scores
        assert scores <= set(protocol.columns)
        assert all(isinstance(row[name], int | float) for name in scores)


def test_published_rows_contain_the_well_known_numbers():
    def row(protocol, model):
        (found,) = [row for row in protocol.published if row["model"] == model]
        return found

    mnist = {row["model"]: row["cross_entropy"] for row in PaperMovingMnist().published}
    assert mnist["ConvLSTM 5×5/5×5 128-64-64"] == min(mnist.values()) == 3670.85
    assert row(PaperMovingMnist(), "FC-LSTM-2048-2048")["parameters"] == 142_667_776
    assert row(OpenSTL(), "ConvLSTM-S")["mse"] == 29.80
    assert row(OpenSTL(), "ConvLSTM-S, 2000 epochs")["mse"] == 22.41
    assert row(HKO7(), "ConvLSTM")["csi_30"] == 0.1815
    assert row(HKO7(), "ConvLSTM")["hss_0.5"] == 0.6756
    assert row(HKO7(), "last frame")["b_mse"] == 15274
    assert row(PaperRadar(), "ConvLSTM 3×3-64-3×3-64")["correlation"] == 0.908


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=names)
def test_count_invalid_arguments_raise(protocol):
    prediction, truth, mask = pixels()
    for wrong in (prediction[:, :2], prediction[:1], prediction[..., :5]):
        with pytest.raises(ArgumentError, match="prediction: expected the truth's shape"):
            protocol.count(wrong, truth)
    with pytest.raises(ArgumentError, match="truth: expected shape"):
        protocol.count(prediction[:, :2], truth[:, :2])
    torn = prediction.copy()
    torn[2, 1, 3, 4] = np.nan
    with pytest.raises(ArgumentError, match="prediction: expected finite pixels inside the mask, found 1"):
        protocol.count(torn, truth)
    with pytest.raises(ArgumentError, match="both sides"):
        protocol.zero() + SequenceTally({"something": np.zeros((1, LEADS))}, {})
    if protocol not in MASKED:
        with pytest.raises(NotOfferedError, match="mask"):
            protocol.count(prediction, truth, mask)


def test_ssim_of_frames_smaller_than_the_window_raises():
    with pytest.raises(ArgumentError, match="SSIM"):
        OpenSTL(1).count(np.zeros((1, 1, 6, 20)), np.zeros((1, 1, 6, 20)))


def test_reflectivity_invalid_parameters_raise():
    for wrong in ({"a": 0.0, "b": 1.5}, {"a": 200.0, "b": 1.6, "lowest": 60.0}):
        with pytest.raises(ArgumentError, match="reflectivity"):
            Reflectivity(**wrong)
