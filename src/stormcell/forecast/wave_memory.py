"""The memory of rain: coefficients of an autoregression of second order by wavelength."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError
from stormcell.motion.band_filters import central_wavelengths
from stormcell.motion.cascade import Cascade

Values = NDArray[np.float64]


@dataclass(frozen=True)
class WaveMemory:
    """Coefficients of the autoregression by wavelength.

    Between two wavelengths they are interpolated over the logarithm. So the process is stationary
    everywhere if it is at the given wavelengths, because their range is convex.

    Attributes:
        wavelengths: Pixels ``(n,)``, descending.
        phi1: φ₁ ``(n,)``.
        phi2: φ₂ ``(n,)``.

    Raises:
        ArgumentError: The shapes differ, wavelengths do not descend, or a process is not stationary.

    Example:
        >>> memory = WaveMemory(np.array([100.0, 10.0]), np.array([1.5, 0.5]), np.array([-0.55, 0.0]))
        >>> [round(float(phi), 3) for phi in memory.at(np.array(0.1 / 10**0.5))]  # cycles per pixel
        [1.0, -0.275]
    """

    wavelengths: Values
    phi1: Values
    phi2: Values

    def __post_init__(self) -> None:
        shapes = {np.shape(values) for values in (self.wavelengths, self.phi1, self.phi2)}
        if len(shapes) != 1 or np.ndim(self.phi1) != 1 or not len(self.phi1):
            raise ArgumentError(f"memory: expected three arrays (n,), found {sorted(shapes)}")
        if not (np.diff(self.wavelengths) < 0).all() or not self.wavelengths[-1] > 0:
            raise ArgumentError(f"wavelengths: expected to descend and be > 0, found {self.wavelengths}")
        # The triangle in which both roots of the characteristic polynomial are inside the unit circle.
        if not ((np.abs(self.phi2) < 1) & (np.abs(self.phi1) < 1 - self.phi2)).all():
            raise ArgumentError(f"memory: expected stationary processes, found {self.phi1} and {self.phi2}")

    @classmethod
    def of_cascade(cls, cascade: Cascade) -> "WaveMemory":
        """Return the memory of the bands of the last frames, each at its central wavelength.

        Example:
            >>> from stormcell.data.synthetic import generate
            >>> from stormcell.motion.sprog import moving_cascade
            >>> frames = generate(seed=1, steps=3).rainfall_rate.values
            >>> memory = WaveMemory.of_cascade(moving_cascade(frames, np.zeros((2, 128, 128), np.float32)))
            >>> memory.wavelengths.round().tolist()
            [85.0, 43.0, 21.0, 11.0, 5.0, 3.0]
        """
        process = cascade.process
        return cls(central_wavelengths(cascade.shape, cascade.levels), process.phi1, process.phi2)

    def at(self, frequency: Values) -> tuple[Values, Values]:
        """Return φ₁ and φ₂ at frequencies in cycles per pixel, of any shape."""
        log = -np.log(np.maximum(frequency, 1e-9))
        known = np.log(self.wavelengths[::-1])
        first, second = (np.interp(log, known, phi[::-1]) for phi in (self.phi1, self.phi2))
        return first, second
