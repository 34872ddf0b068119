import cv2
import numpy as np
import pytest

from stormcell.errors import ArgumentError
from stormcell.maps.levels import BELOW, LAST, MISSING
from stormcell.maps.palettes import DEFAULT, PALETTES, palette

NOTICEABLE = 2.3  # the just noticeable difference in CIELAB (Mahy, Van Eycken and Oosterlinck 1994)
# Linear sRGB as seen without one kind of cones (Machado, Oliveira and Fernandes 2009).
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(colours, sight="normal"):
    """CIELAB ``(N, 3)`` of sRGB ``(N, 3)``, by OpenCV."""
    values = colours.astype(np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.transpose(SIGHT[sight])).clip(0, 1).astype(np.float32)
    return cv2.cvtColor(seen[None], cv2.COLOR_LRGB2Lab)[0].astype(np.float64)


@pytest.fixture(params=sorted(PALETTES))
def colours(request):
    return PALETTES[request.param].colours


def test_palette_data_colours_are_opaque_and_different(colours):
    assert (colours[1 : LAST + 1, 3] == 255).all()
    assert len(np.unique(colours[1 : LAST + 1, :3], axis=0)) == LAST


def test_palette_dry_is_transparent_and_missing_translucent_grey(colours):
    assert colours[BELOW, 3] == 0
    red, green, blue, opacity = colours[MISSING].tolist()
    assert red == green == blue
    assert 0 < opacity < 128
    assert not (colours[1 : LAST + 1, :3] == colours[MISSING, :3]).all(axis=1).any()


@pytest.mark.parametrize("sight", SIGHT)
def test_palette_ten_levels_are_a_visible_difference(colours, sight):
    seen = lab(colours[1 : LAST + 1, :3], sight)
    assert np.linalg.norm(seen[10:] - seen[:-10], axis=1).min() > NOTICEABLE


@pytest.mark.parametrize("sight", SIGHT)
def test_palette_lightness_goes_in_one_direction(colours, sight):
    lightness = lab(colours[1 : LAST + 1, :3], sight)[::5, 0]
    steps = np.diff(lightness)
    assert (steps > 0).all() or (steps < 0).all()
    assert abs(lightness[-1] - lightness[0]) > 50


def test_palette_heavy_rain_is_dark_on_light_maps_and_light_on_dark_ones():
    for name, map_colour in (("rain", 255), ("vivid", 255), ("dark", 20)):
        light = lab(PALETTES[name].colours[[1, LAST], :3])[:, 0]
        background = lab(np.full((1, 3), map_colour, np.uint8))[0, 0]
        assert abs(light[1] - background) > abs(light[0] - background) > 5


def test_palette_vivid_has_no_colour_that_could_be_grey():
    seen = lab(PALETTES["vivid"].colours[1 : LAST + 1, :3])
    assert np.hypot(seen[:, 1], seen[:, 2]).min() > 20


def test_palette_unknown_name_raises():
    assert palette(DEFAULT).name == DEFAULT
    with pytest.raises(ArgumentError, match='palette: expected rain, dark, vivid, found "jet"'):
        palette("jet")
