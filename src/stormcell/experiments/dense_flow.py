"""Dense optical flow between two grey images, with variational refinement."""

import cv2
import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError

Field = NDArray[np.float32]

# Pixels. OpenCV works at half the resolution with patches of 8 pixels. On smaller images it crashes instead
# of raising an error (github.com/opencv/opencv/issues/14554 and after).
LEAST_SIDE = 16


def dense_flow(before: Field, after: Field) -> Field:
    """Estimate the motion from one image to the next.

    The method is OpenCV's dense inverse search (Kroeger et al. 2016, arXiv:1603.03590) with the ``medium``
    preset, which ends every scale with a variational refinement (Brox et al. 2004,
    doi:10.1007/978-3-540-24673-2_3). The Hong Kong Observatory's ROVER minimises a similar energy, with a
    different solver and different settings.

    Args:
        before: Grey pixels 0…1, ``(y, x)``.
        after: Grey pixels one step later, with the same shape.

    Returns:
        Motion in pixels per time step ``(2, y, x)``: ``[0]`` along columns, ``[1]`` along rows (down). A
        point at ``(y, x)`` moves to ``(y + motion[1], x + motion[0])`` in one step.

    Raises:
        ArgumentError: The images have different shapes, a side below 16 pixels, or values outside 0…1.

    Example:
        >>> y, x = np.mgrid[:64, :64]
        >>> storm = [np.exp(-((x - 30 - 2 * t) ** 2 + (y - 30) ** 2) / 90) for t in range(2)]
        >>> dense_flow(*np.float32(storm))[:, 30, 30].round().astype(int).tolist()
        [2, 0]
    """
    if before.shape != after.shape or before.ndim != 2 or min(before.shape) < LEAST_SIDE:
        raise ArgumentError(
            f"optical flow: expected two images of the same shape with sides of {LEAST_SIDE} pixels or more, "
            f"found {before.shape} and {after.shape}"
        )
    images = [_grey(image) for image in (before, after)]
    search = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
    flow = search.calc(images[0], images[1], np.zeros((*before.shape, 2), np.float32))
    return np.ascontiguousarray(np.moveaxis(flow, -1, 0), np.float32)


def _grey(image: Field) -> NDArray[np.uint8]:
    if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
        raise ArgumentError(f"optical flow: expected pixels in 0…1, found {image.min():g} to {image.max():g}")
    return np.asarray(np.rint(255 * image), np.uint8)
