"""The weather of generated radar: how rain moves, how much there is, and how long it lives."""

from dataclasses import dataclass, replace

import numpy as np

LARGEST = 30.0  # km: the spectrum is flat above this wavelength (divided by 2π)
SLOPE = 3.3  # of the two-dimensional power spectrum at shorter wavelengths
MEMORY = 7.0  # minutes: correlation time of a wavelength of 1 km (divided by 2π)
MEMORY_SLOPE = 1.0  # the correlation time grows with this power of the wavelength


@dataclass(frozen=True)
class Weather:
    """The parameters of one event.

    Attributes:
        drift: Motion of the centre of the grid in pixels per time step: along columns, and rows, down.
        turn: Radians per time step, clockwise on the map.
        wet: Share of the pixels with rain, on average.
        swell: Amplitude of the threshold's oscillation in standard deviations: the event grows and decays.
        phase: Initial phase of that oscillation in radians.
        stretch: Ratio of length to width of the rain areas.
        heading: Direction of their long axis in radians.
        slope: Slope of the two-dimensional power spectrum at short wavelengths.
        largest: Wavelength in km, divided by 2π, above which the spectrum is flat.
        memory: Correlation time in minutes of a wavelength of 1 km, divided by 2π.
        memory_slope: Power of the wavelength with which that time grows.
        inertia: Ratio of the two roots of the process, 0 to 1. With 1, growth continues for some time; with
            0, the process is of first order.
    """

    drift: tuple[float, float]
    turn: float
    wet: float
    swell: float
    phase: float
    stretch: float
    heading: float
    slope: float = SLOPE
    largest: float = LARGEST
    memory: float = MEMORY
    memory_slope: float = MEMORY_SLOPE
    inertia: float = 1.0


def draw_weather(rng: np.random.Generator, step_minutes: int, pixel_km: float, *, varied: bool) -> Weather:
    """Draw the parameters of an event; ``varied`` as for :func:`stormcell.data.synthetic.generate`."""
    speed = rng.uniform(10, 40) * step_minutes / 60 / pixel_km
    direction = rng.uniform(0, 2 * np.pi)
    weather = Weather(
        drift=(float(speed * np.cos(direction)), float(speed * np.sin(direction))),
        turn=float(np.deg2rad(rng.uniform(-10, 10)) * step_minutes / 60),
        wet=float(rng.uniform(0.12, 0.28)),
        swell=float(rng.uniform(0.1, 0.3)),
        phase=float(rng.uniform(0, 2 * np.pi)),
        stretch=float(rng.uniform(1, 2)),
        heading=float(rng.uniform(0, np.pi)),
    )
    if not varied:
        return weather
    return replace(
        weather,
        wet=float(rng.uniform(0.04, 0.35)),
        slope=float(rng.uniform(2.5, 3.7)),
        largest=LARGEST * 2 ** float(rng.uniform(-0.5, 1)),
        memory=MEMORY * 2 ** float(rng.uniform(-1, 1)),
        memory_slope=float(rng.uniform(0.6, 1.1)),
        inertia=float(rng.uniform(0, 1)),
    )
