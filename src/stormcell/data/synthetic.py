"""Generated radar: realistic rain fields whose true motion is known.

A Gaussian random field with a power-law spectrum drifts and slowly turns with a known motion. In the moving
coordinates it evolves by second-order autoregression. The correlation time grows with the wavelength: cells
live for minutes, fronts for hours. This is the model of S-PROG (Seed 2003,
doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2) and of STEPS (Bowler et al. 2006,
doi:10.1256/qj.04.100). Rain falls where the field exceeds a threshold, and its logarithm grows with the
excess. A single radar observes the rain, except beyond its range and behind a hill.
"""

from pathlib import Path

import cv2
import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from scipy import fft, special

from stormcell.atomic import make_folder, replacing
from stormcell.data import schema
from stormcell.data.grid import Grid
from stormcell.data.synthetic_weather import Weather, draw_weather
from stormcell.errors import ArgumentError

Plane = NDArray[np.float32]
Waves = NDArray[np.complexfloating]

CRS = "EPSG:3035"  # Lambert azimuthal equal area, Europe
CENTRE_X, CENTRE_Y = 4_321_000.0, 3_210_000.0  # metres: 10° E, 52° N
START = "2024-06-01T00:00"
PAUSE = np.timedelta64(3, "h")  # minimum time between events

FAINTEST = 0.1  # mm/h: weaker rain is not detected
DECIBELS = 18.0  # of rain rate per standard deviation just above the threshold
MOST_DECIBELS = 31.0  # maximum above the faintest rain

RANGE = 0.62  # radar range, relative to the longer side of the grid
HILL = np.deg2rad([205.0, 212.0])  # azimuths of the sector that a hill hides
HILL_RANGE = 0.15  # distance of the hill, relative to the longer side of the grid


def generate(
    *,
    seed: int,
    shape: tuple[int, int] = (128, 128),
    steps: int = 36,
    step_minutes: int = 5,
    pixel_km: float = 1.0,
    start: str | np.datetime64 = START,
    varied: bool = False,
) -> xr.Dataset:
    """Generate one event.

    Args:
        seed: The same seed gives the same rain.
        shape: Rows and columns, 16 or more each.
        steps: Number of frames.
        step_minutes: Minutes between frames.
        pixel_km: Size of a pixel.
        start: Time of the first frame, UTC.
        varied: Whether spectrum and lifetimes are drawn, too, instead of those of typical rain.

    Returns:
        An archive of ``rainfall_rate`` in mm/h ``(time, y, x)``, NaN where not observed, and the
        true motion ``motion_x``, ``motion_y`` in pixels per time step ``(y, x)``: rain at ``(y, x)`` is at
        ``(y + motion_y, x + motion_x)`` a step later, in every step.

    Raises:
        ArgumentError: A size is not positive, or the grid is smaller than 16 × 16.

    Example:
        >>> event = generate(seed=1, shape=(32, 48), steps=3)
        >>> event.rainfall_rate.shape, event.rainfall_rate.attrs["units"]
        ((3, 32, 48), 'kg m-2 h-1')
    """
    if min(shape) < 16 or min(steps, step_minutes, pixel_km) <= 0:
        raise ArgumentError(
            "synthetic radar: expected 16 × 16 pixels or more and positive steps, step_minutes and pixel_km, "
            f"found {shape}, {steps}, {step_minutes}, {pixel_km}"
        )
    rng = np.random.default_rng(seed)
    weather = draw_weather(rng, step_minutes, pixel_km, varied=varied)
    rate = _rain(rng, weather, shape, steps, step_minutes, pixel_km)
    rate[:, ~_observed(shape)] = np.nan
    times = np.asarray(start, "datetime64[s]") + np.arange(steps) * np.timedelta64(step_minutes, "m")
    rows, cols = shape
    x = CENTRE_X + 1000 * pixel_km * (np.arange(cols) - (cols - 1) / 2)
    y = CENTRE_Y - 1000 * pixel_km * (np.arange(rows) - (rows - 1) / 2)
    ds = schema.build(
        rate,
        times,
        Grid.from_centres(pyproj.CRS(CRS), x, y),
        measured={"source_quantity": "rate"},
        attributes={"title": "Generated radar", "source": f"stormcell, seed {seed}", "license": "CC0-1.0"},
    )
    for name, values, along in zip(("motion_x", "motion_y"), _motion(weather, shape), "xy", strict=True):
        long_name = f"true motion along {along}, pixels per time step"
        ds[name] = (("y", "x"), values, {"long_name": long_name, "units": "1"})
    return ds


def write(
    directory: Path | str,
    *,
    seed: int,
    events: int = 20,
    shape: tuple[int, int] = (128, 128),
    steps: int = 36,
    step_minutes: int = 5,
    pixel_km: float = 1.0,
    varied: bool = False,
) -> list[Path]:
    """Write several events as CF NetCDF files, one file per event, with pauses between the events.

    Args:
        directory: Output folder; created if it does not exist.
        seed: The same seed gives the same rain. The seed of each event is derived from it.
        events: Number of events.
        shape: Rows and columns, 16 or more each.
        steps: Number of frames of each event.
        step_minutes: Minutes between frames.
        pixel_km: Size of a pixel.
        varied: As for :func:`generate`.

    Returns:
        The files, in order of time.

    Raises:
        ArgumentError: As :func:`generate`.
        OutputError: A file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = write(folder, seed=1, events=2, shape=(16, 16), steps=2)
        >>> [file.name for file in files]
        ['radar_20240601T0000.nc', 'radar_20240601T0400.nc']
    """
    directory = Path(directory)
    make_folder(directory)
    hours = -(-steps * np.timedelta64(step_minutes, "m") // np.timedelta64(1, "h"))
    pitch = int(hours) * np.timedelta64(1, "h") + PAUSE
    seeds = np.random.SeedSequence(seed).generate_state(events)
    files = []
    for event in range(events):
        begin = np.datetime64(START, "m") + event * pitch
        ds = generate(
            seed=int(seeds[event]),
            shape=shape,
            steps=steps,
            step_minutes=step_minutes,
            pixel_km=pixel_km,
            start=begin,
            varied=varied,
        )
        # An archive of the files has a single source. This one names the seed that reproduces them all.
        ds.attrs["source"] = f"stormcell, seed {seed}"
        file = directory / f"radar_{str(begin).replace('-', '').replace(':', '')}.nc"
        with replacing(file) as part:
            ds[[schema.RATE]].to_netcdf(part, engine="h5netcdf", encoding={schema.RATE: {"zlib": True}})
        files.append(file)
    return files


def _rain(
    rng: np.random.Generator,
    weather: Weather,
    shape: tuple[int, int],
    steps: int,
    step_minutes: int,
    pixel_km: float,
) -> Plane:
    """Return rain rates ``(steps, y, x)`` at every pixel, observed or not."""
    # The field is periodic. At twice the size of the grid, the repetition stays outside it.
    size = fft.next_fast_len(2 * max(shape), real=True)
    amplitude, memory = _spectrum(weather, size, step_minutes, pixel_km)
    threshold = float(special.ndtri(1 - weather.wet))
    # A second-order process with a double root is smooth: growth continues for some time.
    other = weather.inertia * memory
    correlation = (memory + other) / (1 + memory * other)
    innovation = np.sqrt((1 - memory**2) * (1 - other**2) * (1 - memory * other) / (1 + memory * other))
    before, field = _noise(rng, size), _noise(rng, size)
    field = correlation * before + np.sqrt(1 - correlation**2) * field
    rates = np.empty((steps, *shape), np.float32)
    for t in range(steps):
        excess = fft.irfft2(amplitude * field, s=(size, size)).astype(np.float32)
        excess -= threshold + weather.swell * np.sin(weather.phase + np.pi * t * step_minutes / 90)
        x, y = _displaced(weather, shape, -t)
        rates[t] = cv2.remap(excess, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
        new = (memory + other) * field - memory * other * before + innovation * _noise(rng, size)
        before, field = field, new
    decibels = MOST_DECIBELS * (1 - np.exp(-rates * (DECIBELS / MOST_DECIBELS)))
    return np.where(rates > 0, FAINTEST * 10 ** (decibels / 10), 0).astype(np.float32)


def _spectrum(weather: Weather, size: int, step_minutes: int, pixel_km: float) -> tuple[Plane, Plane]:
    """Return amplitude and lag-1 autocorrelation of every wave of a real field with variance 1."""
    frequency = 2 * np.pi / pixel_km * fft.fftfreq(size)
    ky, kx = np.meshgrid(frequency, frequency, indexing="ij")
    cos, sin = np.cos(weather.heading), np.sin(weather.heading)
    along, across = kx * cos + ky * sin, ky * cos - kx * sin
    k = np.hypot(along * np.sqrt(weather.stretch), across / np.sqrt(weather.stretch))
    amplitude = (1 + (weather.largest * k) ** 2) ** (-weather.slope / 4)
    amplitude[0, 0] = 0  # the threshold alone sets the mean
    amplitude /= np.sqrt(np.mean(amplitude**2))
    lifetime = weather.memory * np.maximum(k, 1 / weather.largest) ** -weather.memory_slope
    half = size // 2 + 1
    return amplitude[:, :half], np.exp(-step_minutes / lifetime)[:, :half]


def _noise(rng: np.random.Generator, size: int) -> Waves:
    """Return the waves of white noise with variance 1."""
    return np.asarray(fft.rfft2(rng.standard_normal((size, size), dtype=np.float32)))


def _displaced(weather: Weather, shape: tuple[int, int], steps: int) -> tuple[Plane, Plane]:
    """Return column and row of the rain of every pixel after some steps, which may be negative."""
    height, width = shape
    centre = complex((width - 1) / 2, (height - 1) / 2)
    y, x = np.mgrid[:height, :width]
    # In complex numbers, with columns real and rows imaginary: a turn about the centre, then the drift.
    turn, drift = 1j * weather.turn, complex(*weather.drift)
    drifts = drift * (np.expm1(turn * steps) / np.expm1(turn) if weather.turn else steps)
    place = centre + np.exp(turn * steps) * (x + 1j * y - centre) + drifts
    return place.real.astype(np.float32), place.imag.astype(np.float32)


def _motion(weather: Weather, shape: tuple[int, int]) -> tuple[Plane, Plane]:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    next_x, next_y = _displaced(weather, shape, 1)
    return next_x - x, next_y - y


def _observed(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels that the radar in the middle of the grid observes."""
    longer = max(shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    east, south = x - (shape[1] - 1) / 2, y - (shape[0] - 1) / 2
    distance, azimuth = np.hypot(east, south), np.arctan2(east, -south) % (2 * np.pi)
    hidden = (azimuth > HILL[0]) & (azimuth < HILL[1]) & (distance > HILL_RANGE * longer)
    observed: NDArray[np.bool_] = (distance <= RANGE * longer) & ~hidden
    return observed
