"""Dense optical flow of drifting images."""

import numpy as np
import pytest

from stormcell.errors import ArgumentError
from stormcell.experiments.dense_flow import dense_flow


def drifting(dx, dy, shape=(90, 110), seed=0):
    """Return two images of many overlapping blobs. They are analytic, so fractions of a pixel are exact."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    places, widths = generator.uniform(-0.2, 1.2, (60, 2)) * shape, generator.uniform(3, 9, 60)
    images = np.zeros((2, *shape))
    for t in range(2):
        for (row, col), width in zip(places, widths, strict=True):
            images[t] += np.exp(-((y - row - t * dy) ** 2 + (x - col - t * dx) ** 2) / (2 * width**2))
    return (images / images.max()).astype(np.float32)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (-1.5, 2.5), (5, 4), (0.3, 0.2), (0, 0)])
def test_dense_flow_of_a_drift_is_the_drift(dx, dy):
    motion = dense_flow(*drifting(dx, dy))
    assert motion.shape == (2, 90, 110)
    assert motion.dtype == np.float32
    # Rounding to 8 bits, with gradients of about 10 per pixel, costs a tenth of a pixel. The search stops at
    # half resolution, which costs 2 % of the distance. Blobs leave at the edges, which are not checked.
    inner = motion[:, 15:-15, 15:-15]
    tolerance = 0.1 + 0.02 * np.hypot(dx, dy)
    assert np.abs(inner[0] - dx).mean() < tolerance
    assert np.abs(inner[1] - dy).mean() < tolerance


@pytest.mark.parametrize("shape", [(16, 16), (16, 17), (17, 40), (33, 64), (200, 16)])
def test_dense_flow_of_small_or_narrow_images_is_finite(shape):
    assert np.isfinite(dense_flow(*drifting(1, 0, shape))).all()


def test_dense_flow_of_dry_images_is_zero():
    dry = np.zeros((20, 20), np.float32)
    assert (dense_flow(dry, dry) == 0).all()


@pytest.mark.parametrize("shape", [(15, 40), (40, 15), (4, 16, 16)])
def test_dense_flow_images_too_small_for_opencv_raise(shape):
    with pytest.raises(ArgumentError, match="sides of 16 pixels"):
        dense_flow(np.zeros(shape, np.float32), np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.5])
def test_dense_flow_values_outside_0_to_1_raise(value):
    image = np.zeros((16, 16), np.float32)
    image[3, 3] = value
    with pytest.raises(ArgumentError, match="pixels in 0…1"):
        dense_flow(np.zeros_like(image), image)
