"""How rain moves, seen from the last few frames.

Corners of the rain (Shi & Tomasi 1994, doi:10.1109/CVPR.1994.323794) are followed from frame to frame
(Lucas & Kanade 1981, in pyramids: Bouguet 2001), those that disagree with their neighbours are dropped,
and the rest are spread smoothly over the grid.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from stormcell.errors import ArgumentError

Field = NDArray[np.float32]
Image = NDArray[np.uint8]
Vectors = NDArray[np.float64]  # (n, 4): x, y, dx, dy

# Rain rates in mm/h between which brightness follows the logarithm. Lighter rain is as good as none: its
# edges come and go with the radar's sensitivity.
DIMMEST, BRIGHTEST = 0.2, 60.0

MAX_FEATURES = 2000
FEATURE_QUALITY = 0.01  # of the best corner's
FEATURE_DISTANCE = 8  # pixels
FEATURE_BLOCK = 7  # pixels
BUFFER = 10  # pixels around what was not observed: its edge stands still, and would say the rain does too
WINDOW = 40  # pixels: what is compared around a feature
LEVELS = 4  # of the pyramid: with the window, good for motion of hundreds of pixels a step

NEIGHBOURS = 60  # that a vector is compared with
OUTLIER = 3.0  # robust standard deviations
TOLERANCE = 0.5  # pixels a step: disagreement this small is none

CLUSTER = 8  # pixels: the vectors of a square this wide count as one
REACHES = (120.0, 40.0, 12.0)  # pixels: standard deviations of the Gaussian weights, coarse to fine
BACKGROUND = 0.5  # weight of the coarser answer, where one vector at the place itself weighs 1


def estimate(frames: Field, *, count: int = 3) -> Field:
    """Estimate the motion of rain.

    Args:
        frames: Rain rates in mm/h ``(time, y, x)``, oldest first, NaN where not observed; two or more.
        count: How many of the last frames to use, ≥ 2.

    Returns:
        Motion in pixels per time step ``(2, y, x)``, smooth: ``[0]`` along columns, ``[1]`` along rows,
        down. Rain now at ``(y, x)`` is at ``(y + motion[1], x + motion[0])`` a step later. All zero if no
        rain was seen to move.

    Raises:
        ArgumentError: Fewer than two frames are given or asked for.

    Example:
        >>> y, x = np.mgrid[:60, :80]
        >>> storm = [20 * np.exp(-((x - 30 - 3 * t) ** 2 + (y - 30) ** 2) / 50) for t in range(3)]
        >>> motion = estimate(np.stack(storm).astype(np.float32))
        >>> motion[:, 30, 30].round().astype(int).tolist()
        [3, 0]
    """
    if frames.ndim != 3 or len(frames) < 2 or count < 2:
        raise ArgumentError(
            f"motion: expected 2 or more frames (time, y, x), found shape {frames.shape} and count={count}"
        )
    last = frames[-count:]
    images = [_image(frame) for frame in last]
    seen = [_well_inside(np.isfinite(frame)) for frame in last]
    tracks = [_track(images[k], images[k + 1], seen[k] & seen[k + 1]) for k in range(len(images) - 1)]
    vectors = _decluster(_agreeing(np.concatenate(tracks)))
    return _spread(vectors, frames.shape[1], frames.shape[2])


def _image(frame: Field) -> Image:
    """Rain as brightness, 0 to 255: dry and not observed are black; single bright pixels are taken away."""
    rate = np.clip(np.nan_to_num(frame, nan=0.0), DIMMEST, BRIGHTEST)
    brightness = 255 * np.log(rate / DIMMEST) / np.log(BRIGHTEST / DIMMEST)
    opened = cv2.morphologyEx(brightness.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.asarray(opened, np.uint8)


def _well_inside(observed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Observed, and farther than the buffer from what was not."""
    width = 2 * BUFFER + 1
    return cv2.erode(observed.astype(np.uint8), np.ones((width, width), np.uint8)).astype(bool)


def _track(before: Image, after: Image, mask: NDArray[np.bool_]) -> Vectors:
    """Features of one image found again in the next."""
    features = cv2.goodFeaturesToTrack(
        before,
        maxCorners=MAX_FEATURES,
        qualityLevel=FEATURE_QUALITY,
        minDistance=FEATURE_DISTANCE,
        mask=mask.astype(np.uint8),
        blockSize=FEATURE_BLOCK,
    )
    if features is None:
        return np.empty((0, 4))
    # OpenCV wants windows of 3 at least, and no wider than the image.
    window = max(3, min(WINDOW, *before.shape))
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        before, after, features, np.empty_like(features), winSize=(window, window), maxLevel=LEVELS
    )
    kept = found.ravel() == 1
    start, end = features.reshape(-1, 2)[kept], moved.reshape(-1, 2)[kept]
    return np.concatenate([start, end - start], axis=1).astype(np.float64)


def _agreeing(vectors: Vectors) -> Vectors:
    """Those vectors that are like the median of their neighbours."""
    if len(vectors) < 3:
        return vectors
    count = min(NEIGHBOURS, len(vectors))
    _, neighbours = KDTree(vectors[:, :2]).query(vectors[:, :2], k=count)
    around = vectors[neighbours, 2:]
    median = np.median(around, axis=1)
    # 1.4826 makes the median absolute deviation the standard deviation of a normal distribution.
    spread = 1.4826 * np.median(np.linalg.norm(around - median[:, None], axis=2), axis=1)
    deviation = np.linalg.norm(vectors[:, 2:] - median, axis=1)
    agreeing: Vectors = vectors[deviation <= np.maximum(OUTLIER * spread, TOLERANCE)]
    return agreeing


def _decluster(vectors: Vectors) -> Vectors:
    """One vector, the median, for every square that has any, so that crowds do not outvote the rest."""
    if not len(vectors):
        return vectors
    squares = np.floor(vectors[:, :2] / CLUSTER).astype(np.int64)
    _, group = np.unique(squares, axis=0, return_inverse=True)
    return np.stack([np.median(vectors[group.ravel() == g], axis=0) for g in range(group.max() + 1)])


def _spread(vectors: Vectors, height: int, width: int) -> Field:
    """Gaussian-weighted means of the vectors, from wide to narrow weights.

    Each narrower mean starts from the wider one, which stays where few vectors are near: so the motion is
    local where much was seen, and the median of all vectors far from everything.
    """
    if not len(vectors):
        return np.zeros((2, height, width), np.float32)
    # The field is smooth by construction: three nodes in the narrowest reach are enough.
    y, x = (np.linspace(0, size - 1, max(2, math.ceil(3 * size / min(REACHES)))) for size in (height, width))
    nodes = np.broadcast_to(np.median(vectors[:, 2:], axis=0)[:, None, None], (2, len(y), len(x)))
    for reach in REACHES:
        along_y = np.exp(-((y[:, None] - vectors[:, 1]) ** 2) / (2 * reach**2))
        along_x = np.exp(-((x[:, None] - vectors[:, 0]) ** 2) / (2 * reach**2))
        total = np.stack([(along_y * component) @ along_x.T for component in vectors[:, 2:].T])
        nodes = (total + BACKGROUND * nodes) / (along_y @ along_x.T + BACKGROUND)
    rows = np.linspace(0, len(y) - 1, height, dtype=np.float32)
    cols = np.linspace(0, len(x) - 1, width, dtype=np.float32)
    grid_x, grid_y = np.meshgrid(cols, rows)
    fields = [cv2.remap(node, grid_x, grid_y, cv2.INTER_LINEAR) for node in nodes.astype(np.float32)]
    return np.stack(fields).astype(np.float32)
