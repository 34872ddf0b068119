"""Scores of probabilities and ensembles: functions of a tally's totals.

Where the ``scores`` package has a formula for whole fields (Brier score, fair CRPS, area under the ROC curve,
rank histogram), the tests compare with it; here the formulas are applied to sums. An undefined ratio is NaN.
"""

import numpy as np

from stormcell.verification.totals import Totals, Values, ratio


def crps_fair(tally: Totals) -> Values:
    """Fair CRPS in mm/h, ``(lead,)``: its expectation does not depend on the number of members.

    Of a distribution without members, which are like infinitely many, it is the CRPS of the distribution. It
    is undefined for a single forecast and for one member.
    """
    if tally.axes.members < 2 and not tally.axes.distribution:
        return np.full(len(tally.total("pixels")), np.nan)
    return ratio(tally.total("crps_fair"), tally.total("pixels"))


def crps_distribution(tally: Totals) -> Values:
    """CRPS of the distribution in mm/h, ``(lead,)``; undefined without a distribution."""
    if not tally.axes.distribution:
        return np.full(len(tally.total("pixels")), np.nan)
    return ratio(tally.total("crps_distribution"), tally.total("pixels"))


def brier(tally: Totals) -> Values:
    """Brier score, mean (probability − event)², ``(lead, threshold)``, 0 to 1.

    doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2. It is computed from the probabilities
    themselves; those of a single forecast are 0 and 1.
    """
    return ratio(tally.total("brier"), tally.total("pixels")[:, None])


def brier_reliability(tally: Totals) -> Values:
    """Reliability term of the Brier score, ``(lead, threshold)``, ≥ 0, best 0.

    Over classes of probability with n pixels: Σ n (mean probability − event frequency)² / Σ n,
    doi:10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2. Brier score = reliability − resolution + uncertainty
    if all probabilities of a class are equal, as those of up to 20 members are. Otherwise their variation
    within the classes adds to it.
    """
    pixels = tally.total("class_pixels")
    difference = reliability_probability(tally) - reliability_frequency(tally)
    return ratio(np.nansum(pixels * np.square(difference), axis=-1), pixels.sum(axis=-1))


def brier_resolution(tally: Totals) -> Values:
    """Resolution term of the Brier score, ``(lead, threshold)``, 0 to the uncertainty, best is highest."""
    pixels = tally.total("class_pixels")
    difference = reliability_frequency(tally) - _base_rate(tally)[..., None]
    return ratio(np.nansum(pixels * np.square(difference), axis=-1), pixels.sum(axis=-1))


def brier_uncertainty(tally: Totals) -> Values:
    """Uncertainty term of the Brier score, ``(lead, threshold)``, the same for all forecasters."""
    rate = _base_rate(tally)
    return np.asarray(rate * (1 - rate))


def reliability_probability(tally: Totals) -> Values:
    """Mean probability of each class, ``(lead, threshold, class)``; NaN in an empty class."""
    return ratio(tally.total("class_probability"), tally.total("class_pixels"))


def reliability_frequency(tally: Totals) -> Values:
    """Frequency of observed events in each class, ``(lead, threshold, class)``; NaN in an empty class."""
    return ratio(tally.total("class_events"), tally.total("class_pixels"))


def roc_pod(tally: Totals) -> Values:
    """Probability of detection if an event is forecast from each class on, ``(lead, threshold, class)``."""
    hits = _from_class_on(tally.total("class_events"))
    return ratio(hits, hits[..., :1])


def roc_pofd(tally: Totals) -> Values:
    """Probability of false detection if an event is forecast from each class on, as :func:`roc_pod`."""
    false_alarms = _from_class_on(tally.total("class_pixels") - tally.total("class_events"))
    return ratio(false_alarms, false_alarms[..., :1])


def roc_area(tally: Totals) -> Values:
    """Area under the ROC curve, ``(lead, threshold)``, 0 to 1; .5 without discrimination.

    The curve is straight between its points, the lowest probabilities of the classes.
    """
    pod, pofd = (np.pad(of(tally), ((0, 0), (0, 0), (0, 1))) for of in (roc_pod, roc_pofd))
    heights, widths = (pod[..., 1:] + pod[..., :-1]) / 2, pofd[..., :-1] - pofd[..., 1:]
    return np.asarray((heights * widths).sum(axis=-1))


def ensemble_fss(tally: Totals) -> Values:
    """Fractions skill score of probabilities, ``(lead, threshold, scale)``, 0 to 1.

    The forecast fraction of a window is the mean probability in it: of members, the fraction of events among
    all of their pixels, doi:10.3402/tellusa.v65i0.18171. Of a single forecast it is the FSS.
    """
    share = ratio(tally.total("ensemble_fss_numerator"), tally.total("ensemble_fss_denominator"))
    return np.maximum(1 - share, 0)  # rounding can make the share larger than 1


def spread(tally: Totals) -> Values:
    """Spread of M members in mm/h, ``(lead,)``: √((M + 1) / M · mean variance).

    The variance has the divisor M − 1. With the factor (M + 1) / M, the spread of calibrated members is the
    error of their mean, :func:`ensemble_rmse`, doi:10.1175/JHM-D-14-0008.1. Undefined below two members.
    """
    count = tally.axes.members
    if count < 2:
        return np.full(len(tally.total("pixels")), np.nan)
    return np.sqrt((count + 1) / count * ratio(tally.total("variance"), tally.total("pixels")))


def ensemble_rmse(tally: Totals) -> Values:
    """Root mean squared error of the members' mean in mm/h, ``(lead,)``; undefined without members."""
    if not tally.axes.members:
        return np.full(len(tally.total("pixels")), np.nan)
    return np.sqrt(ratio(tally.total("ensemble_squared_error"), tally.total("pixels")))


def spread_error(tally: Totals) -> Values:
    """Spread divided by the error of the members' mean, ``(lead,)``, best 1; below 1 it is overconfident."""
    return ratio(spread(tally), ensemble_rmse(tally))


def members_power_ratio(tally: Totals) -> Values:
    """Mean spectral power of up to four members relative to the observation's, ``(lead, band)``, best 1.

    The single forecast may be smoother than rain; members should not be. Undefined without members.
    """
    power = tally.total("members_power")
    if not tally.axes.members:
        return np.full(power.shape, np.nan)
    return ratio(power, tally.total("observed_power"))


def amount_crps(tally: Totals) -> Values:
    """CRPS of the members' amounts over squares in mm, ``(lead, area, duration)``.

    Of a single forecast it is the mean absolute error of its amounts. A distribution at each pixel has no
    amounts over areas.
    """
    return ratio(tally.total("amount_crps"), tally.total("amounts"))


def amount_crps_fair(tally: Totals) -> Values:
    """Fair CRPS of the members' amounts in mm, ``(lead, area, duration)``; undefined below two members."""
    if tally.axes.members < 2:
        return np.full(tally.total("amounts").shape, np.nan)
    return ratio(tally.total("amount_crps_fair"), tally.total("amounts"))


def _base_rate(tally: Totals) -> Values:
    return ratio(tally.total("class_events").sum(axis=-1), tally.total("class_pixels").sum(axis=-1))


def _from_class_on(counts: Values) -> Values:
    """Return, for each class, the sum over it and all higher ones."""
    return np.asarray(counts[..., ::-1].cumsum(axis=-1)[..., ::-1])
