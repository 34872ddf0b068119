"""Into the coordinates that move with the rain, and back.

A frame's *moving* coordinates are its places at the issue time: what is at (y, x) there is the rain that
stood, or will stand, at (y, x) when the forecast is issued. In them motion is gone, and only growth, decay
and change of shape are left to forecast (Germann & Zawadzki 2002,
doi:10.1175/1520-0493(2002)130<2859:SDOTPO>2.0.CO;2).
"""

import numpy as np

from stormcell.motion.advection import EVERYTHING, Field, displacements, sample


def inputs_to_moving(
    frames: Field,  # (T, y, x), the last at the issue time
    motion: Field,  # (2, y, x)
    rows: slice = EVERYTHING,
    cols: slice = EVERYTHING,
) -> Field:  # (T, rows, cols)
    """Carry past frames along the motion to the issue time; NaN where they came from outside."""
    back = len(frames) - 1
    moving = [frames[-1, rows, cols]]
    if back:
        paths = displacements(motion, back, rows=rows, cols=cols)
        moving += [sample(frames[-1 - k], paths[k - 1], rows=rows, cols=cols) for k in range(1, back + 1)]
    return np.stack(moving[::-1])


def truths_to_moving(
    frames: Field,  # (S, y, x), leads 1 … S
    motion: Field,  # (2, y, x)
    rows: slice = EVERYTHING,
    cols: slice = EVERYTHING,
) -> Field:  # (S, rows, cols)
    """Carry future frames back against the motion to the issue time; NaN where they went outside."""
    paths = displacements(-motion, len(frames), rows=rows, cols=cols)
    return np.stack(
        [sample(frame, path, rows=rows, cols=cols) for frame, path in zip(frames, paths, strict=True)]
    )


def forecast_to_fixed(
    moving: Field,  # (S, y, x), leads 1 … S, no NaN
    motion: Field,  # (2, y, x)
) -> Field:  # (S, y, x)
    """Let a forecast made in moving coordinates travel to where it will be.

    What flows in across an edge is not known; it is taken to be like the rain at that edge.
    """
    steps, height, width = moving.shape
    paths = displacements(motion, steps)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    limits = np.array([width - 1, height - 1], np.float32)[:, None, None]
    origin = np.stack([x, y])
    fixed = []
    for frame, path in zip(moving, paths, strict=True):
        inside = np.clip(origin + path, 0, limits) - origin
        fixed.append(sample(frame, inside))
    return np.stack(fixed)
