"""The arithmetic of a chain of Pareto distributions; see :mod:`~stormcell.forecast.rain_distribution`."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stormcell.forecast.contract import Field
from stormcell.forecast.rain_kernels import Pieces, rain_kernels

STEEPEST = 16.0  # largest fall of ln S from one threshold to the next
TAIL_SLOPE = 2.0  # smallest a_K: in radar data, the slope beyond 12 mm/h is 2 to 4

SMALLEST = np.float32(1e-35)  # stands for a probability of 0 in logarithms
NO_RISE = np.zeros(1, np.float32)
FLAT = 1e-6  # a smaller slope of ln S over ln r is rounding


class ParetoPieces:
    """The pieces between thresholds, and beyond the last.

    Methods take the probabilities of exceeding each threshold at some pixels, ``(threshold, rows, x)``.

    Args:
        thresholds: Ascending rain rates in mm/h ``(K,)``.
        largest: Largest rate in mm/h.
    """

    def __init__(self, thresholds: NDArray[np.float64], largest: float) -> None:
        self.thresholds = thresholds
        self.largest = largest
        self.lengths = np.log(np.append(thresholds[1:], largest) / thresholds)  # of the pieces in ln r
        below = np.nextafter(thresholds[1:].astype(np.float32), np.float32(0))
        self._tops = np.append(below, np.float32(largest))  # largest rates of the pieces
        self._in_c = Pieces(
            thresholds.astype(np.float32),
            self.lengths.astype(np.float32),
            self._tops,
            np.array([SMALLEST, STEEPEST, TAIL_SLOPE, FLAT], np.float32),
        )

    def probability(self, exceedance: Field, rate: float) -> Field:
        """Return P(R ≥ rate) ``(rows, x)``."""
        number = int(np.searchsorted(self.thresholds, rate, side="right")) - 1
        lower: Field = exceedance[max(number, 0)]
        if rate > self.largest:
            return lower * 0
        if number < 0 or rate == self.thresholds[number]:
            return lower
        part = np.log(rate / self.thresholds[number]) / self.lengths[number]
        logs = [_log(probability) for probability in exceedance[max(number - 1, 0) : number + 2]]
        last = number == len(self.thresholds) - 1
        fall = self._tail(_fall(*logs)) if last else _fall(logs[-2], logs[-1])
        found: Field = lower * np.exp(np.float32(-part) * fall)
        return found

    def _tail(self, fall: Field) -> Field:
        """Return by how much ln S falls beyond the last threshold, given the fall before it."""
        before, length = self.lengths[-2:]
        falls: Field = np.maximum(fall * np.float32(length / before), np.float32(TAIL_SLOPE * length))
        return falls

    def _pieces(self, exceedance: Field) -> Iterator["_Piece"]:
        """Yield the pieces of the distribution of some rows, up to the last that some pixel reaches."""
        logs, fall = _log(exceedance[0]), exceedance[0]
        for piece, (rate, length) in enumerate(zip(self.thresholds, self.lengths, strict=True)):
            probability = exceedance[piece]
            if not np.fmax.reduce(probability, axis=None, initial=0) > 0:
                return  # S is 0 from this threshold on
            if piece + 1 < len(self.thresholds):
                upper = _log(exceedance[piece + 1])
                fall = _fall(logs, upper)
            else:
                upper, fall = logs, self._tail(fall)
            yield _Piece(np.float32(rate), np.float32(length), probability, fall)
            logs = upper

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
            rate[wet] = self._rates(exceedance, count[wet], wet, _log(chance[wet]), NO_RISE)

    def cut(self, exceedance: Field, cuts: NDArray[np.float32], rates: Field) -> None:
        """Write the largest rate whose probability is at least its cut ``(rows, x)``.

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
        rises: Field,
    ) -> Field:
        """Return the rates at which S falls below a cut, at pixels with a rate above the first threshold.

        Args:
            exceedance: Probabilities at all pixels ``(threshold, n)``.
            number: Number of thresholds up to the rate, ≥ 1, at some pixels ``(w,)``.
            wet: These pixels ``(w,)``.
            logs: Logarithm of the cut at the last of these thresholds ``(w,)``.
            rises: Slope of ln of the cut over ln r in each piece ``(threshold,)``, or ``(1,)`` in all.
        """
        pixels, last = exceedance.shape[1], len(self.thresholds) - 1
        # The fall of ln S is that of the piece; beyond the last threshold, it comes from the piece before.
        piece = np.minimum(number, np.uint8(last)) - 1
        flat = piece * np.intp(pixels) + wet
        lower, upper = _log(exceedance.take(flat)), _log(exceedance.take(flat + pixels))
        slope = _fall(lower, upper) * (1 / self.lengths[:-1]).astype(np.float32)[piece]
        beyond = number > last
        if beyond.any():
            lower[beyond] = upper[beyond]
            slope[beyond] = np.maximum(slope[beyond], np.float32(TAIL_SLOPE))
            piece = number - 1
        if len(rises) > 1:
            slope += rises[piece]
        part = (lower - logs) / np.maximum(slope, np.float32(FLAT))
        found = np.exp(np.clip(part, 0, self.lengths.astype(np.float32)[piece]))
        found *= self.thresholds.astype(np.float32)[piece]
        # Below the next threshold: that one is not exceeded.
        rates: Field = np.minimum(found, self._tops[piece])
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
    """The distribution between two thresholds, at some pixels."""

    rate: np.float32  # lower threshold
    length: np.float32  # of the piece in ln r
    probability: Field  # (rows, x): S at the lower threshold
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
