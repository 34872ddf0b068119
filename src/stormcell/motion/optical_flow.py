"""Optical flow: the motion field of rain, from the last few frames.

Corners of the rain (Shi & Tomasi 1994, doi:10.1109/CVPR.1994.323794) are tracked from frame to frame (Lucas &
Kanade 1981, with image pyramids: Bouguet 2001). Vectors that disagree with their neighbours are removed, and
the others are interpolated to a smooth field.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from stormcell.errors import ArgumentError
from stormcell.motion.advection import EVERYTHING

Field = NDArray[np.float32]
Image = NDArray[np.uint8]
Vectors = NDArray[np.float64]  # (n, 4): x, y, dx, dy

# Rain rates in mm/h between which brightness is logarithmic. Lighter rain is treated as dry, because its
# edges vary with the radar's sensitivity.
DIMMEST, BRIGHTEST = 0.2, 60.0

MAX_FEATURES = 2000
FEATURE_QUALITY = 0.01  # relative to the best corner
FEATURE_DISTANCE = 8  # pixels
FEATURE_BLOCK = 7  # pixels
BUFFER = 10  # pixels around unobserved areas without features: the areas' edges do not move with the rain
WINDOW = 40  # pixels: side of the square that is compared around a feature
LEVELS = 4  # of the pyramid; with this window, they suffice for motion of hundreds of pixels per step

NEIGHBOURS = 60  # number of vectors that a vector is compared with
OUTLIER = 3.0  # robust standard deviations
TOLERANCE = 0.5  # pixels per step: a smaller disagreement is ignored

CLUSTER = 8  # pixels: all vectors in a square with this side count as one
SCALES = (120.0, 40.0, 12.0)  # pixels: standard deviations of the Gaussian weights, coarse to fine
BACKGROUND = 0.5  # weight of the coarser mean, relative to one vector at the same place


def estimate(frames: Field, *, count: int = 3) -> Field:
    """Estimate the motion field of rain.

    Args:
        frames: Rain rates in mm/h ``(time, y, x)``, oldest first, NaN where not observed; two or more.
        count: Number of frames to use, the last ones, ≥ 2.

    Returns:
        Smooth motion in pixels per time step ``(2, y, x)``: ``[0]`` along columns, ``[1]`` along rows, down.
        Rain at ``(y, x)`` is at ``(y + motion[1], x + motion[0])`` one step later. Zero everywhere if no
        feature could be tracked.

    Raises:
        ArgumentError: There are fewer than two frames, or ``count`` is less than 2.

    Example:
        >>> y, x = np.mgrid[:60, :80]
        >>> storm = [20 * np.exp(-((x - 30 - 3 * t) ** 2 + (y - 30) ** 2) / 50) for t in range(3)]
        >>> motion = estimate(np.stack(storm).astype(np.float32))
        >>> motion[:, 30, 30].round().astype(int).tolist()
        [3, 0]
    """
    return motion_field(track(frames, count=count), *frames.shape[-2:])


def track(frames: Field, *, count: int = 3) -> Vectors:
    """Track the rain from frame to frame: the motion vectors that :func:`motion_field` interpolates.

    Args:
        frames: As for :func:`estimate`.
        count: As for :func:`estimate`.

    Returns:
        ``(n, 4)``: column, row, and motion in pixels per time step along columns and along rows.

    Raises:
        ArgumentError: There are fewer than two frames, or ``count`` is less than 2.
    """
    if frames.ndim != 3 or len(frames) < 2 or count < 2:
        raise ArgumentError(
            f"motion: expected 2 or more frames (time, y, x), found shape {frames.shape} and count={count}"
        )
    last = frames[-count:]
    images, observed = [_image(frame) for frame in last], [np.isfinite(frame) for frame in last]
    tracks = [_track(images[k], images[k + 1], observed[k] & observed[k + 1]) for k in range(len(images) - 1)]
    return _decluster(_agreeing(np.concatenate(tracks)))


def _image(frame: Field) -> Image:
    """Convert rain to brightness: 0 where dry or unobserved, up to 255, without single bright pixels."""
    rate = np.clip(np.nan_to_num(frame, nan=0.0), DIMMEST, BRIGHTEST)
    brightness = 255 * np.log(rate / DIMMEST) / np.log(BRIGHTEST / DIMMEST)
    opened = cv2.morphologyEx(brightness.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.asarray(opened, np.uint8)


def _track(before: Image, after: Image, observed: NDArray[np.bool_]) -> Vectors:
    """Track the features of one image to the next, given the pixels that were observed in both."""
    # A gap of one image only would look like rain that moves away from it, or into it.
    before, after = (np.where(observed, image, np.uint8(0)) for image in (before, after))
    width = 2 * BUFFER + 1
    features = cv2.goodFeaturesToTrack(
        before,
        maxCorners=MAX_FEATURES,
        qualityLevel=FEATURE_QUALITY,
        minDistance=FEATURE_DISTANCE,
        mask=cv2.erode(observed.astype(np.uint8), np.ones((width, width), np.uint8)),
        blockSize=FEATURE_BLOCK,
    )
    if features is None:
        return np.empty((0, 4))
    # OpenCV needs a window of at least 3 pixels that is not wider than the image.
    window = max(3, min(WINDOW, *before.shape))
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        before, after, features, np.empty_like(features), winSize=(window, window), maxLevel=LEVELS
    )
    tracked = found.ravel() == 1
    start, end = features.reshape(-1, 2)[tracked], moved.reshape(-1, 2)[tracked]
    return np.concatenate([start, end - start], axis=1).astype(np.float64)


def _agreeing(vectors: Vectors) -> Vectors:
    """Select the vectors that agree with the median of their neighbours."""
    if len(vectors) < 3:
        return vectors
    count = min(NEIGHBOURS, len(vectors))
    _, neighbours = KDTree(vectors[:, :2]).query(vectors[:, :2], k=count)
    around = vectors[neighbours, 2:]
    median = np.median(around, axis=1)
    # For a normal distribution, the standard deviation is 1.4826 times the median absolute deviation.
    spread = 1.4826 * np.median(np.linalg.norm(around - median[:, None], axis=2), axis=1)
    deviation = np.linalg.norm(vectors[:, 2:] - median, axis=1)
    agreeing: Vectors = vectors[deviation <= np.maximum(OUTLIER * spread, TOLERANCE)]
    return agreeing


def _decluster(vectors: Vectors) -> Vectors:
    """Replace all vectors in a square by their median, so that clusters do not dominate the field."""
    if not len(vectors):
        return vectors
    squares = np.floor(vectors[:, :2] / CLUSTER).astype(np.int64)
    _, group = np.unique(squares, axis=0, return_inverse=True)
    groups = np.arange(group.max() + 1)
    return np.stack([ndimage.median(values, group.ravel(), groups) for values in vectors.T], axis=1)


def motion_field(
    vectors: Vectors, height: int, width: int, *, rows: slice = EVERYTHING, cols: slice = EVERYTHING
) -> Field:
    """Interpolate motion vectors to a smooth field: Gaussian-weighted means, from wide to narrow weights.

    The wider mean is the background of the narrower one. So the motion is local where there are many vectors,
    and far from all vectors it is their median.

    Args:
        vectors: Vectors of :func:`track`, on the whole grid.
        height: Rows of the grid.
        width: Columns of the grid.
        rows: Rows of the result.
        cols: Columns of the result. The field of a part is that part of the field of the whole grid.

    Returns:
        Pixels per time step ``(2, rows, cols)``; zero everywhere without a vector.

    Example:
        >>> vectors = np.array([[10.0, 20.0, 3.0, -1.0]])
        >>> motion_field(vectors, 40, 40, rows=slice(0, 2), cols=slice(0, 2))[:, 0, 0].tolist()
        [3.0, -1.0]
    """
    rows, cols = slice(*rows.indices(height)), slice(*cols.indices(width))
    if not len(vectors):
        return np.zeros((2, rows.stop - rows.start, cols.stop - cols.start), np.float32)
    y, at_y = _nodes(height, rows)
    x, at_x = _nodes(width, cols)
    nodes = np.broadcast_to(np.median(vectors[:, 2:], axis=0)[:, None, None], (2, len(y), len(x)))
    for scale in SCALES:
        along_y = np.exp(-((y[:, None] - vectors[:, 1]) ** 2) / (2 * scale**2))
        along_x = np.exp(-((x[:, None] - vectors[:, 0]) ** 2) / (2 * scale**2))
        total = np.stack([_product(along_y * component, along_x.T) for component in vectors[:, 2:].T])
        nodes = (total + BACKGROUND * nodes) / (_product(along_y, along_x.T) + BACKGROUND)
    grid_x, grid_y = np.meshgrid(at_x, at_y)
    fields = [cv2.remap(node, grid_x, grid_y, cv2.INTER_LINEAR) for node in nodes.astype(np.float32)]
    return np.stack(fields).astype(np.float32)


def _product(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiply two matrices; small ones in one thread.

    OpenBLAS uses more than one thread for products of 2**18 multiplications and more. Its threads wait busily
    for each other, and in training they would take the processor from the network.
    """
    rows = 2**18 // right.size
    if rows < 4:
        result: NDArray[np.float64] = left @ right
        return result
    return np.concatenate([left[first : first + rows] @ right for first in range(0, len(left), rows)])


def _nodes(length: int, part: slice) -> tuple[NDArray[np.float64], Field]:
    """Return the nodes of an axis that surround a part of its pixels, and the pixels' places among them.

    Three nodes per narrowest scale suffice, because the field is smooth.
    """
    count = max(2, math.ceil(3 * length / min(SCALES)))
    nodes = np.linspace(0, length - 1, count)
    places = np.linspace(0, count - 1, length, dtype=np.float32)[part]
    first = min(math.floor(places[0]), count - 2)
    last = min(math.ceil(places[-1]) + 1, count - 1)
    return nodes[first : last + 1], places - np.float32(first)
