"""The arithmetic of a chain of Pareto distributions; see :mod:`~stormcell.forecast.rain_distribution`."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stormcell.forecast.contract import Field
from stormcell.forecast.rain_kernels import Pieces, rain_kernels

STEEPEST = 16.0  # largest fall of ln S over a piece or a half
TAIL_SLOPE = 2.0  # smallest slope beyond the last threshold, unless a frame says it

SUREST = 1e-4  # smallest 1 - S in the odds; in float16, the smallest above 0 is 5e-4
LEAST_SHARE = float(np.exp(-STEEPEST))  # smallest ratio of S at two thresholds, in the odds

SMALLEST = np.float32(1e-35)  # stands for a probability of 0 in logarithms
FLAT = 1e-6  # a smaller slope of ln S over ln r is rounding


class ParetoPieces:
    """The pieces between thresholds, in halves, and the tail beyond the last.

    Methods take the probabilities of exceeding each threshold at some pixels, ``(threshold, rows, x)``.

    Args:
        thresholds: Ascending rain rates in mm/h ``(K,)``.
        largest: Largest rate in mm/h.
        tail_slope: Smallest slope of ln S over ln r beyond the last threshold.
    """

    def __init__(self, thresholds: NDArray[np.float64], largest: float, tail_slope: float) -> None:
        self.thresholds = thresholds
        self.largest = largest
        self._tail_slope = np.float32(tail_slope)
        self.lengths = np.log(np.append(thresholds[1:], largest) / thresholds)  # of the pieces in ln r
        below = np.nextafter(thresholds[1:].astype(np.float32), np.float32(0))
        self._tops = np.append(below, np.float32(largest))  # largest rates of the pieces
        self._in_c = Pieces(
            thresholds.astype(np.float32),
            self.lengths.astype(np.float32),
            self._tops,
            np.array([SMALLEST, STEEPEST, tail_slope, FLAT, SUREST, LEAST_SHARE], np.float32),
        )

    def probability(self, exceedance: Field, rate: float) -> Field:
        """Return P(R ≥ rate) ``(rows, x)``."""
        number = int(np.searchsorted(self.thresholds, rate, side="right")) - 1
        lower: Field = exceedance[max(number, 0)]
        if rate > self.largest:
            return lower * 0
        if number < 0 or rate == self.thresholds[number]:
            return lower
        part = np.log(rate / self.thresholds[number])
        if number == len(self.thresholds) - 1:
            fall, length = self._tail(exceedance), self.lengths[number]
        else:
            upper, length = exceedance[number + 1], self.lengths[number] / 2
            middle = _middle(lower, upper)
            if part < length:
                upper = middle
            else:
                lower, part = middle, part - length
            fall = _fall(_log(lower), _log(upper))
        found: Field = lower * np.exp(np.float32(-part / length) * fall)
        return found

    def _tail(self, exceedance: Field) -> Field:
        """Return by how much ln S falls beyond the last threshold, from the slope in the half before it."""
        lower, upper = exceedance[-2:]
        before, length = self.lengths[-2] / 2, self.lengths[-1]
        fall = _fall(_log(_middle(lower, upper)), _log(upper))
        falls: Field = np.maximum(fall * np.float32(length / before), self._tail_slope * np.float32(length))
        return falls

    def _pieces(self, exceedance: Field) -> Iterator["_Piece"]:
        """Yield the pieces of the distribution of some rows, up to the last that some pixel reaches."""
        lower = exceedance[0]
        for rate, length, upper in zip(self.thresholds, self.lengths, exceedance[1:], strict=False):
            if not np.fmax.reduce(lower, axis=None, initial=0) > 0:
                return  # S is 0 from this threshold on
            middle, half = _middle(lower, upper), np.float32(length / 2)
            logs = _log(middle)
            yield _Piece(np.float32(rate), half, lower, _fall(_log(lower), logs))
            yield _Piece(np.float32(rate * np.exp(length / 2)), half, middle, _fall(logs, _log(upper)))
            lower = upper
        if np.fmax.reduce(lower, axis=None, initial=0) > 0:
            fall = self._tail(exceedance)
            yield _Piece(np.float32(self.thresholds[-1]), np.float32(self.lengths[-1]), lower, fall)

    def invert(self, exceedance: Field, chances: Field, rates: Field) -> None:
        """Write the rates exceeded ``(field, rows, x)``."""
        kernels = rain_kernels()
        if kernels is not None and exceedance[0].flags.c_contiguous:
            for field, result in zip(chances, rates, strict=True):
                kernels.invert(self._in_c, exceedance, np.ascontiguousarray(field, np.float32), result)
            return
        exceedance = exceedance.reshape(len(self.thresholds), -1)
        highest = [np.fmax.reduce(probability, initial=0) for probability in exceedance]
        above = np.empty(exceedance.shape[1], np.bool_)
        count = np.empty(exceedance.shape[1], np.uint8)
        nothing = exceedance[0] * 0  # 0, or NaN
        for field, result in zip(chances, rates, strict=True):
            chance, rate = field.reshape(-1), result.reshape(-1)  # the second is a view
            np.multiply(chance, nothing, out=rate)
            lowest = np.fmin.reduce(chance, initial=1)
            count.fill(0)
            for probability, most in zip(exceedance, highest, strict=True):
                if not most > lowest:
                    break
                np.greater(probability, chance, out=above)
                np.add(count, above.view(np.uint8), out=count)
            wet = np.flatnonzero(count)
            rate[wet] = self._rates(exceedance, count[wet], wet, _log(chance[wet]))

    def cut(self, exceedance: Field, cuts: NDArray[np.float32], rates: Field) -> None:
        """Write the largest rate whose probability is at least its cut ``(rows, x)``.

        Between two thresholds, both are interpolated alike, without halves.

        Args:
            exceedance: Probabilities.
            cuts: A cut > 0 for each threshold.
            rates: The result.
        """
        logs = np.log(cuts)
        rises = (np.append(np.diff(logs), 0) / self.lengths).astype(np.float32)
        kernels = rain_kernels()
        if kernels is not None and exceedance[0].flags.c_contiguous:
            kernels.cut(self._in_c, exceedance, cuts, logs, rises, rates)
            return
        exceedance = exceedance.reshape(len(self.thresholds), -1)
        rate = rates.reshape(-1)  # a view
        np.multiply(exceedance[0], 0, out=rate)  # 0, or NaN
        count = np.zeros(exceedance.shape[1], np.uint8)
        number = np.empty_like(count)
        for piece, (probability, cut) in enumerate(zip(exceedance, cuts, strict=True), 1):
            np.multiply(probability >= cut, np.uint8(piece), out=number)
            np.maximum(count, number, out=count)
        wet = np.flatnonzero(count)
        number = count[wet]
        rate[wet] = self._rates(exceedance, number, wet, logs[number - 1], rises)

    def _rates(
        self,
        exceedance: Field,
        number: NDArray[np.uint8],
        wet: NDArray[np.intp],
        logs: Field,
        rises: Field | None = None,
    ) -> Field:
        """Return the rates at which S falls below a cut, at pixels with a rate above the first threshold.

        Args:
            exceedance: Probabilities at all pixels ``(threshold, n)``.
            number: Number of thresholds up to the rate, ≥ 1, at some pixels ``(w,)``.
            wet: These pixels ``(w,)``.
            logs: Logarithm of the cut at the last of these thresholds ``(w,)``.
            rises: Slope of ln of the cut over ln r in each piece ``(threshold,)``, if the pieces are not
                divided into halves; None for constant cuts and halves.
        """
        pixels, last = exceedance.shape[1], len(self.thresholds) - 1
        piece = np.minimum(number, np.uint8(last)) - 1
        flat = piece * np.intp(pixels) + wet
        lower, upper = exceedance.take(flat), exceedance.take(flat + pixels)
        low, high, beyond = _log(lower), _log(upper), number > last
        width = self.lengths.astype(np.float32)[piece]
        start = self.thresholds.astype(np.float32)[number - 1]
        if rises is None:
            width *= np.float32(0.5)
            middle = _log(_middle(lower, upper))
            second = beyond | (middle >= logs)
            low, high = np.where(second, middle, low), np.where(second, high, middle)
            start *= np.exp(np.where(second & ~beyond, width, 0))
        # Beyond the last threshold, the slope of ln S is that of what is before it.
        slope = _fall(low, high) / width
        slope[beyond] = np.maximum(slope[beyond], self._tail_slope)
        if rises is not None:
            slope += rises[number - 1]
        part = (np.where(beyond, high, low) - logs) / np.maximum(slope, np.float32(FLAT))
        most = np.where(beyond, self.lengths.astype(np.float32)[-1], width)
        # Below the next threshold: that one is not exceeded.
        rates: Field = np.minimum(start * np.exp(np.clip(part, 0, most)), self._tops[number - 1])
        return rates

    def mean(self, exceedance: Field) -> Field:
        """Return ``∫ S dr`` ``(rows, x)``."""
        total: Field = exceedance[0] * np.float32(self.thresholds[0])
        for piece in self._pieces(exceedance):
            total += piece.probability * _integral(piece, piece.fall, piece.length, power=1)
        return total

    def crps(self, exceedance: Field, observed: Field) -> Field:
        """Return ``∫ S² dr + y - 2 ∫ S dr`` ``(rows, x)``, the second integral up to the observation y."""
        first = np.float32(self.thresholds[0])
        total: Field = exceedance[0] * (exceedance[0] * first - 2 * np.minimum(observed, first)) + observed
        flat, observation = total.reshape(-1), observed.reshape(-1)
        for piece in self._pieces(exceedance):
            squares = _integral(piece, piece.fall, piece.length, power=2)
            squares *= piece.probability
            squares *= piece.probability
            total += squares
            beyond = np.flatnonzero(observation > piece.rate)
            if len(beyond):
                part = np.minimum(np.log(observation[beyond] / piece.rate), piece.length)
                fall, probability = piece.fall.reshape(-1)[beyond], piece.probability.reshape(-1)[beyond]
                flat[beyond] -= 2 * probability * _integral(piece, fall, part, power=1)
        return total


class _Piece(NamedTuple):
    """The distribution in a half between two thresholds, or beyond the last, at some pixels."""

    rate: np.float32  # lowest
    length: np.float32  # of the piece in ln r
    probability: Field  # (rows, x): S at the lowest rate
    fall: Field  # (rows, x): of ln S over the piece


def _integral(piece: _Piece, fall: Field, part: Field | np.float32, power: int) -> Field:
    """Return ``∫ (S / S_lower)^power dr`` over a part of a piece, given in ln r.

    In ``x = ln r``, the integrand ``r · S^power`` is exponential.
    """
    growth = fall * np.float32(-power / piece.length)
    growth += 1
    growth *= part
    integral: Field = _mean_exponential(growth)
    integral *= piece.rate * part
    return integral


def _middle(lower: Field, upper: Field) -> Field:
    """Return S between two thresholds, halfway in ln r: its odds are the geometric mean of theirs."""
    least = np.maximum(upper, lower * np.float32(LEAST_SHARE))
    surest = np.float32(SUREST)
    odds = np.sqrt(lower) * np.sqrt(least)  # their product might be too small for float32
    against = np.sqrt(np.maximum(1 - lower, surest) * np.maximum(1 - least, surest))
    middle: Field = np.clip(odds / (odds + against), least, lower)
    return middle


def _log(probability: Field) -> Field:
    logs: NDArray[np.float32] = np.maximum(probability, SMALLEST)
    return np.log(logs, out=logs)


def _fall(logs: Field, upper: Field) -> Field:
    """Return by how much ln S falls over a piece."""
    fall = np.subtract(logs, upper)
    return np.minimum(np.maximum(fall, 0, out=fall), np.float32(STEEPEST), out=fall)


def _mean_exponential(exponent: Field) -> Field:
    """Return the mean of ``exp(x)`` over 0 ≤ x ≤ exponent."""
    exponent = exponent + np.float32(1e-20)  # only 0 changes
    mean: Field = np.expm1(exponent)
    mean /= exponent
    return mean
