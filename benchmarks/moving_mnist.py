"""``python -m benchmarks.moving_mnist``: frames of Moving MNIST generated per second.

Each generator makes batches of 16 sequences, one after another, in one process and one thread; the median
batch counts. A network that trains on fewer frames per second does not wait for its data.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np

from stormcell.errors import InputError
from stormcell.experiments import mnist, moving_mnist

BATCH = 16


def main() -> int:
    """Time every generator; return 2 if MNIST is missing."""
    parser = argparse.ArgumentParser(prog="benchmarks.moving_mnist", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each generator")
    seconds = parser.parse_args().seconds
    folder = mnist.find()
    try:
        paper = moving_mnist.paper(folder, "train").batch
        endless = moving_mnist.endless(folder, "train").batch
        openstl = moving_mnist.openstl(folder, "train").batch
        variants = moving_mnist.variants(folder, "train")
        actions = moving_mnist.actions(folder, "train")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    cv2.setNumThreads(1)
    print(f"{'generator':<24}{'frames':>12}  frames/s")
    for name, frames in {
        "paper": paper,
        "endless": endless,
        "openstl": openstl,
        "variants": variants.batch,
        "variants with motion": lambda *where: variants.with_motion(*where)[0],
        "actions": lambda *where: actions.batch(*where)[0],
    }.items():
        rate, shape = frames_per_second(frames, seconds)
        print(f"{name:<24}{'×'.join(map(str, shape)):>12}  {rate:,.0f}")
    return 0


def frames_per_second(
    frames: Callable[[int, int, int], np.ndarray], seconds: float
) -> tuple[float, tuple[int, ...]]:
    """Return the median rate of batches over a number of seconds, and the shape of a sequence."""
    rates, first, end = [], 0, time.perf_counter() + seconds
    while not rates or time.perf_counter() < end:
        start = time.perf_counter()
        batch = frames(0, first, BATCH)
        rates.append(batch.shape[0] * batch.shape[1] / (time.perf_counter() - start))
        first += BATCH
    return statistics.median(rates), batch.shape[1:]


if __name__ == "__main__":
    sys.exit(main())
