"""Dense motion of images that only drift, and what is refused."""

import numpy as np
import pytest

from stormcell.errors import ArgumentError
from stormcell.experiments import dense_flow


def drifting(dx, dy, shape=(90, 110), seed=0):
    """Two images of many overlapping blobs, analytic, so that fractions of a pixel are exact."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    places, widths = generator.uniform(-0.2, 1.2, (60, 2)) * shape, generator.uniform(3, 9, 60)
    images = np.zeros((2, *shape))
    for t in range(2):
        for (row, col), width in zip(places, widths, strict=True):
            images[t] += np.exp(-((y - row - t * dy) ** 2 + (x - col - t * dx) ** 2) / (2 * width**2))
    return (images / images.max()).astype(np.float32)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (-1.5, 2.5), (5, 4), (0.3, 0.2), (0, 0)])
def test_a_drift_is_found(dx, dy):
    motion = dense_flow.between(*drifting(dx, dy))
    assert motion.shape == (2, 90, 110)
    assert motion.dtype == np.float32
    # 8-bit grey over gradients of some 10 a pixel: a tenth of a pixel, and two in a hundred of the way, for
    # the search stops at half resolution. Towards the edges, where blobs leave, nothing is asked.
    inner = motion[:, 15:-15, 15:-15]
    tolerance = 0.1 + 0.02 * np.hypot(dx, dy)
    assert np.abs(inner[0] - dx).mean() < tolerance
    assert np.abs(inner[1] - dy).mean() < tolerance


@pytest.mark.parametrize("shape", [(16, 16), (16, 17), (17, 40), (33, 64), (200, 16)])
def test_small_and_narrow_images_have_a_motion(shape):
    assert np.isfinite(dense_flow.between(*drifting(1, 0, shape))).all()


def test_nothing_to_see_does_not_move():
    dry = np.zeros((20, 20), np.float32)
    assert (dense_flow.between(dry, dry) == 0).all()


@pytest.mark.parametrize("shape", [(15, 40), (40, 15), (4, 16, 16)])
def test_what_opencv_would_crash_on_is_refused(shape):
    with pytest.raises(ArgumentError, match="16 pixels a side"):
        dense_flow.between(np.zeros(shape, np.float32), np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.5])
def test_what_is_no_pixel_is_refused(value):
    image = np.zeros((16, 16), np.float32)
    image[3, 3] = value
    with pytest.raises(ArgumentError, match="pixels in 0…1"):
        dense_flow.between(np.zeros_like(image), image)
