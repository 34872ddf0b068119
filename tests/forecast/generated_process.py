"""A known process of rain: a Gaussian field of autoregressive waves that moves with a constant motion.

Its forecast is known exactly: at every pixel, the field is normally distributed around the expected value of
the autoregression, and the error of a lead time has a known spectrum. So there are a true predictive
distribution and a true conditional ensemble. Written with plain transforms of white noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, special

from stormcell.forecast.rain_distribution import RainDistribution
from stormcell.forecast.wave_memory import WaveMemory
from stormcell.motion.band_power import wave_frequencies

THRESHOLDS = [0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3.5, 5, 8, 12, 20, 30]
LEADS = 12
MOTION = (3, -2)  # pixels per step along columns and rows
SLOPE = 1.3  # decades of the rate per standard deviation
MEMORY = WaveMemory(
    np.array([128.0, 64, 32, 16, 8, 4]),
    np.array([1.78, 1.66, 1.48, 1.2, 0.8, 0.4]),
    np.array([-0.8, -0.7, -0.55, -0.36, -0.16, -0.04]),
)


@dataclass
class Scene:
    """One issue time: the last frames, and the future."""

    frames: np.ndarray  # (3, y, x): the last rates, the newest last, at their places
    expected: np.ndarray  # (LEADS, y, x), in moving coordinates
    deviations: np.ndarray  # (LEADS,)
    truth: np.ndarray  # (LEADS, y, x): rates at their places


class Process:
    def __init__(self, size: int, wet: float = 0.3) -> None:
        self.size = size
        self.threshold = float(special.ndtri(1 - wet))
        frequency = wave_frequencies((size, size))
        power = (1 + (2 * np.pi * 8 * frequency) ** 2) ** -1.5
        self.phi1, self.phi2 = MEMORY.at(frequency)
        self.lag1 = self.phi1 / (1 - self.phi2)
        self.drive = 1 - self.phi1 * self.lag1 - self.phi2 * (self.phi1 * self.lag1 + self.phi2)
        count = np.full(size // 2 + 1, 2.0)
        count[[0, -1]] = 1
        self.power = power * size**2 / (power * count).sum()  # the mean over all waves is 1
        self.count = count

    def waves(self, rng):
        return np.sqrt(self.power) * fft.rfft2(rng.standard_normal((self.size, self.size)))

    def field(self, waves):
        return fft.irfft2(waves, s=(self.size, self.size))

    def rates(self, field):
        excess = field - self.threshold
        return np.where(excess >= 0, np.minimum(0.1 * 10 ** (SLOPE * excess), 200), 0).astype(np.float32)

    def place(self, lead, field):
        """Move a field to the places of a lead time, 1 the first."""
        return np.roll(field, (lead * MOTION[1], lead * MOTION[0]), axis=(-2, -1))

    def future(self, rng, now, before):
        """Yield the waves of each lead time, with noise if there is a generator."""
        for _ in range(LEADS):
            following = self.phi1 * now + self.phi2 * before
            if rng is not None:
                following = following + np.sqrt(self.drive) * self.waves(rng)
            now, before = following, now
            yield now

    def scene(self, rng) -> Scene:
        oldest = self.waves(rng)
        before = self.lag1 * oldest + np.sqrt(1 - self.lag1**2) * self.waves(rng)
        now = self.phi1 * before + self.phi2 * oldest + np.sqrt(self.drive) * self.waves(rng)
        frames = [
            self.place(lead, self.rates(self.field(waves)))
            for lead, waves in ((-2, oldest), (-1, before), (0, now))
        ]
        expected = np.stack([self.field(waves) for waves in self.future(None, now, before)])
        truth = np.stack(
            [
                self.place(lead, self.rates(self.field(waves)))
                for lead, waves in enumerate(self.future(rng, now, before), 1)
            ]
        )
        gain, response, previous, variances = 0, np.ones_like(self.phi1), np.zeros_like(self.phi1), []
        for _ in range(LEADS):
            gain = gain + response**2
            variances.append((self.power * self.drive * gain * self.count).sum() / self.size**2)
            response, previous = self.phi1 * response + self.phi2 * previous, response
        return Scene(np.stack(frames), expected, np.sqrt(variances), truth)

    def distributions(self, scene: Scene) -> list[RainDistribution]:
        """Return the true predictive distributions at their places."""
        levels = self.threshold + np.log10(np.array(THRESHOLDS) / 0.1) / SLOPE
        return [
            RainDistribution(
                THRESHOLDS,
                self.place(
                    lead, special.ndtr((expected - levels[:, None, None]) / deviation).astype(np.float32)
                ),
            )
            for lead, (expected, deviation) in enumerate(
                zip(scene.expected, scene.deviations, strict=True), 1
            )
        ]

    def true_members(self, rng, scene: Scene, members: int) -> np.ndarray:
        """Return members of the true conditional ensemble ``(member, LEADS, y, x)``."""
        nothing = np.zeros_like(self.power)
        return np.stack(
            [
                [
                    self.place(lead, self.rates(scene.expected[lead - 1] + self.field(error)))
                    for lead, error in enumerate(self.future(rng, nothing, nothing), 1)
                ]
                for _ in range(members)
            ]
        )

    @property
    def motion(self):
        motion = np.empty((2, self.size, self.size), np.float32)
        motion[0], motion[1] = MOTION
        return motion
