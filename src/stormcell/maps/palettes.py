"""Palettes: the colours of the 256 levels.

The lightness changes with the level in one direction only, so that rain can be ranked without seeing hues.
Each palette is a path through OKLCH (Ottosson 2020), in which equal steps look equal. Colours that a screen
does not have get less chroma.

Dry pixels are transparent, pixels that were not observed a translucent grey. All other colours are opaque and
different, so that a program can find the level of a colour.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError
from stormcell.maps.levels import LAST

Colours = NDArray[np.uint8]

# From Oklab to the cube roots of the cones' responses, and from these responses to linear sRGB.
_CONES = np.array(
    [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.2914855480],
    ]
)
_SCREEN = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@dataclass(frozen=True)
class Palette:
    """A path through OKLCH.

    Attributes:
        name: As in addresses.
        title: For people.
        path: Points that are evenly spaced from level 1 to level 254: lightness 0 … 1, chroma, and hue in
            degrees.
        missing: Red, green, blue and opacity of what was not observed.
    """

    name: str
    title: str
    path: tuple[tuple[float, float, float], ...]
    missing: tuple[int, int, int, int]

    @cached_property
    def colours(self) -> Colours:
        """Red, green, blue and opacity of each level, ``(256, 4)``."""
        points = np.array(self.path)
        levels = np.linspace(0, len(points) - 1, LAST)
        light, chroma, hue = (np.interp(levels, np.arange(len(points)), axis) for axis in points.T)
        colours = np.full((256, 4), 255, np.uint8)
        colours[1 : LAST + 1, :3] = _on_screen(light, chroma, np.deg2rad(hue))
        colours[0] = (
            *colours[1, :3],
            0,
        )  # the colour of the faintest rain: smoothing by viewers shows no edge
        colours[-1] = self.missing
        colours.flags.writeable = False
        return colours


def _on_screen(
    light: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return sRGB ``(N, 3)``, 0 … 255, with the highest chroma up to the given one that a screen has."""
    low, high = np.zeros_like(chroma), chroma
    for _ in range(20):
        possible = _is_possible(_linear(light, high, hue))
        if possible.all():
            break
        middle = (low + high) / 2
        fits = _is_possible(_linear(light, middle, hue))
        low = np.where(possible, low, np.where(fits, middle, low))
        high = np.where(possible, high, np.where(fits, high, middle))
    linear = _linear(light, np.where(possible, high, low), hue).clip(0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rounded: NDArray[np.float64] = np.rint(255 * curved)
    return rounded


def _linear(
    light: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]
) -> NDArray[np.float64]:
    lab = np.stack([light, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    linear: NDArray[np.float64] = (lab @ _CONES.T) ** 3 @ _SCREEN.T
    return linear


def _is_possible(linear: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(((linear >= 0) & (linear <= 1)).all(axis=-1))


PALETTES = {
    palette.name: palette
    for palette in (
        Palette(
            "rain",
            "Pale blue to dark red, for light maps",
            ((0.93, 0.03, 240), (0.80, 0.11, 238), (0.58, 0.18, 269), (0.38, 0.18, 321), (0.22, 0.12, 379)),
            (128, 128, 128, 90),
        ),
        Palette(
            "dark",
            "Violet to pale yellow, for dark maps",
            ((0.34, 0.19, 289), (0.51, 0.14, 302), (0.61, 0.14, 371), (0.78, 0.12, 432), (0.97, 0.13, 484)),
            (160, 160, 160, 70),
        ),
        Palette(
            "vivid",
            "Yellow over green and blue to purple, far from the greys of maps",
            ((0.91, 0.19, 109), (0.85, 0.13, 145), (0.61, 0.12, 204), (0.36, 0.15, 273), (0.22, 0.09, 309)),
            (128, 128, 128, 90),
        ),
    )
}
DEFAULT = "rain"


def palette(name: str) -> Palette:
    """Return a palette by its name.

    Raises:
        ArgumentError: There is no such palette.

    Example:
        >>> palette("rain").colours[0].tolist()[3]
        0
    """
    if name not in PALETTES:
        raise ArgumentError(f'palette: expected {", ".join(PALETTES)}, found "{name[:40]}"')
    return PALETTES[name]
